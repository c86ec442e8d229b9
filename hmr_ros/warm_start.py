"""The state in which each tracked person's optimisation last ended: usually a better start than the regressor's."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hmr_ros.config import WarmStartConfig
from hmr_ros.per_track import PerTrack

FRAME_S = 1 / 30
"""Time to which `WarmStartConfig.decay` refers, seconds: less of the last result is kept with a slower camera, more with a faster one."""


class Ended(NamedTuple):
    state: np.ndarray
    """(N, S)."""


class WarmStart(PerTrack[Ended]):
    """Remembers one state per track id. Only the bundle's graphs know what a state means."""

    def __init__(self, config: WarmStartConfig):
        super().__init__(Ended(np.zeros((0, 0), np.float32)))
        self.config = config

    def recall(self, ids: np.ndarray, regressed: np.ndarray, stamp_ns: int) -> np.ndarray | None:
        """States to try instead of the regressor's, (N, S), or None when there is nothing to try.

        ids: (N,); regressed: (N, S), the regressor's states. A remembered state is drawn towards the regressor's: the fraction
        `decay` of their difference remains per FRAME_S. People without one, or unseen for longer than `max_gap_s`, get the regressor's.
        """
        now, age_s, (ended,) = self._recall(ids, stamp_ns, self.config.max_gap_s)
        if self.config.decay == 0 or not len(now):
            return None
        kept = (self.config.decay ** (age_s / FRAME_S))[:, None].astype(regressed.dtype)
        start = regressed.copy()
        start[now] += kept * (ended - regressed[now])
        return start

    def remember(self, ids: np.ndarray, states: np.ndarray, stamp_ns: int) -> None:
        """ids: (N,); states: (N, S), where the optimisation ended."""
        self._remember(ids, stamp_ns, Ended(states))
