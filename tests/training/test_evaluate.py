"""Evaluation measures what it says: perfect answers cost nothing, and figures come from the bundle that ships."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tyro", reason="needs tyro")

pytest.importorskip("matplotlib", reason="needs matplotlib")

from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.regressor import observe  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from hmr_ros.types import BodyPose, Frame, Keypoints  # noqa: E402
from training.evaluate import EvaluateConfig, Replay, body_errors, main, per_joint, points_of, worst_bodies  # noqa: E402
from training.evaluate_pose2sim import LIMBS, limb_figures, read_pose2sim  # noqa: E402
from training.evaluate_report import draw_plot, draw_worst, markdown  # noqa: E402


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
    result = json.loads(file.read_text())
    assert set(result["milliseconds"]) == set(steps) and len(result["per_joint"]) == 24
    for row in steps.values():
        assert 0 < row["pa_mpjpe_mm"] < row["mpjpe_mm"] < row["pve_mm"] * 1.2


def test_exact_keypoints_are_easier_than_detected_ones(shared):
    figures = {
        source: main(EvaluateConfig(root=shared, limit=128, keypoints=source))["steps"]["5"]["mpjpe_mm"]
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


@pytest.fixture(scope="module")
def people():
    """Bodies of our own making: two who stand, one who waves."""
    rotmat = np.tile(np.eye(3, dtype=np.float32), (3, 24, 1, 1))
    rotmat[2, 16] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    transl = np.array([[0, 0, 3], [0.2, 0, 4], [-0.3, 0.1, 5]], np.float32)
    return BodyPose(rotmat, np.zeros((3, 10), np.float32), transl)


def test_errors_of_the_truth_are_zero_and_translation_is_no_pose_error(people):
    body = load_body("open")
    true = points_of(body, people)
    assert all(np.all(e < 1e-3) for e in body_errors(true, true, pve_unaligned=True).values())
    moved = dataclasses.replace(people, transl=people.transl + np.float32(0.5))
    errors = body_errors(points_of(body, moved), true, pve_unaligned=True)
    for name in ("mpjpe", "pa_mpjpe", "pve", "pve_unaligned"):
        assert np.all(errors[name] < 0.01), name
    np.testing.assert_allclose(errors["root_translation"], 500 * np.sqrt(3), rtol=1e-4)


def test_unaligned_vertex_errors_count_where_another_shape_has_its_pelvis(people):
    """The published evaluation's: bodies at the model's own origin, from which shapes move the pelvis."""
    body = load_body("open")
    other = dataclasses.replace(people, betas=people.betas + np.float32(1.5))
    found, true = points_of(body, other), points_of(body, people)
    errors = body_errors(found, true, pve_unaligned=True)
    assert not np.allclose(errors["pve"], errors["pve_unaligned"], rtol=0.01)
    assert "pve_unaligned" not in body_errors(found, true, pve_unaligned=False)


def test_joint_errors_average_to_mpjpe(people):
    bent = dataclasses.replace(people, rotmat=people.rotmat[[2, 2, 0]])
    body = load_body("open")
    errors = body_errors(points_of(body, bent), points_of(body, people), pve_unaligned=False)
    np.testing.assert_allclose(errors["joints"].mean(1), errors["mpjpe"], rtol=1e-4)
    assert per_joint(("a", "b"), {"0": np.array([1.0, 2.0])}) == {"a": {"0": 1.0}, "b": {"0": 2.0}}


def test_worst_come_first_and_are_drawn(people, tmp_path):
    body = load_body("open")
    xyz = body.keypoints(people.rotmat, people.betas, people.transl)
    keypoints = Keypoints(xyz[..., :2] / xyz[..., 2:], np.ones((3, 23), np.float32), np.ones(3, np.float32))
    seen = observe(keypoints, Camera(np.eye(3), 1, 1))
    cases = worst_bodies(body, seen, people, people, np.array([10.0, 300.0, 20.0]))
    assert [case.title for case in cases] == ["person 1", "person 2", "person 0"]
    for case in cases:  # fitted is what was seen
        np.testing.assert_allclose(case.fitted, case.seen, atol=1e-4)
    draw_worst(cases, tmp_path / "worst.png")
    assert cv2.imread(str(tmp_path / "worst.png")).std() > 5


def test_table_and_plot_hold_every_figure(tmp_path):
    row = {"mpjpe_mm": 71.5, "pa_mpjpe_mm": 42.25, "mpjpe_median_mm": 60.5, "pa_mpjpe_median_mm": 33.3}
    result = {
        "data": "here", "source_2d": "made up", "bundle": "none", "frames": 1, "steps": {"0": row, "5": row}, "auxiliary": row,
        "per_joint": per_joint(("nose", "toe"), {"0": np.array([1.5, 2]), "5": np.array([3, 4])}),
        "milliseconds": {"0": 0.5, "5": 2.25},
    }  # fmt: skip
    table = markdown(result)
    for figure in ("71.5 (60.5)", "2.25", "| nose | 1.5 | 3.0 |"):
        assert figure in table
    draw_plot(result, tmp_path / "plot.png")
    assert cv2.imread(str(tmp_path / "plot.png")).std() > 5
