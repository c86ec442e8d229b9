"""Retarget motion capture of another skeleton to SMPL's local rotations.

Every SMPL joint follows a joint of the source, starting from a reference pose in which both stand in a T. The trunk and the head follow
rigidly: skeletons place their spines, necks and collars too differently for directions to mean anything. The bones of arms and legs point
exactly where the captured ones do: the smallest possible constant turn makes up for the difference between the two T-poses, and where the
source has further joints along a bone (twist joints) the bone is turned onto the line between those that SMPL knows. Twist along a
bone is the source joint's own.
"""

from __future__ import annotations

import re

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES, NUM_JOINTS, PARENTS
from training.datasets.motion import Motion
from training.datasets.people import DatasetError, People, people_of

NAMES = {
    "hip": ("femur", "upleg", "upperleg", "thigh", "hip"),
    "knee": ("tibia", "leg", "lowleg", "lowerleg", "shin", "calf", "knee"),
    "ankle": ("foot", "ankle"),
    "foot": ("toes", "toebase", "toe", "ball"),
    "collar": ("clavicle", "collar", "shoulder"),
    "shoulder": ("humerus", "arm", "uparm", "upperarm", "shldr", "shoulder"),
    "elbow": ("radius", "forearm", "lowarm", "lowerarm", "elbow"),
    "wrist": ("wrist", "hand"),
}  # fmt: skip
"""Names that common skeletons give the joint at each limb joint's place, after a left or right, the likeliest first: CMU's ASF and BVH,
Mixamo, 3ds Max's biped, Daz, Unreal, Blender. A joint named shoulder is the collar where there is an arm as well."""
HAND_TIPS = ("hand_end", "wrist_end", "fingers", "fingerbase", "handindex1", "handmiddle1")
FOOT_TIPS = ("foot_end", "ankle_end")
"""Joints to which the bones of hands, and of feet without toes, point, if the source has them."""
TRUNK = {
    "pelvis": ("hips", "hip", "pelvis", "centerhip", "root"),
    "neck": ("lowerneck", "neck", "neck1", "neck01"),
    "head": ("head",),
}
WRIST_TURNS = ("hand",)
"""CMU's wrist only twists and its hand flexes: a hand's orientation is that of the last of the two."""
BONES = {
    f"{side}_{start}": f"{side}_{end}"
    for side in ("left", "right")
    for start, end in (("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand"))
}  # fmt: skip
"""The bones of arms and legs, by the joint that turns them."""
REQUIRED = (
    "pelvis",
    "neck",
    *(
        f"{side}_{part}"
        for side in ("left", "right")
        for part in ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")
    ),
)


def to_smpl(
    motion: Motion, body: BodyModel, where: str = "motion", reference: str = "rest", sequence: str = ""
) -> People:
    """T frames of SMPL's local rotations in a world with y up; joints without a counterpart in the source are masked out.

    body: whose T-pose is SMPL's. where: named in errors. reference: the pose in which the source stands as a T, "rest" or
    "first-frame" (some BVH files have an arbitrary rest pose and start with a T).
    """
    source, turns_with = match(motion, where)
    orientation, position = motion.world()
    if reference == "first-frame":
        orientation, at_rest = orientation @ np.swapaxes(orientation[:1], -1, -2), position[0]
    else:
        at_rest = motion.rest()
    upright = _upright(at_rest, source, where)
    at_rest, position = at_rest @ upright.T, position @ upright.T
    orientation = upright @ orientation @ upright.T
    rest = body.J_template.astype(np.float64)
    world = _world_rotations(source, turns_with, orientation, position, at_rest, rest)
    local = world.copy()
    local[:, 1:] = np.swapaxes(world[:, list(PARENTS[1:])], -1, -2) @ world[:, 1:]
    known = np.array([name in source and _turns(name, motion.names[source[name]]) for name in JOINT_NAMES])
    local[:, ~known] = np.eye(3)
    place = {"sequence": sequence, "frame": np.arange(len(motion))}
    return people_of(len(motion), "y_up", poses=rotmat_to_rotvec(local), poses_known=known, **place)


def _turns(name: str, source_name: str) -> bool:
    """Whether the source gives the joint's rotation, not only its place. SMPL's hand joints bend all fingers as one: no source has that."""
    return not name.endswith("hand") and not source_name.endswith("_end")


# --- Matching joints -------------------------------------------------------------------------------------------------------


def match(motion: Motion, where: str) -> tuple[dict[str, int], dict[str, int]]:
    """The source's joint at the place of each SMPL joint, and, where it is another one, the joint it turns with."""
    plain = [_plain(name) for name in motion.names]

    def find(names) -> int | None:
        return next((plain.index(name) for name in names if name in plain), None)

    found = {name: find(aliases) for name, aliases in TRUNK.items()}
    if found["neck"] is None:  # without a neck joint, the head's joint is at the neck's place
        found["neck"], found["head"] = found["head"], None
    turns_with = {}
    for side in ("left", "right"):
        for part, aliases in NAMES.items():
            found[f"{side}_{part}"] = find([f"{side}{alias}" for alias in aliases])
        if found[f"{side}_collar"] == found[f"{side}_shoulder"]:
            found[f"{side}_collar"] = None
        turns_with[f"{side}_wrist"] = find([f"{side}{alias}" for alias in WRIST_TURNS])
        found[f"{side}_hand"] = find([f"{side}{tip}" for tip in HAND_TIPS])
        if found[f"{side}_foot"] is None:
            found[f"{side}_foot"] = find([f"{side}{tip}" for tip in FOOT_TIPS])
    found.update(_spine(motion, found))
    missing = [name for name in REQUIRED if found.get(name) is None]
    if missing:
        raise DatasetError(
            f"{where}: no joint for SMPL's {', '.join(missing)}; the skeleton has {', '.join(motion.names)}. "
            "Rename its joints to the usual ones (docs/datasets.md)."
        )
    source = {name: joint for name, joint in found.items() if joint is not None}
    return source, {name: joint for name, joint in turns_with.items() if joint is not None}


def _plain(name: str) -> str:
    """A joint's name without a namespace, in lower case, with its side first and written out: mixamorig:LeftArm, lhumerus, thigh_l."""
    text = re.sub(r"^(.+)[_.](l|r|left|right)$", r"\2\1", name.split(":")[-1].removesuffix("_end").lower())
    text = re.sub(r"[\s_.\-]", "", text)
    for short, side in (("l", "left"), ("r", "right")):
        if not text.startswith(side):
            rest = text[1:] if text.startswith(short) else ""
            if any(rest == alias for aliases in NAMES.values() for alias in aliases) or rest in ("fingers", "toes"):
                text = side + rest
    return text + ("_end" if name.endswith("_end") else "")


def _spine(motion: Motion, found: dict) -> dict[str, int]:
    """SMPL's three spine joints, spread over what the source has between pelvis and neck."""
    if found["neck"] is None or found["pelvis"] is None:
        return {}
    chain = []
    joint = motion.parents[found["neck"]]
    while joint >= 0 and joint != found["pelvis"]:
        chain.insert(0, joint)
        joint = motion.parents[joint]
    if not chain:
        return {}
    if len(chain) == 1:
        return {"spine3": chain[0]}
    if len(chain) == 2:
        return {"spine1": chain[0], "spine3": chain[1]}
    return {"spine1": chain[0], "spine2": chain[len(chain) // 2], "spine3": chain[-1]}


# --- Rotations -------------------------------------------------------------------------------------------------------------


def _upright(at_rest: np.ndarray, source: dict[str, int], where: str) -> np.ndarray:
    """(3, 3): the turn by multiples of 90 degrees after which the reference pose stands with y up and faces +z."""
    left = at_rest[source["left_hip"]] - at_rest[source["right_hip"]]
    up = at_rest[source["neck"]] - at_rest[source["pelvis"]]
    axes = []
    for direction in (left, up):
        axis = np.zeros(3)
        axis[np.abs(direction).argmax()] = np.sign(direction[np.abs(direction).argmax()])
        axes.append(axis)
    if abs(axes[0] @ axes[1]) > 0.5 or not np.isfinite(at_rest).all():
        raise DatasetError(f"{where}: its reference pose does not stand: hips and neck lie along one line. {_OTHER}")
    limbs = [("left_hip", "left_ankle", -up), ("right_hip", "right_ankle", -up)]
    for start, end, expected in limbs:
        bone = at_rest[source[end]] - at_rest[source[start]]
        if bone @ expected < 0.5 * np.linalg.norm(bone) * np.linalg.norm(expected):
            raise DatasetError(f"{where}: in its reference pose the legs are not below the body. {_OTHER}")
    return np.stack([axes[0], axes[1], np.cross(axes[0], axes[1])])


_OTHER = "If the file starts with a T-pose, use --reference first-frame."


def _world_rotations(source, turns_with, orientation, position, at_rest, rest) -> np.ndarray:
    """(T, 24, 3, 3): each SMPL joint's rotation from its own rest pose, in the world."""
    world, constant = np.empty((len(position), NUM_JOINTS, 3, 3)), np.empty((NUM_JOINTS, 3, 3))
    heading = _heading(at_rest[source["left_hip"]] - at_rest[source["right_hip"]])
    for joint, name in enumerate(JOINT_NAMES):
        parent = PARENTS[joint]
        tip = BONES.get(name)
        here = source.get(name)
        constant[joint] = constant[parent] if name.endswith("foot") else heading
        if here is None:
            world[:, joint] = world[:, parent]
            continue
        turned = orientation[:, turns_with.get(name, here)]
        if tip in source:
            end = source[tip]
            ours, theirs = rest[JOINT_NAMES.index(tip)] - rest[joint], at_rest[end] - at_rest[here]
            constant[joint] = _smallest_turn(heading @ ours, theirs) @ heading
            turned = _smallest_turn(turned @ theirs, position[:, end] - position[:, here]) @ turned
        elif name.endswith("wrist"):
            constant[joint] = constant[parent]
        world[:, joint] = turned @ constant[joint]
    return world


def _heading(left: np.ndarray) -> np.ndarray:
    """(3, 3): the turn about y that lays +x onto the horizontal part of `left`, (3,)."""
    return rotvec_to_rotmat(np.array([0, np.arctan2(-left[2], left[0]), 0]))


def _smallest_turn(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(..., 3, 3): the smallest rotation that lays one direction onto another, both (..., 3). Lengths do not matter; 0 turns nothing."""
    start, end = (v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12) for v in (start, end))
    axis = np.cross(start, end)
    sine = np.linalg.norm(axis, axis=-1, keepdims=True)
    angle = np.arctan2(sine, (start * end).sum(-1, keepdims=True))
    # Opposite directions have no smallest turn: any axis across them serves.
    across = np.cross(start, np.eye(3)[np.abs(start).argmin(axis=-1)])
    axis = np.where((sine < 1e-9) & (angle > 1), across, axis)
    return rotvec_to_rotmat(axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-12) * angle)
