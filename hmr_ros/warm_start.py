"""Where each tracked person's optimisation ended in the last frame: a better place to start from than the regressor's, mostly."""

from __future__ import annotations

import numpy as np

from hmr_ros.config import WarmStartConfig


class WarmStart:
    """Remembers one state per track id. What a state means only the bundle's graphs know."""

    def __init__(self, config: WarmStartConfig):
        self.config = config
        self.reset()

    def reset(self) -> None:
        self._states: dict[int, tuple[int, np.ndarray]] = {}

    def forget(self, ids: np.ndarray) -> None:
        for track in ids:
            self._states.pop(int(track), None)

    def recall(self, ids: np.ndarray, regressed: np.ndarray, stamp_ns: int) -> np.ndarray | None:
        """States to try instead of the regressor's, (N, S), or None when there is nothing to try.

        ids: (N,); regressed: (N, S), the regressor's states. A remembered state is pulled towards the regressor's by what `decay`
        leaves of it; people without one, or unseen for longer than `max_gap_s`, get the regressor's.
        """
        if self.config.decay == 0 or not self._states:
            return None
        remembered = regressed.copy()
        for row, track in enumerate(ids):
            then_ns, state = self._states.get(int(track), (None, None))
            if then_ns is not None and 0 <= stamp_ns - then_ns <= self.config.max_gap_s * 1e9:
                remembered[row] = regressed[row] + self.config.decay * (state - regressed[row])
        return remembered

    def remember(self, ids: np.ndarray, states: np.ndarray, stamp_ns: int) -> None:
        """ids: (N,); states: (N, S), where the optimisation ended."""
        if self.config.decay == 0:  # nobody will ask
            return
        self._states.update({int(track): (stamp_ns, state) for track, state in zip(ids, states)})
