"""Joint names, parents, and the canonical keypoints with the maps onto them.

This is the only place that knows an order of joints or keypoints. Everything else asks here.

Two sets of points describe a person:

* the 24 **joints** of SMPL's kinematic tree: what the body model rotates;
* the 23 **keypoints** of COCO-WholeBody's body and feet: what a 2D detector sees. Limb keypoints are joints
  of the body (the shoulders shifted a little), face and feet are single vertices of the mesh.
"""

from __future__ import annotations

import numpy as np

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)  # fmt: skip
"""SMPL's 24 joints, in SMPL's order."""

PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
"""Index of each joint's parent; -1 for the root. A parent always comes before its children."""

BONES = np.array([(parent, child) for child, parent in enumerate(PARENTS) if parent >= 0])
"""(23, 2): the joints at both ends of every bone."""

KEYPOINT_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""The 23 canonical keypoints: COCO-WholeBody's body (17) and feet (6), in its order."""

NUM_JOINTS = len(JOINT_NAMES)
NUM_KEYPOINTS = len(KEYPOINT_NAMES)
NUM_BETAS = 10

KEYPOINT_EDGES = tuple(
    (KEYPOINT_NAMES.index(a), KEYPOINT_NAMES.index(b))
    for a, b in (
        ("nose", "left_eye"), ("nose", "right_eye"), ("left_eye", "left_ear"), ("right_eye", "right_ear"),
        ("left_shoulder", "right_shoulder"), ("left_hip", "right_hip"),
        ("left_shoulder", "left_hip"), ("right_shoulder", "right_hip"),
        ("left_shoulder", "left_elbow"), ("left_elbow", "left_wrist"),
        ("right_shoulder", "right_elbow"), ("right_elbow", "right_wrist"),
        ("left_hip", "left_knee"), ("left_knee", "left_ankle"),
        ("right_hip", "right_knee"), ("right_knee", "right_ankle"),
        ("left_ankle", "left_heel"), ("left_heel", "left_big_toe"), ("left_ankle", "left_big_toe"),
        ("right_ankle", "right_heel"), ("right_heel", "right_big_toe"), ("right_ankle", "right_big_toe"),
    )
)  # fmt: skip
"""Bones between canonical keypoints, for drawing."""

KEYPOINT_VERTICES = {
    "nose": 332, "right_eye": 6260, "left_eye": 2800, "right_ear": 4071, "left_ear": 583,
    "left_big_toe": 3216, "left_small_toe": 3226, "left_heel": 3387,
    "right_big_toe": 6617, "right_small_toe": 6624, "right_heel": 6787,
}  # fmt: skip
"""Mesh vertex of each face and foot keypoint. The indices are those `smplx` uses by default for SMPL's topology; our
open body is numbered so that the same indices name the same places."""

SHOULDER_BLEND = {"shoulder": 0.88, "neck": 0.22, "spine3": -0.10}
"""COCO's shoulder keypoints lie some 2 cm further in and 3 cm above the joints that the arms turn about: measured with BlazePose
on renders of our body (`training.detector_loop`), and seen in the bone lengths of triangulated people."""


def mirror(names: tuple[str, ...]) -> tuple[int, ...]:
    """Permutation that swaps left and right: `x[mirror(NAMES)]` is x seen in a mirror.

    >>> mirror(("nose", "left_eye", "right_eye"))
    (0, 2, 1)
    """
    swap = {"left": "right", "right": "left"}
    swapped = ["_".join([swap.get(n.split("_")[0], n.split("_")[0]), *n.split("_")[1:]]) for n in names]
    return tuple(names.index(s) for s in swapped)


MIRRORED_JOINTS = mirror(JOINT_NAMES)
MIRRORED_KEYPOINTS = mirror(KEYPOINT_NAMES)
LIMBS = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
"""The 12 keypoints that all detectors and most ground truth have."""


def landmark_vertices() -> np.ndarray:
    """Mesh vertices that the keypoints need, (11,) int64, in the order of KEYPOINT_NAMES."""
    return np.array([KEYPOINT_VERTICES[name] for name in KEYPOINT_NAMES if name in KEYPOINT_VERTICES])


def keypoints_from_joints() -> np.ndarray:
    """(23, 24) float32, the part of each keypoint that is a blend of joints; rows sum to 1, or to 0 for those on the mesh."""
    blend = np.zeros((NUM_KEYPOINTS, NUM_JOINTS), np.float32)
    for row, name in enumerate(KEYPOINT_NAMES):
        if name.endswith("shoulder"):
            for joint, share in SHOULDER_BLEND.items():
                blend[row, JOINT_NAMES.index(name if joint == "shoulder" else joint)] = share
        elif name in JOINT_NAMES:
            blend[row, JOINT_NAMES.index(name)] = 1
    return blend


def keypoints_from_landmarks() -> np.ndarray:
    """(23, 11) float32: selects the keypoints that are landmark vertices (columns as `landmark_vertices`)."""
    on_mesh = [row for row, name in enumerate(KEYPOINT_NAMES) if name in KEYPOINT_VERTICES]
    select = np.zeros((NUM_KEYPOINTS, len(on_mesh)), np.float32)
    select[on_mesh, np.arange(len(on_mesh))] = 1
    return select


BLAZEPOSE_TO_KEYPOINTS = {
    "nose": 0, "left_eye": 2, "right_eye": 5, "left_ear": 7, "right_ear": 8, "left_shoulder": 11, "right_shoulder": 12,
    "left_elbow": 13, "right_elbow": 14, "left_wrist": 15, "right_wrist": 16, "left_hip": 23, "right_hip": 24,
    "left_knee": 25, "right_knee": 26, "left_ankle": 27, "right_ankle": 28, "left_heel": 29, "right_heel": 30,
    "left_big_toe": 31, "right_big_toe": 32,
}  # fmt: skip
"""Index of the BlazePose landmark (of 33) for each canonical keypoint; BlazePose has no small toes."""


def from_blazepose(points: np.ndarray, fill: float = 0.0) -> np.ndarray:
    """Reorder BlazePose landmarks into the canonical keypoints.

    points: (..., 33, D). Returns (..., 23, D); keypoints that BlazePose lacks hold `fill`.
    """
    out = np.full((*points.shape[:-2], NUM_KEYPOINTS, points.shape[-1]), fill, points.dtype)
    for row, name in enumerate(KEYPOINT_NAMES):
        if name in BLAZEPOSE_TO_KEYPOINTS:
            out[..., row, :] = points[..., BLAZEPOSE_TO_KEYPOINTS[name], :]
    return out


def _joint_confidence() -> np.ndarray:
    """(24, 23) float32, rows summing to 1: which keypoints' confidence counts for each joint."""
    torso = ("left_shoulder", "right_shoulder", "left_hip", "right_hip")
    head = ("nose", "left_eye", "right_eye", "left_ear", "right_ear")
    witnesses = {"pelvis": ("left_hip", "right_hip"), "neck": ("left_shoulder", "right_shoulder"), "head": head}
    witnesses |= {name: torso for name in ("spine1", "spine2", "spine3")}
    for side in ("left", "right"):
        witnesses[f"{side}_collar"] = (f"{side}_shoulder",)
        witnesses[f"{side}_hand"] = (f"{side}_wrist",)
        witnesses[f"{side}_foot"] = (f"{side}_big_toe", f"{side}_heel")
    matrix = np.zeros((NUM_JOINTS, NUM_KEYPOINTS), np.float32)
    for row, joint in enumerate(JOINT_NAMES):
        for keypoint in witnesses.get(joint, (joint,)):
            matrix[row, KEYPOINT_NAMES.index(keypoint)] = 1
    return matrix / matrix.sum(axis=1, keepdims=True)


JOINT_CONFIDENCE = _joint_confidence()
"""(24, 23) float32, rows summing to 1: `keypoint_confidence @ JOINT_CONFIDENCE.T` is a confidence for every joint."""
