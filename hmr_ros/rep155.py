"""People as REP-155 (ROS4HRI) describes them: body frame, 2D landmarks, region of interest. Numpy only. For joints see `human_urdf`.

Axes of REP-155 bodies are those of REP-103: x forward (out of the chest), y to the person's left, z up. SMPL's rest pose has y up,
faces +z, and has its left at +x.
"""

from __future__ import annotations

import numpy as np

from hmr_ros.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmr_ros.types import Person

ROTMAT_SMPL_REP = np.array([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
"""(3, 3): columns are REP-155's x, y, z in SMPL's rest axes."""

LANDMARKS = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "left_eye", "right_eye",
    "left_ear", "right_ear",
)  # fmt: skip
"""The 18 landmarks of hri_msgs/Skeleton2D, in its order: OpenPose's, except that left eye and ear come before the right ones."""

_AT = {name: index for index, name in enumerate(JOINT_NAMES)}


def body_id(person_id: int, prefix: str = "") -> str:
    """REP-155 requires an id that fits into names of topics and frames; in ROS 2 it must not start with a digit."""
    return f"{prefix}p{person_id}"


def body_frame(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Pose of frame body_<id> in the frame of `person`: rotation (3, 3), and origin (3,), metres, midway between the hips."""
    origin = (person.joints[_AT["left_hip"]] + person.joints[_AT["right_hip"]]) / 2
    return person.joint_rotmat[_AT["pelvis"]] @ ROTMAT_SMPL_REP, origin


def landmarks(person: Person, width: int, height: int) -> np.ndarray:
    """(18, 3): x, y and confidence of LANDMARKS as the detector saw them, x and y as fractions of the image.

    What was not seen is 0, 0, 0. The neck is half-way between the shoulders, with the lower confidence of the two.
    """
    uv = dict(zip(KEYPOINT_NAMES, person.keypoints_uv))
    confidence = dict(zip(KEYPOINT_NAMES, person.keypoint_confidence))
    uv["neck"] = (uv["left_shoulder"] + uv["right_shoulder"]) / 2
    confidence["neck"] = min(confidence["left_shoulder"], confidence["right_shoulder"])
    out = np.zeros((len(LANDMARKS), 3), np.float32)
    for row, name in zip(out, LANDMARKS):
        x, y = _normalised(uv[name], width, height)
        if confidence[name] > 0 and 0 <= x <= 1 and 0 <= y <= 1:
            row[:] = x, y, confidence[name]
    return out


def keypoints_of(points: np.ndarray, width: int, height: int) -> np.ndarray:
    """The inverse of `landmarks`: LANDMARKS (18, 3) as fractions of the image to our keypoints, (23, 3) float32: pixels, confidence.

    The feet, which LANDMARKS lack, and whatever is not finite or not seen have confidence 0.
    """
    out = np.zeros((len(KEYPOINT_NAMES), 3), np.float32)
    for name, point in zip(LANDMARKS, points):
        if name in KEYPOINT_NAMES and np.isfinite(point).all():
            x, y = point[:2] * [width, height] - 0.5
            out[KEYPOINT_NAMES.index(name)] = x, y, np.clip(point[2], 0, 1)
    return out


def region(person: Person, width: int, height: int) -> np.ndarray:
    """(4,): xmin, ymin, xmax, ymax of the fitted body's keypoints, as fractions of the image, kept inside it."""
    corners = np.stack([person.reprojection_px.min(axis=0), person.reprojection_px.max(axis=0)])
    return np.clip(_normalised(corners, width, height), 0, 1).astype(np.float32).reshape(4)


def _normalised(uv, width: int, height: int) -> np.ndarray:
    """Pixels, whose centres are at whole numbers, to fractions of the image."""
    return (np.asarray(uv) + 0.5) / [width, height]
