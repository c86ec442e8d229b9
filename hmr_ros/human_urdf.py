"""A tracked person as the kinematic model of REP-155 (ROS4HRI): joints with the person's own bone lengths, their angles, a URDF.

Names, order and axes are those of the `human_description` package, whose zero pose stands with the arms hanging. It has fewer joints
than SMPL: the back is one hinge, elbows and knees are hinges, collars do not move. The angles place hips and knees and direct the
arms as in SMPL; shoulders, and with them elbows and wrists, come as near as a stiff back allows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from xml.etree import ElementTree

import numpy as np

from hmr_ros.rep155 import ROTMAT_SMPL_REP, body_frame
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from hmr_ros.types import Person

_LIMB_RADIUS_M, _HEAD_RADIUS_M = 0.03, 0.1
"""Radii in the drawing; lengths are the person's."""
_SKIN = "1 0.7 0.4 1"
_TINY = 1e-6
_TURN, _QUARTER = (-np.pi, np.pi), (-np.pi / 2, np.pi / 2)


@dataclass(frozen=True)
class Joint:
    """One joint of the model; names lack the body's suffix _<id>."""

    name: str
    parent: str
    """The link that the joint is on."""
    child: str
    origin: np.ndarray
    """(3,) metres, in the parent link."""
    axis: tuple[float, float, float] | None = None
    """None: fixed."""
    limits: tuple[float, float] = (0.0, 0.0)
    """Radians: the mathematical range of the angle. Estimates ignore anatomy, and are not clipped to its limits."""

    def quat(self, angle: float) -> tuple[float, float, float, float]:
        """x, y, z, w of the child link in the parent link."""
        x, y, z = self.axis or (0.0, 0.0, 0.0)
        s = math.sin(angle / 2)
        return x * s, y * s, z * s, math.cos(angle / 2)


def model(person: Person) -> tuple[Joint, ...]:
    """Every joint of the person, parents before children; those that move are in the order of `joint_angles`."""
    at, zero = _rest(person), np.zeros(3)
    torso = _middle(at, "shoulder")
    joints = [
        Joint("waist", "body", "waist", zero, (0, 1, 0), _TURN),
        Joint("torso", "waist", "torso", torso),
        Joint("r_head", "torso", "r_head", at["neck"] - torso, (1, 0, 0), _TURN),
        Joint("y_head", "r_head", "y_head", zero, (0, 0, 1), _QUARTER),
        Joint("p_head", "y_head", "p_head", zero, (0, -1, 0), _TURN),
        Joint("head", "p_head", "head", at["head"] - at["neck"]),
    ]
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, elbow, wrist, hip, knee, ankle = (at[f"{side}_{part}"] for part in _LIMBS)
        s = side[0]
        joints += [
            Joint(f"{s}_y_shoulder", "torso", f"{s}_y_shoulder", shoulder - torso, (0, 0, -sign), _TURN),
            Joint(f"{s}_p_shoulder", f"{s}_y_shoulder", f"{s}_p_shoulder", zero, (sign, 0, 0), (0, np.pi)),
            Joint(f"{s}_r_shoulder", f"{s}_p_shoulder", f"{s}_shoulder", zero, (0, 0, sign), _TURN),
            Joint(f"{s}_elbow", f"{s}_shoulder", f"{s}_elbow", _below(shoulder, elbow), (0, -1, 0), (0, np.pi)),
            Joint(f"{s}_wrist", f"{s}_elbow", f"{s}_wrist", _below(elbow, wrist)),
            Joint(f"{s}_y_hip", "body", f"{s}_y_hip", hip, (0, 0, -1), _TURN),
            Joint(f"{s}_p_hip", f"{s}_y_hip", f"{s}_p_hip", zero, (sign, 0, 0), _QUARTER),
            Joint(f"{s}_r_hip", f"{s}_p_hip", f"{s}_hip", zero, (0, -1, 0), _TURN),
            Joint(f"{s}_knee", f"{s}_hip", f"{s}_knee", _below(hip, knee), (0, -1, 0), _TURN),
            Joint(f"{s}_ankle", f"{s}_knee", f"{s}_ankle", _below(knee, ankle)),
        ]
    return tuple(joints)


_LIMBS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")


def _rest(person: Person) -> dict[str, np.ndarray]:
    """Joints of this person in SMPL's rest pose, metres, in the body's frame: bones keep their lengths whatever the pose."""
    joints = person.joints.astype(float)
    bones = np.einsum("jba,jb->ja", person.joint_rotmat[list(PARENTS)], joints - joints[list(PARENTS)])
    rest = np.zeros((NUM_JOINTS, 3))
    for child in range(1, NUM_JOINTS):
        rest[child] = rest[PARENTS[child]] + bones[child]
    named = dict(zip(JOINT_NAMES, rest @ ROTMAT_SMPL_REP))
    origin = _middle(named, "hip")
    return {name: place - origin for name, place in named.items()}


def _middle(at: dict[str, np.ndarray], part: str) -> np.ndarray:
    return (at[f"left_{part}"] + at[f"right_{part}"]) / 2


def _below(upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """A limb's next joint relative to the upper one, while the limb hangs."""
    return np.array([0.0, 0.0, -np.linalg.norm(lower - upper)])


def joint_angles(person: Person) -> dict[str, float]:
    """Angles in radians, by name of the model's joint."""
    pelvis, origin = (value.astype(float) for value in body_frame(person))
    seen = {name: pelvis.T @ (place - origin) for name, place in zip(JOINT_NAMES, person.joints.astype(float))}
    turned = dict(zip(JOINT_NAMES, pelvis.T @ person.joint_rotmat.astype(float) @ ROTMAT_SMPL_REP))
    # The angle of the waist that brings the shoulders nearest to where they are.
    waist = _lean(_middle(seen, "shoulder")) - _lean(_middle(_rest(person), "shoulder"))
    waist = (waist + np.pi) % (2 * np.pi) - np.pi
    torso = _about("y", waist)
    angles = {"waist": waist, **_head(torso.T @ turned["head"])}
    for side, sign in (("left", 1), ("right", -1)):
        shoulder, elbow, wrist, hip, knee, ankle = (seen[f"{side}_{part}"] for part in _LIMBS)
        arm = _arm(torso.T @ (elbow - shoulder), torso.T @ (wrist - elbow), sign)
        leg = _leg(knee - hip, ankle - knee, turned[f"{side}_hip"], sign)
        angles |= {f"{side[0]}_{name}": angle for name, angle in {**arm, **leg}.items()}
    return {name: float(angle) for name, angle in angles.items()}


def _lean(point: np.ndarray) -> float:
    """Angle about y, from up towards forward, radians."""
    return float(np.arctan2(point[0], point[2]))


def _head(rotmat: np.ndarray) -> dict[str, float]:
    """The angles of rotmat = Rx(roll) Rz(yaw) Ry(-pitch)."""
    yaw = np.arcsin(np.clip(-rotmat[0, 1], -1, 1))
    return {
        "r_head": np.arctan2(rotmat[2, 1], rotmat[1, 1]),
        "y_head": yaw,
        "p_head": -np.arctan2(rotmat[0, 2], rotmat[0, 0]),
    }


def _arm(upper: np.ndarray, fore: np.ndarray, sign: int) -> dict[str, float]:
    """From directions of upper arm and forearm in the torso's frame to angles: Rz(-sign y) Rx(sign p) Rz(sign r), then elbow."""
    upper, fore = _unit(upper), _unit(fore)
    p = np.arccos(np.clip(-upper[2], -1, 1))
    # An arm that hangs straight down has no heading of its own.
    heading = np.arctan2(-sign * upper[0], sign * upper[1]) if np.sin(p) > _TINY else 0.0
    inner = (_about("z", heading) @ _about("x", sign * p)).T @ fore
    elbow = np.arctan2(np.hypot(inner[0], inner[1]), -inner[2])
    twist = np.arctan2(inner[1], inner[0]) if np.sin(elbow) > _TINY else 0.0
    return {"y_shoulder": -sign * heading, "p_shoulder": p, "r_shoulder": sign * twist, "elbow": elbow}


def _leg(thigh: np.ndarray, shin: np.ndarray, hip: np.ndarray, sign: int) -> dict[str, float]:
    """From directions of thigh and shin and the hip's rotation, in the body's frame, to angles: Rz(-y) Rx(sign p) Ry(-r), then knee.

    The twist about the thigh is taken from the hip's rotation, because a nearly straight leg does not show it.
    """
    up = -_unit(thigh)
    forward = _unit(np.cross(hip[:, 1], up))
    turned = np.stack([forward, np.cross(up, forward), up], axis=1)
    inner = turned.T @ shin
    return {
        "y_hip": -np.arctan2(-turned[0, 1], turned[1, 1]),
        "p_hip": sign * np.arcsin(np.clip(turned[2, 1], -1, 1)),
        "r_hip": -np.arctan2(-turned[2, 0], turned[2, 2]),
        "knee": np.arctan2(inner[0], -inner[2]),
    }


def _about(axis: str, angle: float) -> np.ndarray:
    return rotvec_to_rotmat(np.array([axis == "x", axis == "y", axis == "z"], float) * angle)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), _TINY)


def urdf(joints: tuple[Joint, ...], body_id: str) -> str:
    """The model as a URDF, with _<id> after every name and bones drawn as sticks."""
    robot = ElementTree.Element("robot", name=f"human_{body_id}")
    names = ["body", *(joint.child for joint in joints)]
    links = {name: _add(robot, "link", name=f"{name}_{body_id}") for name in names}
    for joint in joints:
        length_m = float(np.linalg.norm(joint.origin))
        if length_m > _TINY:
            place = {"xyz": _text(joint.origin / 2), "rpy": _text(_towards(joint.origin))}
            _draw(links[joint.parent], place, "cylinder", radius=_LIMB_RADIUS_M, length=length_m)
    _draw(links["head"], {}, "sphere", radius=_HEAD_RADIUS_M)
    for joint in joints:
        kind = "fixed" if joint.axis is None else "revolute"
        element = _add(robot, "joint", name=f"{joint.name}_{body_id}", type=kind)
        _add(element, "parent", link=f"{joint.parent}_{body_id}")
        _add(element, "child", link=f"{joint.child}_{body_id}")
        _add(element, "origin", xyz=_text(joint.origin))
        if joint.axis is not None:
            low, high = joint.limits
            _add(element, "axis", xyz=_text(joint.axis))
            # URDF requires limits of effort and velocity; these restrict nothing.
            _add(element, "limit", lower=f"{low:.6f}", upper=f"{high:.6f}", effort="1000", velocity="100")
    ElementTree.indent(robot)
    return ElementTree.tostring(robot, encoding="unicode")


def _draw(link, place: dict[str, str], shape: str, **size_m: float) -> None:
    visual = _add(link, "visual")
    _add(visual, "origin", **place)
    _add(_add(visual, "geometry"), shape, **{name: f"{value:.6f}" for name, value in size_m.items()})
    _add(_add(visual, "material", name="skin"), "color", rgba=_SKIN)


def _towards(direction: np.ndarray) -> tuple[float, float, float]:
    """Roll, pitch, yaw that rotate the z axis onto `direction`."""
    x, y, z = direction
    return 0.0, float(np.arctan2(np.hypot(x, y), z)), float(np.arctan2(y, x))


def _add(parent, tag: str, **attributes: str):
    return ElementTree.SubElement(parent, tag, attributes)


def _text(numbers) -> str:
    return " ".join(f"{number:.6f}" for number in numbers)
