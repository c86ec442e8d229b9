"""REP-155's words mean the person: landmarks by name, axes by what they point to, angles by where they bring the limbs.

The forward kinematics here follows the axes of the URDF in the human_description package.
"""

import dataclasses

import numpy as np
import pytest
from test_frames import person as make_person

from hmr_ros.body_model import BodyModel
from hmr_ros.rep155 import LANDMARKS, ROTMAT_SMPL_REP, body_frame, body_id, joint_angles, landmarks, region
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmr_ros.smpl_file import load_body
from hmr_ros.types import Person


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("open")


def posed(body: BodyModel, rotvec: dict[str, tuple] | None = None, orient=(0, 0, 0)) -> Person:
    pose = np.zeros((24, 3))
    pose[0] = orient
    for name, value in (rotvec or {}).items():
        pose[JOINT_NAMES.index(name)] = value
    return make_person(body, rotvec_to_rotmat(pose), np.zeros(10), [0.3, 0.2, 3.0])


def at(who: Person, joint: str) -> np.ndarray:
    return who.joints[JOINT_NAMES.index(joint)].astype(float)


def unit(v) -> np.ndarray:
    return np.asarray(v) / np.linalg.norm(v)


def turn(axis, angle: float) -> np.ndarray:
    return rotvec_to_rotmat(np.asarray(axis, float) * angle)


def urdf_limbs(who: Person) -> dict[str, np.ndarray]:
    """Directions of the limbs in the person's frame, as the URDF would have them at these angles."""
    q = joint_angles(who)
    pelvis, _ = body_frame(who)
    torso, down, found = pelvis @ turn([0, 1, 0], q["waist"]), np.array([0, 0, -1.0]), {}
    for side, name, s in (("l", "left", 1), ("r", "right", -1)):
        arm = torso @ turn([0, 0, -s], q[f"{side}_y_shoulder"]) @ turn([s, 0, 0], q[f"{side}_p_shoulder"])
        arm = arm @ turn([0, 0, s], q[f"{side}_r_shoulder"])
        leg = pelvis @ turn([0, 0, -1], q[f"{side}_y_hip"]) @ turn([s, 0, 0], q[f"{side}_p_hip"])
        leg = leg @ turn([0, -1, 0], q[f"{side}_r_hip"])
        found[f"{name}_upper_arm"] = arm @ down
        found[f"{name}_forearm"] = arm @ turn([0, -1, 0], q[f"{side}_elbow"]) @ down
        found[f"{name}_thigh"] = leg @ down
        found[f"{name}_shin"] = leg @ turn([0, -1, 0], q[f"{side}_knee"]) @ down
    return found


def test_body_axes_are_forward_left_up(body):
    """Somebody who faces the camera: in its optical frame forward is -z, their left is +x, up is -y."""
    who = posed(body, orient=(np.pi, 0, 0))
    rotmat, origin = body_frame(who)
    np.testing.assert_allclose(rotmat, np.stack([[0, 0, -1], [1, 0, 0], [0, -1, 0]], axis=1), atol=1e-6)
    left = at(who, "left_hip") - at(who, "right_hip")
    assert unit(left) @ rotmat[:, 1] > 0.99
    assert unit(at(who, "head") - origin) @ rotmat[:, 2] > 0.9
    np.testing.assert_allclose(origin, (at(who, "left_hip") + at(who, "right_hip")) / 2, atol=1e-6)
    assert np.linalg.det(ROTMAT_SMPL_REP) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(5))
def test_arms_point_where_the_persons_arms_point(body, seed):
    rng = np.random.default_rng(seed)
    joints = ("spine1", "spine3", *(f"{s}_{j}" for s in ("left", "right") for j in ("shoulder", "elbow")))
    who = posed(body, {name: 0.7 * rng.normal(size=3) for name in joints}, rng.normal(size=3))
    found = urdf_limbs(who)
    for side in ("left", "right"):
        upper, fore = (
            (at(who, f"{side}_elbow") - at(who, f"{side}_shoulder")),
            (at(who, f"{side}_wrist") - at(who, f"{side}_elbow")),
        )
        np.testing.assert_allclose(found[f"{side}_upper_arm"], unit(upper), atol=1e-4)
        np.testing.assert_allclose(found[f"{side}_forearm"], unit(fore), atol=1e-4)


def test_legs_of_someone_sitting(body):
    """Thighs forward, shins down again: to within the rest pose's own slant of the legs."""
    bend = {
        f"{side}_{joint}": value
        for side in ("left", "right")
        for joint, value in (("hip", (-1.4, 0, 0)), ("knee", (1.5, 0, 0)))
    }
    who = posed(body, bend, (np.pi, 0, 0))
    q, found = joint_angles(who), urdf_limbs(who)
    for side in ("left", "right"):
        assert q[f"{side[0]}_knee"] == pytest.approx(-1.5, abs=0.15) and q[f"{side[0]}_r_hip"] > 1.2
        assert found[f"{side}_thigh"] @ unit(at(who, f"{side}_knee") - at(who, f"{side}_hip")) > 0.95
        assert found[f"{side}_shin"] @ unit(at(who, f"{side}_ankle") - at(who, f"{side}_knee")) > 0.95


def test_head_turns_are_named_rightly(body):
    """To the person's left is positive yaw; nodding, chin to the chest, is negative pitch about -y."""
    left = joint_angles(posed(body, {"head": (0, 0.5, 0)}))
    nod = joint_angles(posed(body, {"head": (0.4, 0, 0)}))
    assert left["y_head"] == pytest.approx(0.5, abs=1e-3) and left["p_head"] == pytest.approx(0, abs=1e-3)
    assert nod["p_head"] == pytest.approx(-0.4, abs=1e-3) and nod["r_head"] == pytest.approx(0, abs=1e-3)
    assert joint_angles(posed(body, {"spine1": (0.3, 0, 0)}))["waist"] == pytest.approx(0.3, abs=1e-3)


def test_angles_are_of_the_person_not_of_the_frame(body):
    pose = {"left_shoulder": (0, 0, -1.0), "right_knee": (0.6, 0, 0), "head": (0.1, 0.2, 0.3)}
    here, there = joint_angles(posed(body, pose)), joint_angles(posed(body, pose, (1.0, -2.0, 0.5)))
    assert here == pytest.approx(there, abs=1e-2), "float32 joints leave the twist of a straight arm this uncertain"


def test_landmarks_go_by_name(body):
    width, height = 640, 480
    uv = np.stack([np.arange(23) * 20.0, np.arange(23) * 10.0], axis=1)
    confidence = np.ones(23)
    confidence[KEYPOINT_NAMES.index("left_knee")] = 0
    who = dataclasses.replace(posed(body), keypoints_uv=uv, keypoint_confidence=confidence)
    found = dict(zip(LANDMARKS, landmarks(who, width, height)))
    assert len(found) == 18 and found["left_knee"].tolist() == [0, 0, 0]
    for name in set(LANDMARKS) - {"neck", "left_knee"}:
        index = KEYPOINT_NAMES.index(name)
        np.testing.assert_allclose(found[name], [(index * 20 + 0.5) / 640, (index * 10 + 0.5) / 480, 1], atol=1e-6)
    shoulders = (found["left_shoulder"] + found["right_shoulder"]) / 2
    np.testing.assert_allclose(found["neck"], shoulders, atol=1e-6)
    assert LANDMARKS.index("left_eye") == 14 and LANDMARKS.index("right_eye") == 15


def test_regions_stay_in_the_image(body):
    uv = np.random.default_rng(0).uniform(-100, 700, (23, 2))
    box = region(dataclasses.replace(posed(body), reprojection_px=uv), 640, 480)
    assert (box >= 0).all() and (box <= 1).all() and box[0] < box[2] and box[1] < box[3]


def test_ids_are_valid_names():
    assert not body_id(7)[0].isdigit() and body_id(7).isalnum()
