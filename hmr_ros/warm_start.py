"""Where each tracked person's optimisation ended in the last frame: a better place to start from than the regressor's, mostly."""

from __future__ import annotations

import numpy as np

from hmr_ros.config import WarmStartConfig

FRAME_S = 1 / 30
"""What `WarmStartConfig.decay` counts in: a slower camera's last result says less, a faster one's more."""


class WarmStart:
    """Remembers one state per track id. What a state means only the bundle's graphs know."""

    def __init__(self, config: WarmStartConfig):
        self.config = config
        self.reset()

    def reset(self) -> None:
        self._ids, self._stamp_ns = np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._states = np.zeros((0, 0), np.float32)

    def forget(self, ids: np.ndarray) -> None:
        others = ~np.isin(self._ids, ids)
        self._ids, self._stamp_ns, self._states = self._ids[others], self._stamp_ns[others], self._states[others]

    def recall(self, ids: np.ndarray, regressed: np.ndarray, stamp_ns: int) -> np.ndarray | None:
        """States to try instead of the regressor's, (N, S), or None when there is nothing to try.

        ids: (N,); regressed: (N, S), the regressor's states. A remembered state is pulled towards the regressor's by what `decay`
        leaves of it; people without one, or unseen for longer than `max_gap_s`, get the regressor's.
        """
        now, then = np.nonzero(np.asarray(ids)[:, None] == self._ids)
        age_s = (stamp_ns - self._stamp_ns[then]) / 1e9
        recent = (age_s >= 0) & (age_s <= self.config.max_gap_s)
        now, then, age_s = now[recent], then[recent], age_s[recent]
        if self.config.decay == 0 or not len(now):
            return None
        kept = (self.config.decay ** (age_s / FRAME_S))[:, None].astype(regressed.dtype)
        start = regressed.copy()
        start[now] += kept * (self._states[then] - regressed[now])
        return start

    def remember(self, ids: np.ndarray, states: np.ndarray, stamp_ns: int) -> None:
        """ids: (N,); states: (N, S), where the optimisation ended."""
        self.forget(ids)
        self._ids = np.concatenate([self._ids, ids])
        self._stamp_ns = np.concatenate([self._stamp_ns, np.full(len(ids), stamp_ns, np.int64)])
        self._states = np.concatenate([self._states, states]) if len(self._states) else states
