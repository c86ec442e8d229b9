"""The orders of joints that data sets use, and the maps from them onto the canonical keypoints and onto H36M's seventeen.

An order is a tuple of names. A point that is a canonical keypoint has that keypoint's name (`skeleton.KEYPOINT_NAMES`), any other point a
name of its own: `neck_lsp` and `thorax_mpii` are not canonical keypoints and are dropped, not turned into one. Annotators click hips
higher and further out than SMPL's hip joints lie; annotated hips map onto the hip keypoints, as detectors' hips do, and `H36M_17` keeps
captured ones apart.
"""

from __future__ import annotations

import numpy as np

from hmr_ros import skeleton

OPENPOSE_25 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist", "mid_hip",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "right_eye", "left_eye", "right_ear",
    "left_ear", "left_big_toe", "left_small_toe", "left_heel", "right_big_toe", "right_small_toe", "right_heel",
)  # fmt: skip
"""OpenPose's BODY_25 (CMU-Perceptual-Computing-Lab/openpose, doc/02_output.md)."""

OPENPOSE_18 = (*OPENPOSE_25[:8], *OPENPOSE_25[9:19])
"""OpenPose's COCO output, BODY_25 without mid-hip and feet: `poses2d` of 3DPW ("2D joint detections in Coco-Format", its readme;
that these are 18 with a neck and not COCO's 17 is how its demo and every reader use them)."""

SPIN_24 = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck_lsp", "head_top_lsp", "pelvis_mpii", "thorax_mpii",
    "spine_h36m", "jaw_h36m", "head_h36m", "nose", "left_eye", "right_eye", "left_ear", "right_ear",
)  # fmt: skip
"""`part` and `S` of SPIN-format files, CLIFF's among them (nkolot/SPIN, constants.py, the last 24 of JOINT_NAMES)."""

H36M_17 = (
    "pelvis", "left_hip", "left_knee", "left_ankle", "right_hip", "right_knee", "right_ankle", "spine_h36m", "neck_lsp",
    "jaw_h36m", "head_h36m", "left_shoulder", "left_elbow", "left_wrist", "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip
"""Rows of the regressor J_regressor_h36m.npy that everybody evaluates with: left before right, unlike in Human3.6M's own files
(nkolot/SPIN: constants.py, H36M_TO_J17; datasets/preprocess/h36m.py, global_idx)."""

SMPL_24 = skeleton.JOINT_NAMES
"""SMPL's joints: `jointPositions` of 3DPW, `kp2d` of EMDB."""

SMPLX_BODY_22 = SMPL_24[:22]
"""SMPL-X and SMPL-H have SMPL's joints up to the wrists, in its order (vchoutas/smplx, smplx/joint_names.py)."""

H36M_14 = tuple(H36M_17.index(name) for name in SPIN_24[:12]) + (8, 10)
"""The 14 joints of SPIN's evaluation, LSP's, out of `H36M_17` (constants.py, H36M_TO_J14)."""

H36M_PELVIS = 0

_ALIASES = {"pelvis_mpii": "pelvis"}


def onto_keypoints(points: np.ndarray, order: tuple[str, ...], confidence: np.ndarray | None = None):
    """Points in some order as canonical keypoints.

    points: (N, J, D); confidence: (N, J) or None: 1. Returns (N, 23, D) and confidences (N, 23), both 0 for what the order lacks.
    """
    return _onto(points, order, confidence, skeleton.KEYPOINT_NAMES)


def smpl_onto_keypoints(points: np.ndarray, order: tuple[str, ...], confidence: np.ndarray | None = None):
    """As `onto_keypoints`, for orders that begin with SMPL's joints: its shoulders are not where detectors see shoulders."""
    keypoints, weight = onto_keypoints(points, order, confidence)
    for side in ("left", "right"):
        names = {f"{side}_shoulder" if name == "shoulder" else name: n for name, n in skeleton.SHOULDER_BLEND.items()}
        row = skeleton.KEYPOINT_NAMES.index(f"{side}_shoulder")
        blend = sum(share * points[:, order.index(name)] for name, share in names.items())
        keypoints[:, row] = np.where(weight[:, row, None] > 0, blend, 0)
    return keypoints, weight


def onto_h36m(points: np.ndarray, order: tuple[str, ...], confidence: np.ndarray | None = None):
    """The same onto `H36M_17`: (N, 17, D) and confidences (N, 17)."""
    return _onto(points, tuple(_ALIASES.get(name, name) for name in order), confidence, H36M_17)


def _onto(points: np.ndarray, order: tuple[str, ...], confidence: np.ndarray | None, target: tuple[str, ...]):
    if points.shape[1] != len(order):
        raise ValueError(f"{points.shape[1]} points where the order has {len(order)} names")
    confidence = np.ones(points.shape[:2], np.float32) if confidence is None else confidence
    found = [(row, order.index(name)) for row, name in enumerate(target) if name in order]
    rows, source = (np.array(column) for column in zip(*found))
    out = np.zeros((len(points), len(target), points.shape[-1]), np.float32)
    weight = np.zeros((len(points), len(target)), np.float32)
    out[:, rows], weight[:, rows] = points[:, source], confidence[:, source]
    return np.where(weight[..., None] > 0, out, 0), weight
