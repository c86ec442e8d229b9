"""REP-155's words mean the person: landmarks by name, axes by what they point to. Joints: test_human_urdf.py."""

import dataclasses

import numpy as np
import pytest
from test_frames import person as make_person

from hmr_ros.body_model import BodyModel
from hmr_ros.rep155 import LANDMARKS, ROTMAT_SMPL_REP, body_frame, body_id, landmarks, region
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
