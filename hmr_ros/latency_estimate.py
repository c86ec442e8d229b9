"""How long a stage takes, learned as it runs: optimisation loop, pipeline and node reserve that much time before a deadline."""

from __future__ import annotations

from collections import deque

WINDOW = 100
HIGH = 0.95
"""Quantile that `expect` returns: the rare delays above it come from the machine, and fewer steps would not prevent them."""


class LatencyEstimate:
    """Seconds that the stage takes, by number of people: a high quantile of the last measurements."""

    def __init__(self):
        self._seconds: dict[int, deque[float]] = {}

    def expect(self, people: int) -> float:
        """Seconds; for a number of people not measured yet, the most expected for any other number; 0 without measurements."""
        known = self._seconds.get(people)
        if known is None:
            return max(map(self.expect, self._seconds), default=0.0)
        return sorted(known)[int(HIGH * len(known))]

    def learn(self, people: int, seconds: float) -> None:
        self._seconds.setdefault(people, deque(maxlen=WINDOW)).append(seconds)

    def forget(self, people: int) -> None:
        """Drop what was measured for this number of people: only later measurements count."""
        self._seconds.pop(people, None)
