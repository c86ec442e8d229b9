"""The worker without ROS: the newest image wins, nothing that happens to one frame stops the next."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.config import PipelineConfig, replace
from hmr_ros.ros.conversions import FrameError
from hmr_ros.ros.statistics import Statistics
from hmr_ros.ros.worker import Arrival, LatestSlot, Worker, arrival
from hmr_ros.types import FitReport, Frame, FrameResult

SECOND = 1_000_000_000


def image(stamp_ns: int = 0, **extra):
    stamp = SimpleNamespace(sec=stamp_ns // SECOND, nanosec=stamp_ns % SECOND)
    return SimpleNamespace(header=SimpleNamespace(stamp=stamp, frame_id="cam"), **extra)


class Pipeline:
    """Answers as told, and remembers what it was asked."""

    def __init__(self):
        self.deadlines, self.stamps, self.configs, self.resets = [], [], [], 0
        self.fit = FitReport(3, np.zeros(1, np.float32), np.zeros(1, np.float32), "deadline", 0.0)
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, frame, deadline_s):
        self.gate.wait(10)
        self.deadlines.append(deadline_s)
        self.stamps.append(frame.stamp_ns)
        if frame.frame_id == "poison":
            raise RuntimeError("poisoned")
        return FrameResult((), self.fit, {"tto": 1.0})

    def update(self, config):
        self.configs.append(config)

    def reset(self):
        self.resets += 1


def to_frame(msg, stamp_ns):
    if getattr(msg, "torn", False):
        raise FrameError("torn")
    if getattr(msg, "early", False):
        return None
    return Frame(
        np.zeros((4, 4, 3), np.uint8), Camera.guess(4, 4), stamp_ns, "poison" if hasattr(msg, "poison") else ""
    )


@pytest.fixture
def rig():
    pipeline, statistics, published = Pipeline(), Statistics(), []
    worker = Worker(pipeline, PipelineConfig(), to_frame, lambda *args: published.append(args), statistics)
    worker.start()
    yield SimpleNamespace(worker=worker, pipeline=pipeline, statistics=statistics, published=published)
    pipeline.gate.set()
    assert worker.stop()


def put(rig, *messages):
    """One after the other, each done before the next."""
    for msg in messages:
        rig.worker.put(arrival(msg, 100 * SECOND))
        until(lambda: done(rig) == rig.statistics.counts["received"])


def done(rig) -> int:
    return sum(rig.statistics.counts[k] for k in ("processed", "bad", "failed", "waiting"))


def until(condition):
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "waited 10 s in vain"
        time.sleep(0.001)


def test_slot_keeps_the_newest():
    slot = LatestSlot()
    assert not slot.put(1)
    assert slot.put(2)
    assert slot.put(3)
    assert slot.take() == 3
    assert not slot.put(4)
    slot.close()
    assert slot.take() is None


def test_a_slow_pipeline_sees_the_newest_image_and_the_rest_is_counted(rig):
    rig.pipeline.gate.clear()
    rig.worker.put(arrival(image(SECOND), 100 * SECOND))
    until(lambda: rig.worker._slot._item is None)
    for i in range(2, 12):
        rig.worker.put(arrival(image(i * SECOND), 100 * SECOND))
    rig.pipeline.gate.set()
    until(lambda: rig.statistics.counts["processed"] == 2)
    assert rig.pipeline.stamps == [SECOND, 11 * SECOND]
    counts = rig.statistics.counts
    assert counts["received"] == 11 and counts["dropped"] == 9


def test_bad_frames_and_failures_are_counted_and_survived(rig):
    put(rig, image(torn=True), image(poison=1), image(early=True), image(torn=True), image())
    counts = rig.statistics.counts
    assert (counts["bad"], counts["failed"], counts["waiting"], counts["processed"]) == (2, 1, 1, 1)
    assert rig.statistics.last_bad == "torn" and rig.statistics.last_failure == "RuntimeError: poisoned"
    assert len(rig.published) == 1


def test_header_is_handed_on(rig):
    msg = image(7 * SECOND)
    put(rig, msg)
    assert rig.published[0][2] is msg.header


def test_deadline_counts_from_capture(rig):
    put(rig, image(99 * SECOND))
    rig.worker.update(replace(PipelineConfig(), {"tto.deadline_ms": 500.0}))
    before_s = time.monotonic()
    put(rig, image(100 * SECOND - 200_000_000))
    after_s = time.monotonic()
    assert rig.pipeline.deadlines[0] is None
    assert before_s + 0.29 <= rig.pipeline.deadlines[1] <= after_s + 0.3  # less what publishing took
    assert rig.pipeline.configs[-1].tto.deadline_ms == 500.0 and len(rig.pipeline.configs) == 1


def test_what_publishing_takes_is_kept_back_of_the_budget():
    pipeline, statistics = Pipeline(), Statistics()
    config = replace(PipelineConfig(), {"tto.deadline_ms": 500.0})
    worker = Worker(pipeline, config, to_frame, lambda *args: time.sleep(0.02), statistics)
    worker.start()
    for processed in (1, 2):
        worker.put(Arrival(image(), received_s=0.0, captured_s=1000.0, sent_s=1000.0, stamp_ns=0))
        until(lambda: statistics.counts["processed"] == processed)  # noqa: B023
    assert worker.stop()
    took_s = 1e-3 * statistics.snapshot(0.0).stages_ms["publish"].max
    assert pipeline.deadlines[0] == pytest.approx(1000.5)
    assert 1000.5 - took_s - 1e-6 <= pipeline.deadlines[1] <= 1000.48


def test_late_frames_are_published_and_counted(rig):
    rig.worker.update(replace(PipelineConfig(), {"tto.deadline_ms": 500.0}))
    rig.pipeline.fit = FitReport(0, np.zeros(1, np.float32), np.zeros(1, np.float32), "deadline", 0.0)
    put(rig, image(98 * SECOND), image(100 * SECOND))
    assert len(rig.published) == 2
    assert rig.statistics.snapshot(0.0).deadline == {"met": 1, "missed": 1, "cut_short": 2, "regression_only": 2}


@pytest.mark.parametrize("age_s, believed", [(0.0, True), (0.25, True), (9.9, True), (-0.1, False), (11.0, False)])
def test_only_plausible_ages_are_believed(age_s, believed):
    now_ns = 100 * SECOND
    before_s = time.monotonic()
    item = arrival(image(int(now_ns - age_s * SECOND)), now_ns)
    after_s = time.monotonic()
    age_s = age_s if believed else 0.0
    assert before_s - age_s - 1e-6 <= item.captured_s <= after_s - age_s + 1e-6


@pytest.mark.parametrize("way_s, believed_s", [(0.05, 0.05), (-1.0, 0.0), (3.0, 0.25)])
def test_the_way_from_the_driver_is_part_of_the_age(way_s, believed_s):
    """Clocks of two machines differ; what is told cannot be more than the age, or less than nothing."""
    now_ns = 100 * SECOND
    item = arrival(image(now_ns - SECOND // 4), now_ns, time.time_ns() - int(way_s * SECOND))
    assert item.received_s - item.sent_s == pytest.approx(believed_s, abs=0.02)
    assert item.captured_s <= item.sent_s <= item.received_s


def test_without_a_stamp_arrival_is_the_stamp():
    assert arrival(image(0), 5 * SECOND).stamp_ns == 5 * SECOND
    assert arrival(image(3 * SECOND), 5 * SECOND).stamp_ns == 3 * SECOND


def test_time_going_back_resets_the_tracks(rig):
    put(rig, image(50 * SECOND), image(51 * SECOND), image(51 * SECOND))
    assert rig.pipeline.resets == 0
    put(rig, image(20 * SECOND), image(21 * SECOND))
    assert rig.pipeline.resets == 1


def test_an_image_that_was_overtaken_is_skipped_and_ends_no_track(rig):
    put(rig, image(50 * SECOND), image(50 * SECOND - 1_000_000), image(50 * SECOND + 1_000_000))
    assert rig.pipeline.resets == 0 and len(rig.published) == 2
    assert "1.000 ms before the last image" in rig.statistics.last_bad


def test_a_frame_that_hangs_is_known(rig):
    assert rig.worker.stuck_s(time.monotonic()) == 0
    rig.pipeline.gate.clear()
    rig.worker.put(arrival(image(SECOND), 100 * SECOND))
    until(lambda: rig.worker.stuck_s(time.monotonic() + 60) > 50)
    rig.pipeline.gate.set()
    until(lambda: rig.worker.stuck_s(time.monotonic() + 60) == 0)


def test_stop_ends_the_thread_with_frames_waiting():
    pipeline = Pipeline()
    worker = Worker(pipeline, PipelineConfig(), to_frame, lambda *args: None, Statistics())
    worker.start()
    for _ in range(100):
        worker.put(arrival(image(), SECOND))
    assert worker.stop()
    assert worker.stop()
