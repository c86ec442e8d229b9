"""A track as an .npz in the layout of the AMASS data set (Mahmood et al., ICCV 2019), for tools that read it.

AMASS's own keys are in AMASS's conventions: z up, SMPL-H's 52 joints. Which way is up is not known from an image: the camera
is assumed to be level. The same track in the camera's optical frame is stored beside them, under the names that `smplx` uses.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.export.tracks import Track
from hmr_ros.rotation import rotmat_to_rotvec
from hmr_ros.skeleton import NUM_JOINTS

R_up_camera = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From the optical frame (x right, y down, z forward) of a level camera to x right, y forward, z up."""

GENDERS = {"smpl_female": "female", "smpl_male": "male"}
"""AMASS's `gender`, by shape space; all other spaces are "neutral"."""

BODY_JOINTS = 22
"""SMPL-H has SMPL's joints up to the wrists, then 30 finger joints in place of SMPL's two hands."""


def write_amass(path: Path, track: Track, body: BodyModel) -> None:
    """AMASS: poses (T, 156) axis-angle, rad; trans (T, 3) m; betas (16,); dmpls (T, 8); gender; mocap_framerate.

    Fingers, dmpls and betas past the tenth are 0. Optical frame: global_orient (T, 3), body_pose (T, 69), transl (T, 3),
    betas_per_frame (T, 10), joints (T, 24, 3). And shape_space, score, frame, stamp_ns, observed, as in `Track`.
    """
    poses = rotmat_to_rotvec(track.rotmat).reshape(-1, 3 * NUM_JOINTS)
    np.savez_compressed(
        path,
        **to_amass(track, body),
        shape_space=np.array(body.shape_space),
        global_orient=poses[:, :3].astype(np.float32),
        body_pose=poses[:, 3:].astype(np.float32),
        transl=track.transl.astype(np.float32),
        betas_per_frame=track.betas.astype(np.float32),
        joints=track.joints.astype(np.float32),
        score=track.score.astype(np.float32),
        frame=track.frame,
        stamp_ns=track.stamp_ns,
        observed=track.observed,
    )


def to_amass(track: Track, body: BodyModel) -> dict[str, np.ndarray]:
    """AMASS's own keys."""
    rotmat = track.rotmat[:, :BODY_JOINTS].copy()
    rotmat[:, 0] = R_up_camera @ rotmat[:, 0]
    poses = np.zeros((len(rotmat), 156))
    poses[:, : 3 * BODY_JOINTS] = rotmat_to_rotvec(rotmat).reshape(len(rotmat), -1)
    # The root rotates about the pelvis, which is not at the origin. So the pelvis is moved, not `transl`.
    rest_pelvis = body.J_template[0] + body.J_shapedirs[0] @ track.shape
    return {
        "poses": poses,
        "trans": track.joints[:, 0] @ R_up_camera.T - rest_pelvis,
        "betas": np.pad(track.shape, (0, 6)),
        "dmpls": np.zeros((len(rotmat), 8)),
        "gender": np.array(GENDERS.get(body.shape_space, "neutral")),
        "mocap_framerate": np.float64(track.fps),
    }
