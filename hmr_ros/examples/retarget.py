"""A person's arms as the joint angles of the robot in assets/examples/two_arm.urdf.

Directions are transferred, not positions: the robot's upper arm and forearm point where the person's do, seen from the chest,
so any arm length will do. Each arm has four joints: shoulder pitch (about y), shoulder roll (x), upper-arm yaw (z), elbow (y);
at 0 it hangs down. The torso's axes are those of REP-103: x forward, y left, z up.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from hmr_ros.skeleton import JOINT_NAMES

URDF = Path(__file__).resolve().parents[1] / "assets/examples/two_arm.urdf"

ANGLES = ("shoulder_pitch", "shoulder_roll", "upper_arm_yaw", "elbow")
JOINTS = tuple(f"{side}_{name}" for side in ("left", "right") for name in ANGLES)
"""The robot's joints, in the order of every array of angles here."""

R_torso_chest = np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]])
"""From SMPL's axes (x left, y up, z forward) to the robot's."""

STRAIGHT = np.sin(np.radians(8))
"""Sine of 8 degrees. If the elbow is straighter, or the upper arm nearer the pitch axis, an angle is not observable: its last value is kept."""


@cache
def limits() -> np.ndarray:
    """(8, 2) rad: lower and upper, from the URDF, in the order of JOINTS."""
    joints = {joint.get("name"): joint.find("limit") for joint in ElementTree.parse(URDF).getroot().iter("joint")}
    return np.array([[float(joints[name].attrib[end]) for end in ("lower", "upper")] for name in JOINTS])


def arm_angles(joints: np.ndarray, chest_rotmat: np.ndarray, previous: np.ndarray) -> np.ndarray:
    """(8,) rad, in the order of JOINTS, not clipped to `limits`.

    joints: (24, 3) of one person, any frame and unit; chest_rotmat: (3, 3), orientation of spine3 in that frame; previous: (8,) rad,
    what to keep where an angle is not observable.
    """
    arms = []
    for side, before in zip(("left", "right"), previous.reshape(2, 4)):
        shoulder, elbow, wrist = (
            joints[JOINT_NAMES.index(f"{side}_{part}")] for part in ("shoulder", "elbow", "wrist")
        )
        upper, fore = (R_torso_chest @ chest_rotmat.T @ _unit(bone) for bone in (elbow - shoulder, wrist - elbow))
        arms.append(_one_arm(upper, fore, before))
    return np.concatenate(arms)


def _one_arm(upper: np.ndarray, fore: np.ndarray, before: np.ndarray) -> np.ndarray:
    """From unit vectors in the torso's axes to pitch, roll, yaw, elbow."""
    roll = np.arcsin(np.clip(upper[1], -1, 1))
    pitch = np.arctan2(-upper[0], -upper[2]) if np.hypot(upper[0], upper[2]) > STRAIGHT else before[0]
    x, y, z = (about_y(pitch) @ about_x(roll)).T @ fore
    yaw = np.arctan2(y, x) if np.hypot(x, y) > STRAIGHT else before[2]
    return np.array([pitch, roll, yaw, -np.arccos(np.clip(-z, -1, 1))])


def step_towards(previous: np.ndarray, target: np.ndarray, max_step: float) -> np.ndarray:
    """`target`, limited to the URDF's bounds and to `max_step` rad from `previous`."""
    bounds = limits()
    return previous + np.clip(np.clip(target, bounds[:, 0], bounds[:, 1]) - previous, -max_step, max_step)


def about_x(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-9)
