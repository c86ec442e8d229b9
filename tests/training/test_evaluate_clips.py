"""Clips measure what they say: lag is lag, jitter is jitter, and the detector's errors persist but are as frequent as in training."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tyro", reason="needs tyro")

from hmr_ros.config import PipelineConfig, WarmStartConfig, replace  # noqa: E402
from hmr_ros.crop import keypoint_box  # noqa: E402
from hmr_ros.factory import build_pipeline  # noqa: E402
from hmr_ros.metrics import mpjpe  # noqa: E402
from hmr_ros.regressor import axis_to_ray, observe  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import NoiseConfig  # noqa: E402
from training.evaluate import EXACT, Replay  # noqa: E402
from training.evaluate_clips import (  # noqa: E402
    CAMERA,
    FPS,
    Answer,
    ClipsConfig,
    PersistentErrors,
    as_keypoints,
    evaluate,
    figures,
    make_clip,
    read_clips,
    run,
)

TIME_S = np.arange(300) / FPS
TRUTH = np.stack(
    [np.sin(2 * np.pi * (0.3 + 0.1 * j) * TIME_S[:, None] + [0, 1, 2]) * (j > 0) for j in range(24)], axis=1
)
"""(T, 24, 3): joints that swing, about a pelvis that rests."""


def late(seconds: float) -> np.ndarray:
    return np.stack(
        [np.sin(2 * np.pi * (0.3 + 0.1 * j) * (TIME_S - seconds)[:, None] + [0, 1, 2]) * (j > 0) for j in range(24)], 1
    )


def measure(joints: np.ndarray) -> dict:
    return figures([Answer(joints, np.ones(len(joints)))], [TRUTH])


@pytest.mark.parametrize("seconds", [-0.02, 0.0, 0.02])
def test_lag_is_by_how_much_the_motion_is_late(seconds):
    assert measure(late(seconds))["lag_ms"] == pytest.approx(1000 * seconds, rel=0.1, abs=0.1)


def test_movements_that_are_too_small_are_no_lag():
    assert abs(measure(0.7 * TRUTH)["lag_ms"]) < 3


def test_perfect_answers_have_no_error_and_trembling_is_jitter():
    perfect = measure(TRUTH)
    assert all(perfect[name] < 1e-3 for name in ("mpjpe_mm", "pa_mpjpe_mm", "root_mm", "acceleration_error_m_s2"))
    shaky = TRUTH + np.random.default_rng(0).normal(0, 0.01, TRUTH.shape)
    assert measure(shaky)["acceleration_error_m_s2"] > 10


def test_frames_without_an_answer_are_counted_and_nothing_else():
    joints = TRUTH.copy()
    joints[100:110] = np.nan
    assert measure(joints)["missed"] == 10 and measure(joints)["mpjpe_mm"] < 1e-3


def test_errors_persist_and_each_is_as_frequent_as_in_training():
    detector = PersistentErrors(BodyArrays.of(load_body("open")), NoiseConfig())
    uniform, normal = detector.draws(torch.Generator().manual_seed(0))
    numbers = normal(120, 3000)
    assert abs(float(numbers.mean())) < 0.05 and float(numbers.std()) == pytest.approx(1, abs=0.05)

    def correlation(lag: int) -> float:
        return float((numbers[lag:] * numbers[:-lag]).mean())

    # After 33 and 133 ms, with the constant part: between what the two clips gave.
    assert 0.8 < correlation(1) < 0.95 and 0.5 < correlation(4) < 0.8
    draws = uniform(120, 3000)
    assert float((draws < 0.1).float().mean()) == pytest.approx(0.1, abs=0.02)
    assert float(((draws[1:] < 0.1) & (draws[:-1] < 0.1)).float().mean()) > 0.05, "what is gone mostly stays gone"


def test_the_runtime_sees_what_the_detector_saw():
    rng = np.random.default_rng(0)
    xy = (rng.normal(0, 0.1, (4, 23, 2)) + [0.3, -0.2]).astype(np.float32)
    xyz, sure = rng.normal(0, 0.3, (4, 23, 3)).astype(np.float32), np.ones((4, 23), np.float32)
    for i, seen in enumerate(as_keypoints(xy, sure, xyz, sure)):
        observed = observe(seen, CAMERA)
        np.testing.assert_allclose(observed.keypoints_3d[0], xyz[i], atol=1e-5)
        center, size = keypoint_box(xy[i], sure[i])
        np.testing.assert_allclose(observed.keypoints[0], (xy[i] - center) / (size / 2), atol=1e-4)
        assert axis_to_ray(center).shape == (3, 3)


def test_figures_have_the_promised_form(request, tmp_path):
    clips = request.config.rootpath.parent / "shared" / "data" / "mocap" / "seqs30_val.npz"
    if not clips.is_file():
        pytest.skip("needs ../shared/data/mocap/seqs30_val.npz")
    short = tmp_path / "clips.npz"
    rotvec, trans = next(iter(read_clips(clips).values()))
    np.savez(short, a_poses=rotvec[:20], a_trans=trans[:20])
    result = evaluate(ClipsConfig(clips=short, views=1), {"cold": {"warm_start.decay": 0.0}, "defaults": {}})
    assert json.loads(json.dumps(result))["frames"] == 20
    for row in result["variants"].values():
        assert 0 < row["pa_mpjpe_mm"] < row["mpjpe_mm"] < 500 and row["missed"] == 0


def test_a_warm_start_leaves_a_wrong_pose_when_the_keypoints_are_right_again():
    """For a third of a second the arms are somebody else's. Afterwards the regressor explains the keypoints better: drift is reset."""
    frames, burst = 36, slice(15, 25)
    rotvec = np.zeros((frames, 24, 3), np.float32)
    rotvec[:, 16, 2], rotvec[:, 17, 2] = -1.2, 1.2
    rotvec[:, 16, 0] = 0.5 * np.sin(np.arange(frames) / 5)
    arrays = BodyArrays.of(load_body("open"))
    clip = make_clip(rotvec, np.zeros((frames, 3), np.float32), arrays, EXACT, seed=1)
    arms = [7, 8, 9, 10]
    for seen in clip.keypoints[burst]:
        seen.uv[:, arms] += np.array([150, -120], np.float32)
    replay, base = Replay(()), PipelineConfig()
    pipeline = build_pipeline(base, source=replay)
    error = {}
    for name, decay in (("cold", 0.0), ("warm", WarmStartConfig().decay)):
        pipeline.update(replace(base, {"warm_start.decay": decay, "smoothing.enabled": False}))
        joints = run(pipeline, replay, clip).joints
        error[name] = mpjpe(joints, clip.joints)
    assert error["cold"][burst].mean() > error["cold"][: burst.start].mean() + 10, "the burst does harm"
    assert error["warm"][burst.stop + 1 :].mean() < error["cold"][burst.stop + 1 :].mean() + 3
