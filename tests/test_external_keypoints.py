"""The pipeline on keypoints that somebody else has found: exactly known people before exactly known cameras."""

import dataclasses

import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.config import PipelineConfig, replace
from hmr_ros.factory import build_pipeline
from hmr_ros.skeleton import JOINT_NAMES
from hmr_ros.types import Frame, Keypoints

CAMERA = Camera.guess(640, 480)
FISHEYE = Camera(np.array([[330.0, 0, 639.5], [0, 330, 479.5], [0, 0, 1]]), 1280, 960, np.array([0.03, -0.01, 0.002, -0.0006]), "equidistant")  # fmt: skip
STEP_NS = 33_000_000
UPRIGHT = np.tile(np.eye(3, dtype=np.float32), (1, 24, 1, 1))
UPRIGHT[0, 0] = np.diag([1, -1, -1])


@pytest.fixture(scope="module")
def pipeline():
    return build_pipeline(replace(PipelineConfig(), {"keypoints.source": "topic"}))


def standing(pipeline, *where) -> np.ndarray:
    """Keypoints (N, 23, 3) of upright people, metres."""
    count = len(where)
    return pipeline.body.keypoints(
        UPRIGHT.repeat(count, axis=0), np.zeros((count, 10), np.float32), np.array(where, np.float32)
    )


def frame(camera: Camera, uv: np.ndarray, stamp_ns: int = 0, depth=None) -> Frame:
    seen = Keypoints(uv.astype(np.float32), np.ones(uv.shape[:2], np.float32), np.ones(len(uv), np.float32))
    return Frame(np.zeros((camera.height, camera.width, 3), np.uint8), camera, stamp_ns, keypoints=seen, depth=depth)


def fisheye_uv(xyz: np.ndarray) -> np.ndarray:
    """Where FISHEYE really shows points, those beside it and behind it too."""
    radius = np.linalg.norm(xyz[..., :2], axis=-1)
    theta = np.arctan2(radius, xyz[..., 2])
    bent = theta * (1 + sum(d * theta ** (2 * k + 2) for k, d in enumerate(FISHEYE.D)))
    return xyz[..., :2] * (bent / radius)[..., None] * FISHEYE.focal + FISHEYE.K[:2, 2]


def test_somebody_who_walks_past_a_fisheye_is_reported_near_or_not_at_all(pipeline):
    pipeline.reset()
    reported = []
    for i, z in enumerate(np.arange(1.2, -0.5, -0.1)):
        people = pipeline(frame(FISHEYE, fisheye_uv(standing(pipeline, (1.2, 0.2, z))), 3 * i * STEP_NS)).people
        reported.append(bool(people))
        for person in people:
            assert np.linalg.norm(person.joints[0]) < 3, "1.2 to 1.7 m away"
    assert reported[0] and not reported[-1] and sorted(reported, reverse=True) == reported


def test_a_keypoint_without_a_ray_is_as_one_unseen(pipeline):
    pipeline.reset()
    uv = FISHEYE.project(standing(pipeline, (0.3, 0.2, 1.8)))
    uv[0, 9] = 1270, 950
    unseen = frame(FISHEYE, uv)
    unseen.keypoints.confidence[0, 9] = 0
    (one,) = pipeline(frame(FISHEYE, uv)).people
    pipeline.reset()
    (other,) = pipeline(unseen).people
    np.testing.assert_array_equal(one.joints, other.joints)
    assert one.keypoint_confidence[9] == 0


@pytest.mark.parametrize("size", [1.0, 0.7])
def test_a_measured_distance_costs_people_of_another_size_no_confidence(pipeline, size):
    """Somebody of this part of the size that was guessed is as much nearer, and looks the same."""
    pipeline.reset()
    shown = frame(CAMERA, CAMERA.project(standing(pipeline, (0, 0.1, 4))))
    (guessed,) = pipeline(shown).people
    pipeline.reset()
    depth = np.full((480, 640), 4 * size - 0.1, np.float32)
    (measured,) = pipeline(dataclasses.replace(shown, depth=depth)).people
    assert measured.distance_measured and measured.joints[0, 2] == pytest.approx(4 * size, abs=0.2)
    np.testing.assert_allclose(measured.joint_confidence, guessed.joint_confidence, atol=0.02)
    assert measured.joint_confidence[JOINT_NAMES.index("left_wrist")] > 0.9


def test_steps_are_a_persons_own(pipeline):
    """Nobody's number grows because somebody beside them needs longer."""
    rng = np.random.default_rng(0)
    shown = CAMERA.project(standing(pipeline, (-0.8, 0.1, 4), (0.8, 0.1, 4)))
    shown[1] += rng.normal(0, 12, shown[1].shape)
    alone = []
    for one in shown:
        pipeline.reset()
        alone.append(pipeline(frame(CAMERA, one[None])).people[0].steps)
    pipeline.reset()
    result = pipeline(frame(CAMERA, shown))
    found = {person.keypoints_uv[0, 0] > 320: person.steps for person in result.people}
    assert alone[0] != alone[1] and [found[False], found[True]] == alone
    assert result.fit.steps == max(alone)


def test_an_image_out_of_order_is_taken_as_of_the_same_time(pipeline):
    pipeline.reset()
    for i in range(4):
        shown = CAMERA.project(standing(pipeline, (-0.6 + 0.02 * i, 0.1, 4), (0.7, 0.1, 4)))
        before = pipeline(frame(CAMERA, shown, i * STEP_NS)).people
    after = pipeline(frame(CAMERA, shown, 3 * STEP_NS - 1_000_000)).people
    assert [person.id for person in after] == [0, 1]
    for a, b in zip(before, after):
        np.testing.assert_allclose(a.joints, b.joints, atol=1e-4)
        np.testing.assert_allclose(a.linear_velocity, b.linear_velocity, atol=1e-4)
