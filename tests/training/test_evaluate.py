"""Evaluation measures what it says: perfect answers cost nothing, and figures come from the bundle that ships."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tyro", reason="needs tyro")

from hmr_ros.types import Frame, Keypoints  # noqa: E402
from training.evaluate import LIMBS, EvaluateConfig, Replay, limb_figures, main, read_pose2sim  # noqa: E402


@pytest.fixture
def shared(request):
    root = request.config.rootpath.parent / "shared" / "data"
    if not root.is_dir():
        pytest.skip("needs ../shared/data (motion capture and the calibrated clip)")
    return root


def test_perfect_limbs_have_no_error_and_similarity_is_forgiven_by_procrustes():
    truth = np.random.default_rng(0).normal(size=(7, len(LIMBS), 3))
    assert limb_figures(truth, truth, np.ones(7, bool))["mpjpe_mm"] == 0
    figures = limb_figures(1.3 * truth + 5, truth, np.ones(7, bool))
    assert figures["pa_mpjpe_mm"] < 1e-3 < figures["mpjpe_mm"]


def test_frames_without_a_person_or_truth_do_not_count():
    truth = np.random.default_rng(0).normal(size=(4, len(LIMBS), 3))
    points, found = truth.copy(), np.array([True, True, False, True])
    truth[0, 3] = np.nan
    assert limb_figures(points, truth, found)["frames"] == 2


def test_replay_hands_out_in_order():
    first, second = Keypoints.empty(), Keypoints.empty()
    replay = Replay([first, second])
    frame = Frame(np.zeros((1, 1, 3), np.uint8), None)
    assert replay.detect(frame) is first and replay.detect(frame) is second


def test_mocap_figures_have_the_promised_form(shared, tmp_path):
    file = tmp_path / "mocap.json"
    main(EvaluateConfig(data="mocap-val", root=shared, json=file, limit=128))
    steps = json.loads(file.read_text())["steps"]
    assert list(steps) == ["0", "1", "2", "5", "14"]
    for row in steps.values():
        assert 0 < row["pa_mpjpe_mm"] < row["mpjpe_mm"] < row["pve_mm"] * 1.2


def test_exact_keypoints_are_easier_than_detected_ones(shared):
    figures = {
        source: main(EvaluateConfig(root=shared, limit=256, keypoints=source))["steps"]["5"]["mpjpe_mm"]
        for source in ("exact", "detector-like")
    }
    assert figures["exact"] < figures["detector-like"]


def test_the_calibrated_clip_and_its_truth_belong_together(shared):
    frames, truth = read_pose2sim(shared / "pose2sim_cam1", limit=5)
    assert truth.shape == (5, 12, 3) and len(frames) == 5
    uv = frames[0].camera.project(truth[0])
    height, width = frames[0].image.shape[:2]
    assert ((uv > 0) & (uv < [width, height])).all()
    shoulder, ankle = LIMBS.index("left_shoulder"), LIMBS.index("left_ankle")
    assert uv[shoulder, 1] < uv[ankle, 1]
