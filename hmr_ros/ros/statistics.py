"""Rate and latency over the last frames, and what became of every frame. Pure: no ROS, no clock of its own."""

from __future__ import annotations

import threading
from collections import Counter, deque
from dataclasses import dataclass, field

import numpy as np

WINDOW = 300
"""Samples kept: 10 s at 30 Hz."""


@dataclass(frozen=True)
class Summary:
    p50: float
    p99: float
    max: float


def summarise(samples) -> Summary | None:
    """Median, 99th percentile and maximum; None of no samples."""
    if not len(samples):
        return None
    values = np.asarray(samples, float)
    return Summary(*(float(v) for v in (*np.percentile(values, (50, 99)), values.max())))


def rate_hz(times_s) -> float:
    """Events per second from their times in s, in order; 0 with fewer than two."""
    if len(times_s) < 2 or times_s[-1] <= times_s[0]:
        return 0.0
    return (len(times_s) - 1) / (times_s[-1] - times_s[0])


@dataclass(frozen=True)
class Snapshot:
    """Everything counted so far, at one moment.

    Every image received ends in exactly one of processed, dropped, bad, failed, waiting; or is in flight still, one being
    worked on and one in the slot.
    """

    counts: dict[str, int]
    """received, processed, dropped (a newer one came first), bad (undecodable), failed (pipeline raised), waiting (for a
    first CameraInfo), deadline_hits."""
    rate_hz: float
    stages_ms: dict[str, Summary | None]
    """Per stage in the order they run; the last, `latency`, is from capture stamp to published."""
    stops: dict[str, int]
    """How often optimisation ended for each reason, over the window."""
    mean_steps: float
    people: int
    last_bad: str
    last_failure: str
    failing: bool
    """The last frame that reached the pipeline made it raise."""
    bad_recently: bool
    """A bad frame came since the snapshot before."""
    last_received_s: float | None


COUNTS = ("received", "processed", "dropped", "bad", "failed", "waiting", "deadline_hits")


@dataclass
class Statistics:
    """Written by the subscription and the worker, read by the diagnostics timer: one lock, short sections.

    All times are in s on one monotonic clock of the caller's.
    """

    counts: Counter = field(default_factory=Counter)
    last_bad: str = ""
    last_failure: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _done_s: deque = field(default_factory=lambda: deque(maxlen=WINDOW))
    _fits: deque = field(default_factory=lambda: deque(maxlen=WINDOW))
    _stages: dict = field(default_factory=dict)
    _people: int = 0
    _failing: bool = False
    _bad_seen: int = 0
    _last_received_s: float | None = None

    def received(self, now_s: float) -> None:
        with self._lock:
            self.counts["received"] += 1
            self._last_received_s = now_s

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

    def processed(self, now_s: float, stages_ms: dict[str, float], people: int, steps: int, stop: str) -> None:
        """One frame is published. stop: "" where nobody was found."""
        with self._lock:
            self.counts["processed"] += 1
            self.counts["deadline_hits"] += stop == "deadline"
            self._failing, self._people = False, people
            self._done_s.append(now_s)
            if stop:
                self._fits.append((steps, stop))
            for stage, elapsed_ms in stages_ms.items():
                self._stages.setdefault(stage, deque(maxlen=WINDOW)).append(elapsed_ms)

    def snapshot(self, now_s: float) -> Snapshot:
        """now_s: for the rate, which falls when frames stop coming."""
        with self._lock:
            done = [t for t in self._done_s if t > now_s - 10.0]
            late = self.counts["bad"] > self._bad_seen
            self._bad_seen = self.counts["bad"]
            return Snapshot(
                counts={name: self.counts[name] for name in COUNTS},
                rate_hz=rate_hz(done),
                stages_ms={stage: summarise(samples) for stage, samples in self._stages.items()},
                stops=dict(Counter(stop for _, stop in self._fits)),
                mean_steps=float(np.mean([steps for steps, _ in self._fits])) if self._fits else 0.0,
                people=self._people,
                last_bad=self.last_bad,
                last_failure=self.last_failure,
                failing=self._failing,
                bad_recently=late,
                last_received_s=self._last_received_s,
            )
