"""A track as a BVH file, for animation and retargeting tools.

y up (the camera is assumed to be level), the unit is the centimetre, a person who faces the camera faces +z. The skeleton is
SMPL's with the names that motion-capture tools know; its offsets are those of the person's own shape. Joint rotations are
R = Rz Rx Ry (channels Zrotation Xrotation Yrotation).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.export.tracks import Track
from hmr_ros.skeleton import JOINT_NAMES, KEYPOINT_NAMES, PARENTS

BVH_NAMES = (
    "Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot", "Spine2",
    "LeftToe", "RightToe", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm", "RightArm", "LeftForeArm",
    "RightForeArm", "LeftHand", "RightHand",
)  # fmt: skip
"""Names of SMPL's first 22 joints. Its last two, in the palms, move only the fingers: they become the end sites of the hands."""

R_up_camera = np.diag([1.0, -1.0, -1.0])
"""From the optical frame (x right, y down, z forward) of a level camera to x right, y up, z backward."""

CM_PER_M = 100.0


def write_bvh(path: Path, track: Track, body: BodyModel) -> None:
    rest, ends = rest_skeleton(body, track.shape)
    order, lines = [], ["HIERARCHY"]
    _describe(0, "", rest, ends, order, lines)
    lines += ["MOTION", f"Frames: {len(track.rotmat)}", f"Frame Time: {1 / track.fps:.9f}"]
    rotmat = track.rotmat[:, : len(BVH_NAMES)].copy()
    rotmat[:, 0] = R_up_camera @ rotmat[:, 0]
    # Unwrapped, so that tools that interpolate see no jumps of a whole turn.
    degrees = np.degrees(np.unwrap(rotmat_to_zxy(rotmat), axis=0))[:, order].reshape(len(rotmat), -1)
    position = track.joints[:, 0] @ R_up_camera.T * CM_PER_M
    lines += [" ".join(f"{value:.6f}" for value in row) for row in np.concatenate([position, degrees], axis=1)]
    path.write_text("\n".join(lines) + "\n")


def rest_skeleton(body: BodyModel, betas: np.ndarray) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """The shaped body at rest, cm: joints (24, 3), and the tip of the bone of each BVH joint without children."""
    rotmat, betas = np.eye(3)[None, None].repeat(len(JOINT_NAMES), axis=1), betas[None]
    joints = body.joints(rotmat, betas)[0][0]
    keypoints, vertices = body.keypoints(rotmat, betas)[0], body.vertices(rotmat, betas)[0]
    ends = {JOINT_NAMES.index("head"): vertices[np.argmax(vertices[:, 1])]}
    for side in ("left", "right"):
        ends[JOINT_NAMES.index(f"{side}_foot")] = keypoints[KEYPOINT_NAMES.index(f"{side}_big_toe")]
        ends[JOINT_NAMES.index(f"{side}_wrist")] = joints[JOINT_NAMES.index(f"{side}_hand")]
    return joints * CM_PER_M, {joint: end * CM_PER_M for joint, end in ends.items()}


def rotmat_to_zxy(rotmat: np.ndarray) -> np.ndarray:
    """(..., 3, 3) to (..., 3), radians: z, x, y with rotmat = Rz Rx Ry and x in [-pi/2, pi/2]."""
    x = np.arcsin(np.clip(rotmat[..., 2, 1], -1, 1))
    z = np.arctan2(-rotmat[..., 0, 1], rotmat[..., 1, 1])
    y = np.arctan2(-rotmat[..., 2, 0], rotmat[..., 2, 2])
    # Gimbal lock: with x at 90 or -90 degrees, z and y turn about the same axis, and only their sum or difference is known.
    locked = np.hypot(rotmat[..., 0, 1], rotmat[..., 1, 1]) < 1e-6
    z = np.where(locked, np.arctan2(rotmat[..., 1, 0], rotmat[..., 0, 0]), z)
    return np.stack([z, x, np.where(locked, 0.0, y)], axis=-1)


def _describe(joint: int, indent: str, rest, ends, order: list[int], lines: list[str]) -> None:
    """Append the lines of one joint and all below it, depth first; `order` gets the joints in the order of the motion's columns."""
    order.append(joint)
    offset = rest[joint] - rest[PARENTS[joint]] if joint else np.zeros(3)
    position = "6 Xposition Yposition Zposition" if joint == 0 else "3"
    lines += [
        f"{indent}{'JOINT' if joint else 'ROOT'} {BVH_NAMES[joint]}",
        f"{indent}{{",
        f"{indent}  OFFSET {_xyz(offset)}",
        f"{indent}  CHANNELS {position} Zrotation Xrotation Yrotation",
    ]
    for child in range(joint + 1, len(BVH_NAMES)):
        if PARENTS[child] == joint:
            _describe(child, f"{indent}  ", rest, ends, order, lines)
    if joint in ends:
        tip = _xyz(ends[joint] - rest[joint])
        lines += [f"{indent}  End Site", f"{indent}  {{", f"{indent}    OFFSET {tip}", f"{indent}  }}"]
    lines.append(f"{indent}}}")


def _xyz(vector: np.ndarray) -> str:
    return " ".join(f"{value:.6f}" for value in vector)
