"""Looks in the mirror: the real model is symmetric about them, and a network unfair to one side is put right."""

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from hmr_ros.keypoints.blazepose_landmarks import MIRRORED, UNWANTED, LandmarkModel, Landmarks
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.keypoints.flip_test import MAX_GAP_S, look_again, look_both_ways
from hmr_ros.keypoints.region import region_size

CLIP = Path(__file__).resolve().parents[1] / "hmr_ros" / "assets"
REGION = np.array([[200.0, 300.0], [0.0, -100.0]], np.float32)
PERIOD_NS = 33_000_000
SIDES = np.array([-1, 1])[np.arange(33) % 2][:, None]


class UnfairModel:
    """Sees a walking person, whatever the picture, and each landmark a little to one side that the mirror turns round."""

    def __init__(self, velocity_px=(0.0, 0.0), bias_px: float = 6.0):
        rng = np.random.default_rng(0)
        self.uv = (REGION[0] + rng.uniform(-80, 80, (33, 2))).astype(np.float32)
        self.world = rng.normal(0, 0.3, (33, 3)).astype(np.float32)
        self.velocity, self.bias = np.array(velocity_px, np.float32), bias_px * SIDES * np.array([1.0, 0.5])
        self.jump, self.calls = 0.0, []

    def __call__(self, time, region, mirrored=False):
        self.calls.append(mirrored)
        sign = -1 if mirrored else 1
        uv = self.true(time) + sign * self.bias + self.jump
        return Landmarks(uv, np.ones(33), self.world + 0.05 * sign * SIDES, 1.0, np.stack([uv.mean(0), REGION[1]]))

    def true(self, time):
        return self.uv + time * self.velocity


def follow(model, frames: int, period_ns: int = PERIOD_NS):
    looks = [look_both_ways(model, 0, REGION, 0)]
    for i in range(1, frames):
        looks.append(look_again(model, i, looks[-1], i * period_ns))
    return looks


def test_a_first_look_is_the_mean_of_both():
    model = UnfairModel()
    look = look_both_ways(model, 0, REGION, 0)
    np.testing.assert_allclose(look.uv, model.true(0), atol=1e-4)
    np.testing.assert_allclose(look.world, model.world, atol=1e-6)
    assert model.calls == [False, True]


@pytest.mark.parametrize("velocity_px", [(0, 0), (5, -2)])
def test_looks_take_turns_and_unfairness_goes_however_people_walk(velocity_px):
    """One look a frame, no lag in 2D, the mean of both in 3D."""
    model = UnfairModel(velocity_px)
    looks = follow(model, 30)
    assert model.calls[2:] == [i % 2 == 1 for i in range(1, 30)]
    for i, look in enumerate(looks[20:], 20):
        np.testing.assert_allclose(look.uv, model.true(i), atol=0.02)
        np.testing.assert_allclose(look.world, model.world, atol=1e-5)


def test_unfairness_that_changes_is_followed():
    model = UnfairModel()
    last = follow(model, 10)[-1]
    model.bias = 1.3 * model.bias
    for i in range(10, 40):
        last = look_again(model, i, last, i * PERIOD_NS)
    np.testing.assert_allclose(last.uv, model.true(0), atol=0.05)


def test_after_a_gap_or_a_jump_both_looks_are_taken():
    for change in ("gap", "backwards", "jump"):
        model = UnfairModel()
        last = follow(model, 6)[-1]
        model.calls.clear()
        stamp_ns = {"gap": int(last.stamp_ns + 2e9 * MAX_GAP_S), "backwards": 0, "jump": last.stamp_ns + PERIOD_NS}[
            change
        ]
        model.jump = 40.0 if change == "jump" else 0.0
        look = look_again(model, 0, last, stamp_ns)
        assert model.calls[-2:] == [False, True]
        np.testing.assert_allclose(look.uv, model.true(0) + model.jump, atol=1e-4)


def test_a_look_that_took_left_for_right_is_not_mixed_in():
    """Where the two looks see different people, or the same one the other way round, the plain look counts alone."""
    model = UnfairModel()

    def confused(time, region, mirrored=False):
        seen = model(time, region, mirrored)
        return replace(seen, uv=seen.uv[MIRRORED[:33]], world=seen.world[MIRRORED[:33]]) if mirrored else seen

    look = look_both_ways(confused, 0, REGION, 0)
    plain = model(0, REGION)
    np.testing.assert_allclose(look.uv, plain.uv)
    np.testing.assert_allclose(look.world, plain.world)


def test_the_real_model_sees_the_same_in_a_mirror_of_a_mirror():
    """A picture turned round and looked at in the mirror: exactly what the model makes of the picture, turned round."""
    try:
        _, landmarks = find_models()
    except KeypointModelError:
        pytest.skip("needs the BlazePose models: python -m hmr_ros.tools.fetch_keypoint_models")
    if sys.modules.get("ai_edge_litert") is None:
        pytest.importorskip("ai_edge_litert")
    from hmr_ros.keypoints.litert import LiteRtModel

    clip = next(CLIP.rglob("*.mp4"), None)
    assert clip, "the demo clip ships"
    image = cv2.VideoCapture(str(clip)).read()[1]
    model = LandmarkModel(LiteRtModel(landmarks, UNWANTED))
    height, width = image.shape[:2]
    region = np.array([[width * 0.5, height * 0.5], [8.0, -0.45 * height]], np.float32)
    turned = np.stack([[width - 1 - region[0, 0], region[0, 1]], [-region[1, 0], region[1, 1]]]).astype(np.float32)
    seen, back = model(image, region), model(np.ascontiguousarray(image[:, ::-1]), turned, mirrored=True)
    assert seen.score > 0.5
    mirror = MIRRORED[:33]
    np.testing.assert_allclose(back.uv[mirror] * (-1, 1) + (width - 1, 0), seen.uv, atol=1.0)
    np.testing.assert_allclose(back.world[mirror] * (-1, 1, 1), seen.world, atol=0.03)
    np.testing.assert_allclose(back.confidence[mirror], seen.confidence, atol=0.05)
    assert abs(region_size(back.next_region) / region_size(seen.next_region) - 1) < 0.02
