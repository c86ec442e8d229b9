import numpy as np
import pytest

from hmr_ros.ros.statistics import COUNTS, Statistics, rate_hz, summarise
from hmr_ros.types import FitReport


def fit(steps: int, stop: str) -> FitReport:
    return FitReport(steps, np.float32([3, 5]), np.float32([1, 2]), stop, 0.001)


def test_summary_agrees_with_numpy():
    samples = np.random.default_rng(0).gamma(2.0, 10.0, 250)
    summary = summarise(samples)
    assert summary.p50 == pytest.approx(np.median(samples))
    assert summary.p99 == pytest.approx(np.percentile(samples, 99))
    assert summary.max == samples.max()
    assert summarise([]) is None
    assert summarise([7.0]).p99 == 7.0


def test_rate_is_intervals_per_second():
    assert rate_hz([0.0, 0.1, 0.2, 0.3], 0.35) == pytest.approx(10.0)
    assert rate_hz([1.0], 1.0) == rate_hz([], 1.0) == rate_hz([2.0, 2.0], 2.0) == 0.0


def test_rate_falls_once_the_next_frame_is_overdue():
    assert rate_hz([0.0, 0.1, 0.2, 0.3], 0.7) == pytest.approx(5.0)


def test_every_received_frame_is_accounted_for():
    statistics = Statistics()
    for _ in range(6):
        statistics.received(1.0)
    statistics.dropped()
    statistics.bad("torn")
    statistics.failed("broken")
    statistics.waiting()
    statistics.processed(1.0, {"latency": 5.0}, people=1, fit=fit(3, "deadline"))
    statistics.processed(1.1, {"latency": 9.0}, people=0, fit=None)
    counts = statistics.snapshot(1.2).counts
    assert set(counts) == set(COUNTS)
    assert counts["received"] == sum(counts[k] for k in ("processed", "dropped", "bad", "failed", "waiting"))


def test_trouble_is_reported_while_it_lasts():
    statistics = Statistics()
    statistics.failed("broken")
    statistics.bad("torn")
    first = statistics.snapshot(0.0)
    assert first.failing and first.recently["bad"] and first.last_bad == "torn" and first.last_failure == "broken"
    statistics.processed(0.1, {}, 1, fit(1, "converged"))
    second = statistics.snapshot(0.2)
    assert not second.failing and not second.recently["bad"]
    assert second.last_bad == "torn"


def test_rate_falls_to_zero_when_frames_stop():
    statistics = Statistics()
    for i in range(20):
        statistics.processed(i * 0.1, {}, 1, fit(4, "max_steps"))
    assert statistics.snapshot(2.0).rate_hz == pytest.approx(10.0)
    assert statistics.snapshot(60.0).rate_hz == 0.0
    assert statistics.snapshot(2.0).stops == {"max_steps": 20}
    assert statistics.snapshot(2.0).mean_steps == 4.0
    assert statistics.snapshot(2.0).mean_loss == (4.0, 1.5)


def test_every_frame_under_a_deadline_met_or_missed_it():
    statistics = Statistics()
    for latency_ms, report in [
        (49, fit(9, "max_steps")),
        (50, fit(2, "deadline")),
        (51, fit(0, "deadline")),
        (60, None),
    ]:
        statistics.processed(0.0, {"latency": latency_ms}, 1, report, limit_ms=50)
    assert statistics.snapshot(0.0).deadline == {"met": 2, "missed": 2, "cut_short": 2, "regression_only": 1}


def test_without_a_deadline_none_is_missed():
    statistics = Statistics()
    statistics.processed(0.0, {"latency": 1e6}, 1, fit(9, "max_steps"))
    assert not any(statistics.snapshot(0.0).deadline.values())
