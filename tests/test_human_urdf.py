"""The URDF of a person is the person: bones as long as theirs, and at the published angles limbs where SMPL has them.

ikpy reads the URDF and does its forward kinematics, so that neither is ours. Poses are random within what people do.

How near is near? Hips, knees and the directions of the arms are exact but for float32 and the six digits of the file. Ankles are
not: SMPL's knees also bend and slant sideways, a hinge does not. Shoulders are not: SMPL's back has three ball joints and moving
collars, REP-155's has one hinge at the hips; elbows and wrists inherit their shoulder's error and add none.
"""

import io
from xml.etree import ElementTree

import numpy as np
import pytest
from test_frames import person as make_person

from hmr_ros.body_model import BodyModel
from hmr_ros.human_urdf import joint_angles, model, urdf
from hmr_ros.rep155 import body_frame
from hmr_ros.rotation import quat_to_rotmat, rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES
from hmr_ros.smpl_file import load_body
from hmr_ros.types import Person

ID = "p7"
EXACT_M = 0.003
SPINE = ["body", "waist", "waist", "torso", "torso"]
CHAINS = {
    **{f"{side}_arm": [*SPINE, f"{side[0]}_y_shoulder"] for side in ("left", "right")},
    **{f"{side}_leg": ["body", f"{side[0]}_y_hip"] for side in ("left", "right")},
}
"""Links and joints, in turn, to where each limb begins; ikpy follows it to its end."""
ENDS = {
    "arm": {"r_shoulder": "shoulder", "elbow": "elbow", "wrist": "wrist"},
    "leg": {"r_hip": "hip", "knee": "knee", "ankle": "ankle"},
}
"""Joint of the URDF, without its side: SMPL's joint in the same place."""


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("open")


def posed(body: BodyModel, rotvec: dict[str, tuple] | None = None, orient=(0, 0, 0), betas=None) -> Person:
    pose = np.zeros((24, 3))
    pose[0] = orient
    for name, value in (rotvec or {}).items():
        pose[JOINT_NAMES.index(name)] = value
    return make_person(body, rotvec_to_rotmat(pose), np.zeros(10) if betas is None else betas, [0.3, 0.2, 3.0])


def somebody(body: BodyModel, seed: int, spread: dict[str, float] | None = None) -> Person:
    """Random: arms anywhere, legs bent forwards, the back as given."""
    rng = np.random.default_rng(seed)
    sides = ("left", "right")
    pose = {f"{s}_{j}": 0.8 * rng.normal(size=3) for s in sides for j in ("shoulder", "elbow")}
    pose |= {f"{s}_hip": 0.4 * rng.normal(size=3) + [-0.4, 0, 0] for s in sides}
    pose |= {f"{s}_knee": [rng.uniform(0, 2), 0.1 * rng.normal(), 0.1 * rng.normal()] for s in sides}
    pose |= {name: size * rng.normal(size=3) for name, size in (spread or {}).items()}
    return posed(body, pose, rng.normal(size=3), rng.normal(size=10))


def at(who: Person, joint: str) -> np.ndarray:
    return who.joints[JOINT_NAMES.index(joint)].astype(float)


def unit(v) -> np.ndarray:
    return np.asarray(v) / np.linalg.norm(v)


def errors_m(who: Person) -> dict[str, np.ndarray]:
    """SMPL's joint: where the URDF has it, less where SMPL has it; in the body's frame."""
    chain = pytest.importorskip("ikpy.chain", reason="ikpy is not installed: pip install '.[test]'")
    text, angles, (rotmat, origin) = urdf(model(who), ID), joint_angles(who), body_frame(who)
    found = {}
    for limb, start in CHAINS.items():
        side, kind = limb.split("_")
        parts = chain.Chain.from_urdf_file(io.StringIO(text), base_elements=[f"{name}_{ID}" for name in start])
        names = [link.name.removesuffix(f"_{ID}") for link in parts.links]
        poses = parts.forward_kinematics([angles.get(name, 0.0) for name in names], full_kinematics=True)
        places = dict(zip(names, poses))
        for ours, theirs in ENDS[kind].items():
            there = rotmat.T @ (at(who, f"{side}_{theirs}") - origin)
            found[f"{side}_{theirs}"] = places[f"{side[0]}_{ours}"][:3, 3] - there
    return found


@pytest.mark.filterwarnings("ignore")  # ikpy's, of fixed links that it cannot move
@pytest.mark.parametrize("seed", range(8))
def test_limbs_are_where_smpl_has_them(body, seed):
    back = {"spine1": 0.15, "spine2": 0.15, "spine3": 0.15, "left_collar": 0.1, "right_collar": 0.1}
    off = errors_m(somebody(body, seed, back))
    for side in ("left", "right"):
        for joint in ("hip", "knee"):
            assert np.linalg.norm(off[f"{side}_{joint}"]) < EXACT_M
        assert np.linalg.norm(off[f"{side}_ankle"]) < 0.1
        assert np.linalg.norm(off[f"{side}_shoulder"]) < 0.2
        for joint in ("elbow", "wrist"):
            np.testing.assert_allclose(off[f"{side}_{joint}"], off[f"{side}_shoulder"], atol=EXACT_M)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(3))
def test_with_a_straight_back_arms_are_exact_too(body, seed):
    for joint, error in errors_m(somebody(body, seed)).items():
        assert np.linalg.norm(error) < (0.1 if "ankle" in joint else EXACT_M), joint


def test_links_are_as_long_as_the_persons_bones(body):
    who = somebody(body, 3, {"spine2": 0.4})
    length_m = {joint.name: np.linalg.norm(joint.origin) for joint in model(who)}
    for side in ("left", "right"):
        for joint, (upper, lower) in {
            "elbow": ("shoulder", "elbow"), "wrist": ("elbow", "wrist"), "knee": ("hip", "knee"), "ankle": ("knee", "ankle")
        }.items():  # fmt: skip
            bone = np.linalg.norm(at(who, f"{side}_{upper}") - at(who, f"{side}_{lower}"))
            assert length_m[f"{side[0]}_{joint}"] == pytest.approx(bone, abs=1e-5)


def test_bones_do_not_depend_on_the_pose(body):
    betas = np.random.default_rng(1).normal(size=10)
    still = model(posed(body, betas=betas))
    moved = model(posed(body, {"spine1": (0.4, 0.3, 0.1), "left_knee": (1, 0, 0)}, (1, 2, 3), betas))
    for a, b in zip(still, moved):
        np.testing.assert_allclose(a.origin, b.origin, atol=1e-5, err_msg=a.name)


def test_the_file_says_what_is_published(body):
    """Names, order, axes and limits; one tree from body_<id>, as REP-155 draws it."""
    who = somebody(body, 5)
    robot = ElementTree.fromstring(urdf(model(who), ID))
    joints = {joint.get("name"): joint for joint in robot.iter("joint")}
    moving = [name for name, joint in joints.items() if joint.get("type") == "revolute"]
    assert moving == [f"{name}_{ID}" for name in joint_angles(who)] and len(moving) == 20
    links = {link.get("name") for link in robot.iter("link")}
    children = [joint.find("child").get("link") for joint in joints.values()]
    assert len(links) == 27 and {*children, f"body_{ID}"} == links and len(set(children)) == len(children)
    assert {joint.find("parent").get("link") for joint in joints.values()} <= links
    axis = {name: joint.find("axis").get("xyz") for name, joint in joints.items() if name in moving}
    for side, sign in (("l", 1), ("r", -1)):
        across, up = np.array([sign, 0, 0]), np.array([0, 0, sign])
        for name, expected in (("y_shoulder", -up), ("p_shoulder", across), ("r_shoulder", up), ("p_hip", across)):
            np.testing.assert_array_equal(np.fromstring(axis[f"{side}_{name}_{ID}"], sep=" "), expected)


@pytest.mark.parametrize("seed", range(30))
def test_angles_are_within_the_limits(body, seed):
    rng = np.random.default_rng(seed)
    who = make_person(body, rotvec_to_rotmat(2 * rng.normal(size=(24, 3))), rng.normal(size=10), [0, 0, 3])
    angles = joint_angles(who)
    for joint in model(who):
        if joint.axis is not None:
            low, high = joint.limits
            assert low - 1e-6 <= angles[joint.name] <= high + 1e-6, joint.name


def test_sitting(body):
    """Thighs forward, shins down again; the hinge of the knee bends backwards."""
    bend = {f"{s}_{j}": v for s in ("left", "right") for j, v in (("hip", (-1.4, 0, 0)), ("knee", (1.5, 0, 0)))}
    q = joint_angles(posed(body, bend, (np.pi, 0, 0)))
    for side in ("l", "r"):
        assert q[f"{side}_knee"] == pytest.approx(-1.5, abs=0.15) and q[f"{side}_r_hip"] > 1.2
        assert abs(q[f"{side}_y_hip"]) < 0.3 and abs(q[f"{side}_p_hip"]) < 0.3


def test_a_knee_bent_the_wrong_way_says_so(body):
    assert joint_angles(posed(body, {"left_knee": (-0.4, 0, 0)}))["l_knee"] > 0.2


def test_head_turns_are_named_rightly(body):
    """To the person's left is positive yaw; nodding, chin to the chest, is negative pitch about -y."""
    left = joint_angles(posed(body, {"head": (0, 0.5, 0)}))
    nod = joint_angles(posed(body, {"head": (0.4, 0, 0)}))
    assert left["y_head"] == pytest.approx(0.5, abs=1e-3) and left["p_head"] == pytest.approx(0, abs=1e-3)
    assert nod["p_head"] == pytest.approx(-0.4, abs=1e-3) and nod["r_head"] == pytest.approx(0, abs=1e-3)


def test_bowing_is_the_waists(body):
    """As far as it moves the shoulders; the head keeps its direction in space whatever the waist takes."""
    straight, bow = posed(body), posed(body, {"spine1": (0.3, 0, 0)})
    assert joint_angles(straight)["waist"] == pytest.approx(0, abs=1e-3)
    q = joint_angles(bow)
    assert 0.1 < q["waist"] < 0.3 and q["waist"] - q["p_head"] == pytest.approx(0.3, abs=1e-3)


def test_angles_are_of_the_person_not_of_the_frame(body):
    pose = {"left_shoulder": (0, 0, -1.0), "right_knee": (0.6, 0, 0), "head": (0.1, 0.2, 0.3)}
    here, there = joint_angles(posed(body, pose)), joint_angles(posed(body, pose, (1.0, -2.0, 0.5)))
    assert here == pytest.approx(there, abs=1e-2), "float32 joints leave the twist of a straight arm this uncertain"


def test_a_joint_turns_its_link_about_its_axis(body):
    for joint in model(posed(body)):
        turn = rotvec_to_rotmat(np.array(joint.axis or (0, 0, 0), float) * 0.7)
        np.testing.assert_allclose(quat_to_rotmat(np.array(joint.quat(0.7 if joint.axis else 0.0))), turn, atol=1e-9)
