"""Rate and latency over the last frames, and what became of every frame. Pure: no ROS, no clock of its own."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

from hmr_ros.types import FitReport

WINDOW = 300
"""Samples kept: 10 s at 30 Hz."""


@dataclass(frozen=True)
class Summary:
    p50: float
    p99: float
    max: float


def summarise(samples) -> Summary | None:
    """Median, 99th percentile and maximum; None without samples."""
    if not len(samples):
        return None
    values = np.asarray(samples, float)
    return Summary(*(float(v) for v in (*np.percentile(values, (50, 99)), values.max())))


def rate_hz(times_s, now_s: float) -> float:
    """Events per second from their times in s, in order; 0 with fewer than two. The rate falls once the next event is overdue."""
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return 0.0
    periods, span_s = len(times_s) - 1, times_s[-1] - times_s[0]
    return periods / max(span_s, now_s - times_s[0] - span_s / periods)


@dataclass(frozen=True)
class Snapshot:
    """All counts and statistics at one moment.

    Every image received is counted as exactly one of processed, dropped, bad, failed, waiting, or is still in flight: at most
    one being processed and one waiting in the slot.
    """

    counts: dict[str, int]
    """received, processed, dropped (replaced by a newer one), bad (not a usable image), failed (the pipeline raised),
    waiting (skipped before the first CameraInfo); and lost: sent, but never received."""
    deadline: dict[str, int]
    """Of the frames processed under a deadline: met, missed (published late), cut_short (the deadline ended
    optimisation), regression_only (it left no time for a single step)."""
    rate_hz: float
    stages_ms: dict[str, Summary | None]
    """Per stage in the order they run; the last, `latency`, is from capture stamp to publication."""
    stops: dict[str, int]
    """How often optimisation ended for each reason, over the window."""
    mean_steps: float
    mean_loss: tuple[float, float]
    """Before and after optimisation."""
    people: int
    last_bad: str
    last_failure: str
    failing: bool
    """Whether the pipeline raised on the last frame that reached it."""
    recently: dict[str, int]
    """`counts` and `deadline` since the previous snapshot."""
    last_received_s: float | None


COUNTS = ("received", "processed", "dropped", "bad", "failed", "waiting", "lost")
DEADLINE = ("met", "missed", "cut_short", "regression_only")


@dataclass
class Statistics:
    """Written by the image callback and the worker, read by the diagnostics timer: one lock, held only briefly.

    All times are in s on one monotonic clock of the caller's choice.
    """

    counts: Counter = field(default_factory=Counter)
    deadline: Counter = field(default_factory=Counter)
    last_bad: str = ""
    last_failure: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done_s: deque = field(default_factory=lambda: deque(maxlen=WINDOW))
    _fits: deque = field(default_factory=lambda: deque(maxlen=WINDOW))
    _stages: dict = field(default_factory=dict)
    _people: int = 0
    _failing: bool = False
    _told: dict[str, int] = field(default_factory=dict)
    _last_received_s: float | None = None

    def received(self, now_s: float) -> None:
        with self._lock:
            self.counts["received"] += 1
            self._last_received_s = now_s

    def lost(self, number: int) -> None:
        with self._lock:
            self.counts["lost"] += number

    def dropped(self) -> None:
        with self._lock:
            self.counts["dropped"] += 1

    def waiting(self) -> None:
        with self._lock:
            self.counts["waiting"] += 1

    def bad(self, reason: str) -> None:
        with self._lock:
            self.counts["bad"] += 1
            self.last_bad = reason

    def failed(self, reason: str) -> None:
        with self._lock:
            self.counts["failed"] += 1
            self.last_failure, self._failing = reason, True

    def processed(
        self, now_s: float, stages_ms: dict[str, float], people: int, fit: FitReport | None, limit_ms: float = math.inf
    ) -> None:
        """Count a published frame. fit: None where nobody was found; limit_ms: the deadline, which applies to the stage `latency`."""
        with self._lock:
            self.counts["processed"] += 1
            if limit_ms < math.inf:
                self.deadline["met" if stages_ms["latency"] <= limit_ms else "missed"] += 1
            self._failing, self._people = False, people
            self._done_s.append(now_s)
            if fit:
                self.deadline["cut_short"] += fit.stop == "deadline"
                self.deadline["regression_only"] += fit.stop == "deadline" and fit.steps == 0
                self._fits.append((fit.stop, fit.steps, float(fit.loss_before.mean()), float(fit.loss_after.mean())))
            for stage, elapsed_ms in stages_ms.items():
                self._stages.setdefault(stage, deque(maxlen=WINDOW)).append(elapsed_ms)

    def snapshot(self, now_s: float) -> Snapshot:
        """now_s: for the rate, which falls when frames stop coming."""
        with self._lock:
            done = [t for t in self._done_s if t > now_s - 10.0]
            counts = {name: self.counts[name] for name in COUNTS}
            deadline = {name: self.deadline[name] for name in DEADLINE}
            recently = {name: count - self._told.get(name, 0) for name, count in (counts | deadline).items()}
            self._told = counts | deadline
            steps, before, after = np.mean([fit[1:] for fit in self._fits], axis=0) if self._fits else (0.0, 0.0, 0.0)
            return Snapshot(
                counts=counts,
                deadline=deadline,
                rate_hz=rate_hz(done, now_s),
                stages_ms={stage: summarise(samples) for stage, samples in self._stages.items()},
                stops=dict(Counter(fit[0] for fit in self._fits)),
                mean_steps=float(steps),
                mean_loss=(float(before), float(after)),
                people=self._people,
                last_bad=self.last_bad,
                last_failure=self.last_failure,
                failing=self._failing,
                recently=recently,
                last_received_s=self._last_received_s,
            )
