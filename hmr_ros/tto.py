"""Bounded test-time optimisation: a few steps of a compiled graph, under a deadline, never worse than before.

To the loop `state` is opaque: it updates the state with `adapt`, decodes it with `readout`, and keeps the best.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.config import TtoConfig
from hmr_ros.latency_estimate import LatencyEstimate
from hmr_ros.regressor import Regression
from hmr_ros.types import BodyPose, FitReport

PATIENCE = 20
"""After this many frames in a row without time for a single step, one is taken anyway, at the cost of that frame's deadline: what made
steps slow may be over..."""
MOST_PATIENCE = 1280
"""...and if it is not, the number of frames until the next such step doubles each time, up to this many."""


@dataclass(frozen=True)
class Fit:
    """The result for N people."""

    before: BodyPose
    """The regressor's output."""
    pose: BodyPose
    """The best found."""
    state: np.ndarray
    """(N, S): the state that `pose` was read from."""
    steps: np.ndarray
    """(N,) int: how often each person's own state was moved."""
    report: FitReport


class Optimiser:
    """The loop around a bundle's `adapt` and `readout` graphs. clock: seconds, monotonic; deadlines refer to it."""

    def __init__(self, adapt: Graph, readout: Graph, clock: Callable[[], float] = time.monotonic):
        self._adapt, self._readout, self._clock = adapt, readout, clock
        self._step_cost, self._readout_cost = LatencyEstimate(), LatencyEstimate()
        self._refused: dict[int, tuple[int, int]] = {}
        """By number of people: frames in a row without time for a step, and how many of them are accepted (see PATIENCE)."""

    def __call__(
        self,
        start: Regression,
        config: TtoConfig,
        deadline_s: float | None = None,
        warm: np.ndarray | None = None,
    ) -> Fit:
        """Take up to `config.max_steps` steps, none that is expected to end after `deadline_s` (on `clock`).

        warm: (N, S), states to start from instead of the regressor's, for those people whose keypoints they explain better.
        """
        began, deadline_s = self._clock(), math.inf if deadline_s is None else deadline_s
        before = self._readout(state=start.state, **start.fit_inputs)
        self._readout_cost.learn(len(start.state), self._clock() - began)
        best = _Best(start.state, before["loss"])
        if warm is not None and self._too_late(len(warm), deadline_s):
            warm = None  # no time to evaluate it
        if warm is not None:
            best.offer(warm, self._readout(state=warm, **start.fit_inputs)["loss"])
        state, previous, steps, stop = best.state.copy(), best.loss.copy(), 0, "max_steps"
        moving, taken = np.ones(len(state), bool), np.zeros(len(state), int)
        if not np.any(start.fit_inputs["confidence"] > 0):
            stop = "no_keypoints"
        while stop == "max_steps" and steps < config.max_steps:
            if self._too_late(len(state), deadline_s) and (steps or not self._dares(len(state), deadline_s)):
                stop = "deadline"
                break
            step_began = self._clock()
            stepped = self._adapt(state=state, **start.fit_inputs)
            self._step_cost.learn(len(state), self._clock() - step_began)
            loss = stepped["loss"]  # the loss of `state`; that of the new state is known one call later
            best.offer(state, loss)
            if steps:
                moving &= previous - loss >= config.tolerance * previous**2
            finite = np.isfinite(stepped["new_state"]).all(axis=1)
            if not moving.any():
                stop = "converged"
            elif not (moving & finite).any():
                stop = "diverged"
            else:
                moving &= finite
                # People who have converged (or would diverge) keep their state: further steps would only fit the detector's noise.
                # If everyone moves, the array itself is passed on: a GPU backend recognises it and skips the upload.
                moved = stepped["new_state"]
                state = moved if moving.all() else np.where(moving[:, None], moved, state)
                previous, steps, taken = loss, steps + 1, taken + moving

        answer = before if steps == 0 and warm is None else self._readout(state=state, **start.fit_inputs)
        if not np.all(answer["loss"] <= best.loss):
            best.offer(state, answer["loss"])
            state = best.state
            answer = self._readout(state=state, **start.fit_inputs)
        report = FitReport(steps, before["loss"], answer["loss"], stop, self._clock() - began)
        return Fit(_pose(before), _pose(answer), state, taken, report)

    def _too_late(self, people: int, deadline_s: float) -> bool:
        """Whether another step, and the readouts of its result and perhaps of an earlier state, would end after the deadline."""
        needed_s = self._step_cost.expect(people) + 2 * self._readout_cost.expect(people)
        late = self._clock() + needed_s > deadline_s
        if not late:
            self._refused.pop(people, None)
        return late

    def _dares(self, people: int, deadline_s: float) -> bool:
        """Whether to take a first step although it is expected to end too late: one slow step must not prevent all later ones."""
        refused, patience = self._refused.get(people, (0, PATIENCE))
        if refused < patience or self._clock() >= deadline_s:
            self._refused[people] = refused + 1, patience
            return False
        self._refused[people] = 0, min(2 * patience, MOST_PATIENCE)
        self._step_cost.forget(people)
        return True


class _Best:
    """The best state so far of each person, and its loss."""

    def __init__(self, state: np.ndarray, loss: np.ndarray):
        self.state, self.loss = state.copy(), loss.copy()

    def offer(self, state: np.ndarray, loss: np.ndarray) -> None:
        better = loss < self.loss  # NaN is never better
        self.state[better], self.loss[better] = state[better], loss[better]


def _pose(answer: dict[str, np.ndarray]) -> BodyPose:
    return BodyPose(answer["rotmat"], answer["betas"], answer["transl"])
