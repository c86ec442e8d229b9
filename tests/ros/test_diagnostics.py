"""What /diagnostics judges, from what was counted."""

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from diagnostic_msgs.msg import DiagnosticStatus

from hmr_ros.ros.diagnostics import Health, judge, status
from hmr_ros.ros.statistics import Statistics
from hmr_ros.types import FitReport

HEALTH = Health(active=True)


def counted(late: int, on_time: int, lost: int = 0, stop: str = "deadline") -> Statistics:
    """A node's second: so many frames published under a deadline of 50 ms."""
    statistics = Statistics()
    statistics.lost(lost)
    for latency_ms in [60] * late + [40] * on_time:
        statistics.received(0.0)
        fit = FitReport(3, np.float32([2]), np.float32([1]), stop, 0.001)
        statistics.processed(0.0, {"latency": latency_ms}, 1, fit, limit_ms=50)
    return statistics


@pytest.mark.parametrize(
    "statistics, level, says",
    [
        (counted(late=1, on_time=29), DiagnosticStatus.OK, "latency p50 40 ms"),
        (counted(late=10, on_time=20), DiagnosticStatus.WARN, "10 of 30 frames were published after their deadline"),
        (counted(late=0, on_time=20, lost=40), DiagnosticStatus.WARN, "40 images lost on the way"),
        (counted(late=0, on_time=29, lost=1), DiagnosticStatus.OK, "Hz"),
    ],
)
def test_warns_of_what_users_would_otherwise_not_see(statistics, level, says):
    assert judge(HEALTH, snapshot := statistics.snapshot(0.0))[0] == level
    assert says in judge(HEALTH, snapshot)[1]


def test_a_frame_that_never_ends_is_an_error():
    """Images come and are dropped meanwhile, so nothing else would tell."""
    hangs = Health(active=True, stuck_s=3.0, facts={"backend": "tensorrt 10.3"})
    level, says = judge(hangs, counted(late=0, on_time=20).snapshot(0.0))
    assert level == DiagnosticStatus.ERROR and says == "at one frame for 3.0 s: does tensorrt 10.3 hang?"


def test_warnings_end_with_their_cause():
    statistics = counted(late=30, on_time=0, lost=30)
    statistics.snapshot(0.0)
    statistics.received(0.5)
    statistics.processed(0.5, {"latency": 10}, 1, None, limit_ms=50)
    assert judge(HEALTH, statistics.snapshot(1.0))[0] == DiagnosticStatus.OK


def test_says_what_the_deadline_and_the_optimisation_did():
    message = status("hmr", HEALTH, counted(late=2, on_time=3).snapshot(0.0))
    values = {pair.key: pair.value for pair in message.values}
    assert (values["deadline_met"], values["deadline_missed"], values["deadline_cut_short"]) == ("3", "2", "5")
    assert (values["tto_steps_mean"], values["tto_loss_before_mean"], values["tto_loss_after_mean"]) == (
        "3.00",
        "2.0000",
        "1.0000",
    )
    assert values["tto_stops"] == "deadline 5" and values["deadline_regression_only"] == "0"
