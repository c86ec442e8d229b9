"""BEDLAM (Black et al., CVPR 2023): image labels, one npz per scene, and the animations they were rendered from.

Labels, SCENE.npz (pixelite1201/BEDLAM, data_processing/df_full_body*.py, docs/training.md): imgname, below SCENE/png; center (N, 2); scale (N,); pose_cam,
(N, 165) SMPL-X or (N, 72) SMPL, root in the camera's frame; shape, 10 or 11 betas; trans_cam (N, 3) and cam_ext (N, 4, 4), whose
sum of translations places the body; cam_int (N, 3, 3); gtkps (N, J, 2 or 3), projected joints; gender; sub. The first 22 joints of
SMPL-X are SMPL's, and so are their rotations, as far as has been measured; its betas are not. Portrait images are stored lying on
their side, to be turned 90 degrees clockwise before use; labels refer to the turned images, so the principal point tells which to turn.

Animations (motion_seq.npz): poses, trans, betas, gender_sub, motion_info, as in AMASS but with y up.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros import skeleton
from training.datasets import joint_orders
from training.datasets.fields import Fields, genders_of, open_npz
from training.datasets.people import DatasetError, People, people_of
from training.datasets.spin import BOX_UNIT_PX

WHAT = "a BEDLAM label file"
SMPLX_POSE, SMPL_POSE = 165, 72

FACE_AND_FEET = (
    "nose", "right_eye", "left_eye", "right_ear", "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe",
    "right_small_toe", "right_heel",
)  # fmt: skip
"""What `smplx` appends to the joints of every body model (vchoutas/smplx, joint_names.py and vertex_ids.py)."""
JOINTS_BEFORE = {SMPLX_POSE: 55, SMPL_POSE: 24}
"""How many joints come before them in `gtkps`."""
POINTS = {SMPLX_POSE: (76, 127), SMPL_POSE: (45,)}
"""How many points `gtkps` has: joints, these, finger tips, and SMPL-X's face."""
OTHERS_FIRST = 44
"""Where labels of 16 betas have SMPL-X's joints: after OpenPose's 25 and 19 more (df_full_body_bedlam1_compatible.py, smplx_openpose.py)."""


def read_bedlam(path: Path) -> People:
    """Every row of a label file."""
    file = open_npz(path, WHAT)
    image = file.need("imgname", None, kind="text")
    pose = file.need("pose_cam", None, None)
    if pose.shape[1] not in JOINTS_BEFORE:
        raise DatasetError(
            f"{path}: pose_cam has shape {pose.shape}, {WHAT} has (N, {SMPLX_POSE}) or (N, {SMPL_POSE})."
        )
    poses, known = body_poses(pose)
    box = np.column_stack([file.need("center", None, 2), BOX_UNIT_PX * file.need("scale", None)])
    model = "smplx" if pose.shape[1] == SMPLX_POSE else "smpl"
    K = file.need("cam_int", None, 3, 3)
    return people_of(
        len(image), "optical", image=np.char.add(f"{path.stem}/png/", image), turned=K[:, 0, 2] < K[:, 1, 2], box=box, K=K,
        poses=poses, poses_known=known, **_shape(file, model), **_placed(file), **_keypoints(file, pose.shape[1]),
    )  # fmt: skip


def body_poses(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """SMPL, SMPL-H or SMPL-X poses (N, at least 66), axis-angle, as SMPL's (N, 24, 3), and which joints they contain (24,)."""
    count = skeleton.NUM_JOINTS if pose.shape[1] == SMPL_POSE else len(joint_orders.SMPLX_BODY_22)
    poses = np.zeros((len(pose), skeleton.NUM_JOINTS, 3))
    poses[:, :count] = pose[:, : 3 * count].reshape(len(pose), count, 3)
    return poses, np.arange(skeleton.NUM_JOINTS) < count


def _shape(file: Fields, model: str) -> dict[str, np.ndarray | str]:
    """`gender` is the subject's. SMPL-X labels with 11 or 16 betas are of its neutral body; the others do not say of which body."""
    shape = file.need("shape", None, None)
    if shape.shape[1] < 10:
        raise DatasetError(f"{file.where}: shape has shape {shape.shape}, {WHAT} has 10, 11 or 16 betas.")
    space = "smplx_neutral" if model == "smplx" and shape.shape[1] > 10 else ""
    gender = genders_of(file.need("gender", None, kind="text"), file.where, "gender")
    return {"betas": shape[:, :10], "shape_space": space, "gender": gender}


def _placed(file: Fields) -> dict[str, np.ndarray]:
    if "trans_cam" not in file or "cam_ext" not in file:
        return {}
    return {"transl": file.need("trans_cam", None, 3) + file.need("cam_ext", None, 4, 4)[:, :3, 3]}


def _keypoints(file: Fields, pose_length: int) -> dict[str, np.ndarray]:
    points = file.get("gtkps", None, None, None)
    if points is None:
        return {}
    count, known_counts = points.shape[1], POINTS[pose_length]
    if count == OTHERS_FIRST + 127:
        points = points[:, OTHERS_FIRST:]
    if points.shape[1] not in known_counts:
        raise DatasetError(
            f"{file.where}: gtkps has {count} points a person, in an unknown order; {WHAT} has "
            f"{' or '.join(map(str, known_counts))} with pose_cam of {pose_length}."
        )
    order = (
        *joint_orders.SMPLX_BODY_22, *(f"joint_{i}" for i in range(22, JOINTS_BEFORE[pose_length])), *FACE_AND_FEET,
    )  # fmt: skip
    keypoints, known = joint_orders.smpl_onto_keypoints(points[:, : len(order), :2], order)
    return {"keypoints_2d": keypoints, "confidence_2d": known}
