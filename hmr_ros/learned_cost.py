"""What a stage costs, learned as it runs: how loop, pipeline and node each keep back the time they still need before a deadline."""

from __future__ import annotations

from collections import deque

WINDOW = 100
HIGH = 0.95
"""Quantile that is expected: a hiccup of the machine's is not the rule, and fewer steps would not prevent it."""


class LearnedCost:
    """Seconds by number of people: a high quantile of the last measurements."""

    def __init__(self):
        self._seconds: dict[int, deque[float]] = {}

    def expect(self, people: int) -> float:
        """Seconds; for a number of people not met yet the most of all others, at first 0."""
        known = self._seconds.get(people)
        if known is None:
            return max(map(self.expect, self._seconds), default=0.0)
        return sorted(known)[int(HIGH * len(known))]

    def learn(self, people: int, seconds: float) -> None:
        self._seconds.setdefault(people, deque(maxlen=WINDOW)).append(seconds)

    def forget(self, people: int) -> None:
        """What the next measurement says counts alone."""
        self._seconds.pop(people, None)
