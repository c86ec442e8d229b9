"""One thread that turns the newest image into published results. The image callback only hands images over; older ones are dropped.

Pure Python: the functions that decode, find people and publish are passed in, so that it can be tested without ROS.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hmr_ros.backends.graph import BackendError
from hmr_ros.config import PipelineConfig
from hmr_ros.latency_estimate import LatencyEstimate
from hmr_ros.ros.conversions import FrameError, header_stamp_ns
from hmr_ros.ros.statistics import Statistics
from hmr_ros.types import BACK_S, Frame

MAX_AGE_S = 10.0
"""A stamp older than this is taken to be from another clock."""
MAX_AHEAD_S = 0.1
"""A stamp further in the future than this is too; a smaller lead is the usual offset between synchronised clocks."""
JOIN_TIMEOUT_S = 10.0
LOST_AFTER = 10
"""A backend that fails on this many frames in a row will not recover: CUDA errors last until the process ends."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Arrival:
    """An image message and when it was captured, as far as that can be known."""

    msg: Any
    received_s: float
    """time.monotonic() at arrival."""
    captured_s: float
    """time.monotonic() at capture."""
    sent_s: float
    """time.monotonic() when the camera driver published it; the time of arrival where the middleware does not report it."""
    stamp_ns: int
    """The stamp of the header, or the time of arrival where the header has none."""


def arrival(msg, now_ns: int, sent_ns: int = 0) -> Arrival:
    """now_ns: the ROS clock at arrival; sent_ns: the system clock when the image was published, or 0 if unknown.

    An image whose stamp is in the future, or from another clock, counts as captured at arrival.
    """
    stamp_ns = header_stamp_ns(msg)
    age_s = (now_ns - stamp_ns) * 1e-9
    received_s = time.monotonic()
    age_s = age_s if 0 <= age_s < MAX_AGE_S else 0.0
    way_s = min(max((time.time_ns() - sent_ns) * 1e-9, 0.0), age_s) if sent_ns else 0.0
    return Arrival(msg, received_s, received_s - age_s, received_s - way_s, stamp_ns if stamp_ns > 0 else now_ns)


def doubt_stamp(stamp_ns: int, now_ns: int) -> str:
    """Why a header's stamp cannot be the image's capture time; empty: it can. now_ns: the ROS clock at arrival."""
    if stamp_ns <= 0:
        return "images carry no stamp: latency counts from arrival"
    age_s = (now_ns - stamp_ns) * 1e-9
    if -MAX_AHEAD_S <= age_s < MAX_AGE_S:
        return ""
    side = "behind" if age_s > 0 else "ahead of"
    return (
        f"image stamps are {abs(age_s):.1f} s {side} this node's clock, so latency counts from arrival: set use_sim_time for a "
        "recording, or synchronise the clocks"
    )


class LatestSlot:
    """Holds one item; putting another replaces it."""

    def __init__(self):
        self._changed = threading.Condition()
        self._item = None
        self._closed = False

    def put(self, item) -> bool:
        """True when this replaced an item that had not been taken."""
        with self._changed:
            replaced, self._item = self._item is not None, item
            self._changed.notify()
        return replaced

    def take(self):
        """Wait for an item and take it; None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._item is not None)
            item, self._item = self._item, None
            return None if self._closed else item

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class Worker:
    """Runs once, from `start` to `stop`.

    to_frame(msg, stamp_ns) -> Frame, or None while waiting for a CameraInfo; raises FrameError for a bad image.
    publish(frame, result, header) publishes all outputs.
    """

    def __init__(
        self,
        pipeline,
        config: PipelineConfig,
        to_frame: Callable[[Any, int], Frame | None],
        publish: Callable[[Frame, Any, Any], None],
        statistics: Statistics,
    ):
        self._pipeline, self._to_frame, self._publish = pipeline, to_frame, publish
        self._statistics = statistics
        self._config = self._wanted = config
        self._reset_wanted = False
        self._slot = LatestSlot()
        self._last_stamp_ns = 0
        self._began_s: float | None = None
        self._publish_cost = LatencyEstimate()
        self._people = 0
        self._backend_errors = 0
        self._thread = threading.Thread(target=self._run, name="hmr_worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def put(self, item: Arrival) -> None:
        self._statistics.received(item.received_s)
        if self._slot.put(item):
            self._statistics.dropped()

    def update(self, config: PipelineConfig) -> None:
        """Takes effect on the next frame."""
        self._wanted = config

    def reset(self) -> None:
        """Forget every person before the next frame. Only sets a flag, because only the worker's thread may touch the pipeline."""
        self._reset_wanted = True

    def stuck_s(self, now_s: float) -> float:
        """How long the worker has been processing its current frame; 0 while it waits for one. now_s: time.monotonic()."""
        began_s = self._began_s
        return 0.0 if began_s is None else now_s - began_s

    @property
    def backend_lost(self) -> bool:
        """Whether the backend failed on LOST_AFTER frames in a row."""
        return self._backend_errors >= LOST_AFTER

    def stop(self) -> bool:
        """Ask the thread to end after its current frame, and wait for it. False when it hangs."""
        self._slot.close()
        if self._thread.is_alive():
            self._thread.join(JOIN_TIMEOUT_S)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._slot.take()) is not None:
            self._began_s = time.monotonic()
            try:
                self._process(item)
            except FrameError as error:
                if str(error) != self._statistics.last_bad:
                    _log.warning("bad image, skipped: %s", error)
                self._statistics.bad(str(error))
            # No single frame may end the node, whatever it makes the pipeline raise; the reason goes to /diagnostics.
            except Exception as error:  # noqa: BLE001
                self._backend_errors = self._backend_errors + 1 if isinstance(error, BackendError) else 0
                reason = f"{type(error).__name__}: {error}"
                if reason != self._statistics.last_failure:
                    _log.exception("a frame failed; the node goes on")
                self._statistics.failed(reason)
            self._began_s = None

    def _process(self, item: Arrival) -> None:
        started_s = time.monotonic()
        frame = self._to_frame(item.msg, item.stamp_ns)
        if frame is None:
            self._statistics.waiting()
            return
        self._follow(item.stamp_ns)
        decoded_s = time.monotonic()
        limit_s = 1e-3 * self._config.tto.deadline_ms or math.inf
        # Publishing needs time too. The number of people is not known yet, so expect as many as in the last frame.
        budget_s = limit_s - self._publish_cost.expect(self._people)
        result = self._pipeline(frame, item.captured_s + budget_s if budget_s < math.inf else None)
        found_s = time.monotonic()
        self._publish(frame, result, item.msg.header)
        now_s = time.monotonic()
        self._backend_errors = 0
        self._people = len(result.people)
        self._publish_cost.learn(self._people, now_s - found_s)
        stages_ms = {
            "driver": (item.sent_s - item.captured_s) * 1e3,
            "transport": (item.received_s - item.sent_s) * 1e3,
            "queue": (started_s - item.received_s) * 1e3,
            "decode": (decoded_s - started_s) * 1e3,
            **result.stages_ms,
            "publish": (now_s - found_s) * 1e3,
            "latency": (now_s - item.captured_s) * 1e3,
        }
        self._statistics.processed(now_s, stages_ms, self._people, result.fit, 1e3 * limit_s)

    def _follow(self, stamp_ns: int) -> None:
        """Check that time does not run backwards, and apply what was requested since the last frame: a reset, other settings."""
        back_ns = self._last_stamp_ns - stamp_ns
        if 0 < back_ns <= BACK_S * 1e9:
            raise FrameError(f"its stamp is {back_ns * 1e-6:.3f} ms before the last image's: two cameras on one topic?")
        # A bag looped, or simulated time was reset.
        if back_ns > 0 or self._reset_wanted:
            self._reset_wanted = False
            self._pipeline.reset()
        self._last_stamp_ns = stamp_ns
        if (wanted := self._wanted) is not self._config:
            self._pipeline.update(wanted)
            self._config = wanted
