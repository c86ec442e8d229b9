"""Laws of what is summed up and written from what was recovered."""

from types import SimpleNamespace

import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.media import open_media
from hmr_ros.recording import (
    FrameRecord,
    OverlayWriter,
    PersonRecord,
    accuracy,
    people_at_once,
    report,
    summarise,
)
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.smpl_file import load_body

RNG = np.random.default_rng(0)
CAMERA = Camera.guess(160, 120)


def person(track_id=1, steps=3, before=8.0, after=2.0, joints=None):
    rotmat = rotvec_to_rotmat(RNG.normal(size=(24, 3)).astype(np.float32) * 0.3)
    joints = RNG.normal(size=(24, 3)).astype(np.float32) if joints is None else joints
    transl = np.array([0, 0, 3], np.float32)
    return PersonRecord(
        track_id, 0.9, rotmat, np.full(10, 0.1, np.float32), transl, joints, steps, before, after, np.ones(24), 0.5, 0.2
    )


def frame(index, *people, latency_ms=10.0):
    return FrameRecord(index, index * 100, latency_ms, people)


def test_summary_has_exactly_the_promised_keys():
    summary = summarise([frame(0, person())], 0.5)
    assert set(summary) == {"frames", "people", "fps", "latency_ms", "tto_steps", "reprojection_px"}
    assert set(summary["latency_ms"]) == {"p50", "p99"} and set(summary["reprojection_px"]) == {"before", "after"}
    truth = {"joints": np.zeros((1, 24, 3))}
    assert set(summarise([frame(0, person())], 0.5, truth)) - set(summary) == {"mpjpe_mm", "pa_mpjpe_mm"}


def test_summary_figures():
    frames = [frame(i, person(steps=i), latency_ms=10.0 * i) for i in range(5)]
    summary = summarise(frames, 2.0)
    assert (summary["frames"], summary["people"], summary["fps"]) == (5, 1, 2.5)
    assert summary["latency_ms"]["p50"] == 20 and summary["tto_steps"] == 2
    assert summary["reprojection_px"] == {"before": 8.0, "after": 2.0}


@pytest.mark.parametrize("frames", [[], [frame(0)], [frame(0, person(before=np.nan, after=np.nan))]])
def test_nothing_to_measure_is_none_not_nan(frames):
    summary = summarise(frames, 0.0, {"joints": np.zeros((0, 24, 3))})
    assert summary["reprojection_px"] == {"before": None, "after": None}
    assert summary["mpjpe_mm"] is None and summary["fps"] is None
    assert "None" in report(summary)


def test_a_flicker_is_not_a_person():
    one, two = (person(1),), (person(1), person(2))
    assert people_at_once([frame(i, *one) for i in range(10)] + [frame(10, *two)]) == 1
    assert people_at_once([frame(i, *two) for i in range(3)] + [frame(9)]) == 2
    assert people_at_once([frame(0, *two)]) == 2, "a single image has a single frame"
    assert people_at_once([]) == 0


def test_accuracy_takes_the_person_nearest_to_the_truth_and_the_frame_it_belongs_to():
    truth = RNG.normal(size=(4, 24, 3))
    frames = [frame(i, person(1, joints=truth[i] + 5.0), person(2, joints=truth[i] + [0, 0, 0.01])) for i in (3, 1)]
    assert accuracy(frames, truth) == {"mpjpe_mm": 0.0, "pa_mpjpe_mm": 0.0}
    assert accuracy([frame(99, person())], truth)["mpjpe_mm"] is None, "a frame beyond the truth is not counted"


def test_overlay_is_complete_and_its_picture_the_fullest(tmp_path):
    body = load_body("open")
    blank = np.full((120, 160, 3), 90, np.uint8)
    with OverlayWriter(tmp_path, 10, body, 6) as overlay:
        pictures = [overlay.write(blank, frame(i, *[person(1)] * (i == 4)), CAMERA) for i in range(6)]
    assert len(list(open_media(tmp_path / "overlay.mp4"))) == 6
    ((best, _),) = open_media(tmp_path / "overlay.png")
    assert np.array_equal(best, pictures[4]) and not np.array_equal(best, blank)


def test_overlay_of_an_interrupted_run_is_playable(tmp_path):
    blank = np.full((120, 160, 3), 90, np.uint8)
    with pytest.raises(KeyboardInterrupt), OverlayWriter(tmp_path, 10, SimpleNamespace()) as overlay:
        overlay.write(blank, frame(0), CAMERA)
        raise KeyboardInterrupt
    assert len(list(open_media(tmp_path / "overlay.mp4"))) == 1
