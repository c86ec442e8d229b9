"""People in the words of REP-155 (ROS4HRI): body frame, 2D landmarks, region of interest, joint angles. Numpy only.

Axes of REP-155 bodies are those of REP-103: x forward (out of the chest), y to the person's left, z up. SMPL's rest pose has y up,
faces +z, and has its left at +x. Joint names and axes are those of the `human_description` package's URDF, whose zero pose stands
with the arms hanging.
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
"""The 18 of hri_msgs/Skeleton2D in its order: OpenPose's, but for eyes and ears, which are left first."""

_AT = {name: index for index, name in enumerate(JOINT_NAMES)}
_TINY = 1e-6


def body_id(person_id: int) -> str:
    """REP-155 wants a token for topics and frames; ROS 2 wants it not to start with a digit."""
    return f"p{person_id}"


def body_frame(person: Person) -> tuple[np.ndarray, np.ndarray]:
    """Of frame body_<id> in the person's frame: rotation (3, 3) and origin (3,), metres, between the hips."""
    origin = (person.joints[_AT["left_hip"]] + person.joints[_AT["right_hip"]]) / 2
    return person.joint_rotmat[_AT["pelvis"]] @ ROTMAT_SMPL_REP, origin


def landmarks(person: Person, width: int, height: int) -> np.ndarray:
    """(18, 3): x, y and confidence of LANDMARKS as the detector saw them, x and y as fractions of the image.

    What was not seen is 0, 0, 0. The neck is half-way between the shoulders, as sure as the less sure of them.
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


def region(person: Person, width: int, height: int) -> np.ndarray:
    """(4,): xmin, ymin, xmax, ymax of the fitted body's keypoints, as fractions of the image, kept inside it."""
    corners = np.stack([person.reprojection_px.min(axis=0), person.reprojection_px.max(axis=0)])
    return np.clip(_normalised(corners, width, height), 0, 1).astype(np.float32).reshape(4)


def _normalised(uv, width: int, height: int) -> np.ndarray:
    """Pixels, whose centres are at whole numbers, to fractions of the image."""
    return (np.asarray(uv) + 0.5) / [width, height]


def joint_angles(person: Person) -> dict[str, float]:
    """Joint of the human URDF (without its _<id>): angle in radians.

    The URDF's waist only bends and its elbows and knees are hinges. Arms take their angles from where upper arm and forearm point,
    so that they point there in the URDF too; heads and thighs from their rotations; limits are not enforced.
    """
    turned = person.joint_rotmat.astype(float)
    pelvis = turned[_AT["pelvis"]] @ ROTMAT_SMPL_REP
    chest_up = pelvis.T @ (turned[_AT["spine3"]] @ ROTMAT_SMPL_REP)[:, 2]
    waist = np.arctan2(chest_up[0], chest_up[2])
    torso = pelvis @ _about("y", waist)
    head = torso.T @ turned[_AT["head"]] @ ROTMAT_SMPL_REP
    angles = {"waist": waist, **_head(head)}
    for side, sign in (("left", 1), ("right", -1)):
        at = {part: person.joints[_AT[f"{side}_{part}"]].astype(float) for part in _LIMBS}
        upper, fore = torso.T @ (at["elbow"] - at["shoulder"]), torso.T @ (at["wrist"] - at["elbow"])
        thigh = pelvis.T @ turned[_AT[f"{side}_hip"]] @ ROTMAT_SMPL_REP
        bend = _angle_between(at["knee"] - at["hip"], at["ankle"] - at["knee"])
        limbs = {**_arm(upper, fore, sign), **_hip(thigh, sign), "knee": -bend}
        angles |= {f"{side[0]}_{name}": angle for name, angle in limbs.items()}
    return {name: float(angle) for name, angle in angles.items()}


_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _head(rotmat: np.ndarray) -> dict[str, float]:
    """rotmat = Rx(roll) Rz(yaw) Ry(-pitch)."""
    yaw = np.arcsin(np.clip(-rotmat[0, 1], -1, 1))
    return {
        "r_head": np.arctan2(rotmat[2, 1], rotmat[1, 1]),
        "y_head": yaw,
        "p_head": -np.arctan2(rotmat[0, 2], rotmat[0, 0]),
    }


def _hip(rotmat: np.ndarray, sign: int) -> dict[str, float]:
    """rotmat = Rz(-y) Rx(sign p) Ry(-r)."""
    return {
        "y_hip": -np.arctan2(-rotmat[0, 1], rotmat[1, 1]),
        "p_hip": sign * np.arcsin(np.clip(rotmat[2, 1], -1, 1)),
        "r_hip": -np.arctan2(-rotmat[2, 0], rotmat[2, 2]),
    }


def _arm(upper: np.ndarray, fore: np.ndarray, sign: int) -> dict[str, float]:
    """Directions of upper arm and forearm in the torso's frame to Rz(-sign y) Rx(sign p) Rz(sign r), then elbow."""
    upper, fore = upper / max(np.linalg.norm(upper), _TINY), fore / max(np.linalg.norm(fore), _TINY)
    p = np.arccos(np.clip(-upper[2], -1, 1))
    # An arm that hangs straight down has no heading of its own.
    heading = np.arctan2(-sign * upper[0], sign * upper[1]) if np.sin(p) > _TINY else 0.0
    inner = (_about("z", heading) @ _about("x", sign * p)).T @ fore
    elbow = np.arctan2(np.hypot(inner[0], inner[1]), -inner[2])
    twist = np.arctan2(inner[1], inner[0]) if np.sin(elbow) > _TINY else 0.0
    return {"y_shoulder": -sign * heading, "p_shoulder": p, "r_shoulder": sign * twist, "elbow": elbow}


def _about(axis: str, angle: float) -> np.ndarray:
    """(3, 3): rotation about x, y or z."""
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    rotmat = np.eye(3)
    rotmat[[i, i, j, j], [i, j, i, j]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
    return rotmat


def _angle_between(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.arctan2(np.linalg.norm(np.cross(a, b)), a @ b))
