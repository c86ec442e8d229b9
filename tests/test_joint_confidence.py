"""A joint's confidence: what the detector says, less where the body misses it, nothing where the camera cannot see."""

import numpy as np

from hmr_ros.camera import Camera
from hmr_ros.pipeline import RESIDUAL_SCALE, joint_confidence
from hmr_ros.skeleton import JOINT_NAMES, KEYPOINT_NAMES
from hmr_ros.types import Keypoints

CAMERA = Camera(np.array([[600.0, 0, 320], [0, 600.0, 240], [0, 0, 1]]), 640, 480)
WRIST, ELBOW = JOINT_NAMES.index("left_wrist"), JOINT_NAMES.index("left_elbow")
UV = np.random.default_rng(0).uniform([200, 100], [400, 400], (2, 23, 2)).astype(np.float32)
JOINTS = np.full((2, 24, 2), 300.0)


def seen(confidence=0.8) -> Keypoints:
    return Keypoints(UV.copy(), np.full((2, 23), confidence, np.float32), np.ones(2, np.float32))


def test_the_detectors_confidence_where_the_body_fits():
    np.testing.assert_allclose(joint_confidence(seen(), UV, JOINTS, CAMERA), 0.8, rtol=1e-6)


def test_a_keypoint_missed_costs_the_joints_it_speaks_for_and_no_others():
    body = UV.copy()
    body[0, KEYPOINT_NAMES.index("left_wrist"), 0] += RESIDUAL_SCALE * np.ptp(UV[0], axis=0).max()
    confidence = joint_confidence(seen(), body, JOINTS, CAMERA)
    np.testing.assert_allclose(confidence[0, [WRIST, ELBOW]], [0.8 * np.exp(-1), 0.8], rtol=1e-4)
    np.testing.assert_allclose(confidence[1], 0.8, rtol=1e-6)


def test_joints_outside_the_picture_have_none():
    joints = JOINTS.copy()
    joints[0, WRIST], joints[1, ELBOW] = (-3, 200), (300, 480)
    confidence = joint_confidence(seen(), UV, joints, CAMERA)
    assert confidence[0, WRIST] == 0 == confidence[1, ELBOW]
    assert (confidence > 0).sum() == 2 * 24 - 2


def test_what_was_not_seen_may_hold_anything():
    some = seen()
    some.confidence[0, KEYPOINT_NAMES.index("left_wrist")] = 0
    some.uv[0, KEYPOINT_NAMES.index("left_wrist")] = np.nan
    with np.errstate(all="raise"):
        confidence = joint_confidence(some, UV, JOINTS, CAMERA)
    assert np.isfinite(confidence).all() and confidence[0, WRIST] == 0
