"""The whole way through the house on real frames: the demo clip, whose truth is known."""

import dataclasses
import time

import numpy as np
import pytest

from hmr_ros import skeleton
from hmr_ros.camera import Camera
from hmr_ros.config import ConfigError, PipelineConfig, TtoConfig, replace
from hmr_ros.factory import build_pipeline
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.media import open_media
from hmr_ros.metrics import reprojection_error
from hmr_ros.smoothing import Smoother
from hmr_ros.tto import Optimiser
from hmr_ros.types import Frame, Person

CLIP = "hmr_ros/assets/demo/walk.mp4"
COUNT = 12

try:
    find_models("")
except KeypointModelError as missing:
    pytest.skip(f"no keypoint models: {missing}", allow_module_level=True)


@pytest.fixture(scope="module")
def long_clip(request):
    path = request.config.rootpath / CLIP
    truth = np.load(path.with_suffix(".npz"))
    media = open_media(path)
    camera = Camera(truth["K"], media.width, media.height)
    images = (frame for _, frame in zip(range(8 * COUNT), media))
    return [Frame(image, camera, stamp_ns, "camera") for image, stamp_ns in images]


@pytest.fixture(scope="module")
def frames(long_clip):
    return long_clip[:COUNT]


@pytest.fixture(scope="module")
def pipeline():
    return build_pipeline(PipelineConfig())


def test_one_person_with_one_id_stands_upright_where_the_image_shows_them(pipeline, frames):
    pipeline.reset()
    head, foot = skeleton.JOINT_NAMES.index("head"), skeleton.JOINT_NAMES.index("left_foot")
    for frame in frames:
        (person,) = pipeline(frame).people
        assert person.id == 1 or person.id == 0
        assert person.joints[head, 1] < person.joints[foot, 1] - 1.0, "y points down: the head is above the feet"
        assert 1 < person.transl[2] < 12
        seen = person.keypoint_confidence > 0
        error = np.linalg.norm(person.reprojection_px - person.keypoints_uv, axis=-1)[seen]
        height = np.ptp(person.keypoints_uv[seen, 1])
        assert np.median(error) < 0.08 * height


def test_what_optimisation_gained_is_told_without_what_smoothing_moved(pipeline, frames):
    def run(smoothing: bool) -> list[Person]:
        pipeline.reset()
        pipeline.update(replace(PipelineConfig(), {"smoothing.enabled": smoothing}))
        return [pipeline(frame).people[0] for frame in frames]

    try:
        smoothed, plain = run(True), run(False)
    finally:
        pipeline.update(PipelineConfig())
    for one, other in zip(smoothed, plain):
        np.testing.assert_array_equal(one.reprojection_px_after, other.reprojection_px_after)
        np.testing.assert_array_equal(other.reprojection_px_after, other.reprojection_px)
    assert any((p.reprojection_px != p.reprojection_px_after).any() for p in smoothed)

    def error(uv: str) -> float:
        return np.mean([reprojection_error(getattr(p, uv), p.keypoints_uv, p.keypoint_confidence) for p in smoothed])

    assert error("reprojection_px_after") < error("reprojection_px_before")


def test_joints_and_orientations_are_those_of_the_parameters(pipeline, frames):
    pipeline.reset()
    (person,) = pipeline(frames[0]).people
    joints, joint_rotmat = pipeline.body.joints(person.rotmat[None], person.betas[None], person.transl[None])
    np.testing.assert_allclose(person.joints, joints[0], atol=1e-5)
    np.testing.assert_allclose(person.joint_rotmat, joint_rotmat[0], atol=1e-5)
    assert person.joint_confidence.shape == (24,) and (person.joint_confidence >= 0).all()
    assert (person.joint_confidence <= 1).all()


def test_same_frames_same_answer_after_reset(pipeline, frames):
    def run():
        pipeline.reset()
        return [person.rotmat for frame in frames[:4] for person in pipeline(frame).people]

    for a, b in zip(run(), run()):
        np.testing.assert_array_equal(a, b)


def test_more_steps_explain_the_keypoints_better(frames):
    losses = {}
    for steps in (0, 2, 8):
        config = PipelineConfig(tto=TtoConfig(max_steps=steps, tolerance=0.0))
        pipeline = build_pipeline(config)
        losses[steps] = np.mean([pipeline(frame).fit.loss_after.mean() for frame in frames[:6]])
    assert losses[8] < losses[2] < losses[0]


def test_nobody_is_an_answer(pipeline, frames):
    empty = dataclasses.replace(frames[0], image=np.zeros_like(frames[0].image))
    pipeline.reset()
    result = pipeline(empty)
    assert result.people == () and result.fit is None
    assert {"detect", "track"} <= set(result.stages_ms)


def test_a_past_deadline_still_gives_an_answer(pipeline, frames):
    pipeline.reset()
    result = pipeline(frames[0], deadline_s=0.0)
    assert result.fit.stop == "deadline" and result.fit.steps == 0 and len(result.people) == 1


def test_settings_change_while_running(pipeline, frames):
    pipeline.reset()
    pipeline.update(replace(PipelineConfig(), {"tto.max_steps": 1}))
    assert pipeline(frames[0]).fit.steps <= 1
    pipeline.update(PipelineConfig())


def test_a_body_or_bundle_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="no-such-bundle"):
        build_pipeline(replace(PipelineConfig(), {"model.bundle": "no-such-bundle"}))
    with pytest.raises(ConfigError, match="model.backend"):
        replace(PipelineConfig(), {"model.backend": "abacus"})


def test_what_comes_after_optimisation_is_kept_back_of_its_deadline(frames, monkeypatch):
    pipeline, told = build_pipeline(PipelineConfig()), []
    optimise, smooth = Optimiser.__call__, Smoother.__call__

    def spy(self, regression, config, deadline_s, *rest):
        told.append(deadline_s)
        return optimise(self, regression, config, deadline_s, *rest)

    def slowly(self, *arguments):
        time.sleep(0.05)
        return smooth(self, *arguments)

    monkeypatch.setattr(Optimiser, "__call__", spy)
    monkeypatch.setattr(Smoother, "__call__", slowly)
    for frame in frames[:2]:
        pipeline(frame, 1e9)
    assert told[0] == 1e9 and told[1] <= 1e9 - 0.05


def test_without_steps_the_answer_is_the_regressors_with_a_warm_start_too(pipeline, frames):
    def run(decay: float) -> list[np.ndarray]:
        pipeline.reset()
        changes = {"tto.max_steps": 0, "smoothing.enabled": False, "warm_start.decay": decay}
        pipeline.update(replace(PipelineConfig(), changes))
        return [person.rotmat for frame in frames[:4] for person in pipeline(frame).people]

    for cold, warm in zip(run(0.0), run(0.8)):
        np.testing.assert_array_equal(cold, warm)
    pipeline.update(PipelineConfig())


def test_a_warm_start_gets_farther_in_as_many_steps(pipeline, long_clip):
    def loss(decay: float) -> float:
        pipeline.reset()
        pipeline.update(replace(PipelineConfig(), {"warm_start.decay": decay, "tto.max_steps": 2}))
        return float(sum(pipeline(frame).fit.loss_after.sum() for frame in long_clip))

    cold = loss(0.0)
    assert loss(PipelineConfig().warm_start.decay) < cold
    pipeline.update(PipelineConfig())
