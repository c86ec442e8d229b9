"""What is kept of each tracked person from one frame to the next, by id."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np

Rows = TypeVar("Rows", bound=tuple)
"""A NamedTuple of arrays with one row per person."""


class PerTrack(Generic[Rows]):
    """Base of stages that remember the latest rows of every track id."""

    def __init__(self, nobody: Rows):
        """nobody: an empty memory, that is, arrays of the right shapes with no rows."""
        self._nobody = nobody
        self.reset()

    def reset(self) -> None:
        """Forget everyone."""
        self._ids, self._stamp_ns, self._rows = np.zeros(0, np.int64), np.zeros(0, np.int64), self._nobody

    def forget(self, ids: np.ndarray) -> None:
        """Drop people who left; unknown ids are ignored."""
        others = ~np.isin(self._ids, ids)
        self._ids, self._stamp_ns, self._rows = self._ids[others], self._stamp_ns[others], take(self._rows, others)

    def _recall(self, ids: np.ndarray, stamp_ns: int, max_age_s: float = np.inf) -> tuple[np.ndarray, np.ndarray, Rows]:
        """The rows of those M of `ids` (N,) that were remembered at most `max_age_s` ago. Rows from after `stamp_ns` are left out.

        Returns their indices into `ids`, (M,); their age, (M,) seconds; and their rows, M in each array.
        """
        now, then = np.nonzero(np.asarray(ids)[:, None] == self._ids)
        age_s = (stamp_ns - self._stamp_ns[then]) / 1e9
        recent = (age_s >= 0) & (age_s <= max_age_s)
        return now[recent], age_s[recent], take(self._rows, then[recent])

    def _remember(self, ids: np.ndarray, stamp_ns: int, rows: Rows) -> None:
        """ids: (N,), no id twice; rows: N in each array. They replace what was remembered of these ids."""
        self.forget(ids)
        joined = zip(self._rows, rows)
        self._rows = type(rows)(*map(np.concatenate, joined)) if len(self._ids) else rows
        self._ids = np.concatenate([self._ids, ids])
        self._stamp_ns = np.concatenate([self._stamp_ns, np.full(len(ids), stamp_ns, np.int64)])


def take(rows: Rows, index: np.ndarray) -> Rows:
    """Some of the rows: an index array or a mask."""
    return type(rows)(*(values[index] for values in rows))
