"""Laws of the bounded loop, on the shipped bundle's real graphs; only clocks are fake."""

import dataclasses

import numpy as np
import pytest

from hmr_ros.config import ModelConfig, TtoConfig
from hmr_ros.factory import load_model, make_regressor
from hmr_ros.regressor import Observation
from hmr_ros.tto import Optimiser
from hmr_ros.types import STOP_REASONS


@pytest.fixture(scope="module")
def model():
    body, bundle, graphs = load_model(ModelConfig())
    return make_regressor(bundle, graphs), graphs


def observation(people: int, seed: int = 0) -> Observation:
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(-0.8, 0.8, (people, 23, 2)).astype(np.float32)
    confidence = rng.uniform(0.5, 1, (people, 23)).astype(np.float32)
    bbox_info = np.concatenate([rng.normal(0, 0.2, (people, 2)), rng.uniform(0.2, 1, (people, 1))], 1).astype(
        np.float32
    )
    keypoints_3d = rng.normal(0, 0.4, (people, 23, 3)).astype(np.float32)
    return Observation(keypoints, confidence, keypoints_3d, np.ones_like(confidence), bbox_info)


class Clock:
    """Seconds that pass only when something is computed."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def costing(self, graph, seconds: float):
        def call(**inputs):
            self.now += seconds
            return graph(**inputs)

        return call


@pytest.mark.parametrize("people", [1, 2, 5])
@pytest.mark.parametrize("steps", [0, 1, 5, 14])
def test_never_returns_worse_than_it_received(model, people, steps):
    regressor, graphs = model
    for seed in range(5):
        fit = Optimiser(graphs["adapt"], graphs["readout"])(
            regressor(observation(people, seed)), TtoConfig(max_steps=steps)
        )
        assert np.all(fit.report.loss_after <= fit.report.loss_before)
        assert fit.report.steps <= steps
        assert fit.report.stop in STOP_REASONS


def test_reported_loss_is_the_loss_of_what_is_returned(model):
    regressor, graphs = model
    start = regressor(observation(3))
    seen = []

    def adapt(**inputs):
        seen.append(inputs["state"])
        return graphs["adapt"](**inputs)

    fit = Optimiser(adapt, graphs["readout"])(start, TtoConfig(max_steps=4, tolerance=0.0))
    candidates = [graphs["readout"](state=state, **start.fit_inputs) for state in seen]
    for person in range(3):
        assert fit.report.loss_after[person] <= min(c["loss"][person] for c in candidates) + 1e-6
    assert fit.report.steps == 4


def test_people_do_not_influence_each_other(model):
    regressor, graphs = model
    together = observation(4)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    fit = optimiser(regressor(together), TtoConfig(max_steps=5, tolerance=0.0))
    for i in range(4):
        alone = Observation(*(a[i : i + 1] for a in vars(together).values()))
        single = optimiser(regressor(alone), TtoConfig(max_steps=5, tolerance=0.0))
        np.testing.assert_allclose(fit.pose.rotmat[i], single.pose.rotmat[0], atol=2e-4)
        np.testing.assert_allclose(fit.pose.transl[i], single.pose.transl[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("budget_ms", [0.5, 3, 5.5, 11])
def test_deadline_holds(model, budget_ms):
    regressor, graphs = model
    clock = Clock()
    optimiser = Optimiser(clock.costing(graphs["adapt"], 0.001), clock.costing(graphs["readout"], 0.0005), clock=clock)
    start = regressor(observation(1))
    optimiser(start, TtoConfig(max_steps=3, tolerance=0.0))  # learns what a step costs
    began = clock.now
    never_converged = TtoConfig(max_steps=50, tolerance=-np.inf)
    fit = optimiser(start, never_converged, deadline_s=began + budget_ms / 1000)
    assert fit.report.stop == "deadline"
    assert clock.now - began <= max(budget_ms / 1000, 0.0005) + 1e-9  # a readout is the price of an answer at all
    if budget_ms >= 3:
        assert fit.report.steps >= 1


def test_one_slow_step_is_not_the_last_for_ever(model):
    """A hiccup makes the loop fear the next step; frames that refuse it forget the fear."""
    regressor, graphs = model
    clock, start = Clock(), regressor(observation(1))
    costs = iter([0.5])
    adapt = lambda **inputs: clock.costing(graphs["adapt"], next(costs, 0.001))(**inputs)  # noqa: E731
    optimiser = Optimiser(adapt, graphs["readout"], clock=clock)
    fits = [optimiser(start, TtoConfig(tolerance=0.0), deadline_s=clock.now + 0.02) for _ in range(60)]
    assert fits[1].report.steps == 0 and fits[-1].report.steps > 5


def test_when_no_step_fits_the_regressors_answer_is_returned(model):
    regressor, graphs = model
    start = regressor(observation(2))
    fit = Optimiser(graphs["adapt"], graphs["readout"], clock=lambda: 1.0)(start, TtoConfig(), deadline_s=0.5)
    assert (fit.report.steps, fit.report.stop) == (0, "deadline")
    np.testing.assert_array_equal(fit.pose.rotmat, fit.before.rotmat)
    np.testing.assert_array_equal(fit.report.loss_after, fit.report.loss_before)


@pytest.mark.parametrize("past", [False, True])
def test_where_no_step_ever_fits_ever_fewer_frames_are_late(model, past):
    """And none is made later whose deadline has passed before the loop begins."""
    regressor, graphs = model
    clock, start = Clock(), regressor(observation(1))
    answers = (
        graphs["adapt"](state=start.state, **start.fit_inputs),
        graphs["readout"](state=start.state, **start.fit_inputs),
    )
    adapt, readout = (
        clock.costing(lambda answer=answer, **_: answer, cost) for answer, cost in zip(answers, (1.0, 0.1))
    )
    optimiser, tried = Optimiser(adapt, readout, clock=clock), []
    for frame in range(1000):
        clock.now += 30
        fit = optimiser(start, TtoConfig(tolerance=0.0), deadline_s=clock.now + (0.05 if past else 0.8))
        tried += [frame] * (fit.report.steps > 0)
    assert np.all(np.diff(tried, n=2) > 0), "each pause is longer than the one before"
    assert len(tried) <= (0 if past else 7)


def test_a_better_start_is_taken_and_a_worse_one_is_not(model):
    regressor, graphs = model
    start = regressor(observation(2))
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    settled = optimiser(start, TtoConfig(max_steps=14, tolerance=0.0))
    warm = settled.state.copy()
    warm[1] += 1.0  # nonsense for the second person
    cold, warmed = (optimiser(start, TtoConfig(max_steps=1), warm=w) for w in (None, warm))
    assert warmed.report.loss_after[0] <= settled.report.loss_after[0] + 1e-6 < cold.report.loss_after[0]
    np.testing.assert_allclose(warmed.report.loss_after[1], cold.report.loss_after[1], rtol=1e-4)
    np.testing.assert_allclose(warmed.report.loss_before, cold.report.loss_before)


def test_the_returned_state_is_where_the_pose_was_read(model):
    regressor, graphs = model
    start = regressor(observation(3))
    fit = Optimiser(graphs["adapt"], graphs["readout"])(start, TtoConfig(max_steps=6, tolerance=0.0))
    again = graphs["readout"](state=fit.state, **start.fit_inputs)
    np.testing.assert_allclose(again["loss"], fit.report.loss_after, rtol=1e-4, atol=1e-6)


def test_stops_when_converged(model):
    regressor, graphs = model
    fit = Optimiser(graphs["adapt"], graphs["readout"])(
        regressor(observation(1)), TtoConfig(max_steps=50, tolerance=0.5)
    )
    assert fit.report.stop == "converged"
    assert fit.report.steps <= 2


def test_a_diverging_step_is_not_taken(model):
    regressor, graphs = model

    def broken(**inputs):
        answer = graphs["adapt"](**inputs)
        return {**answer, "new_state": answer["new_state"] * np.nan}

    fit = Optimiser(broken, graphs["readout"])(regressor(observation(1)), TtoConfig())
    assert (fit.report.stop, fit.report.steps) == ("diverged", 0)
    assert np.isfinite(fit.pose.rotmat).all()


def test_one_person_who_diverges_leaves_the_others_their_steps(model):
    regressor, graphs = model
    start = regressor(observation(3))

    def broken(**inputs):
        answer = graphs["adapt"](**inputs)
        new_state = answer["new_state"].copy()
        new_state[1] = np.inf
        return {**answer, "new_state": new_state}

    config = TtoConfig(max_steps=5, tolerance=0.0)
    fit, whole = (Optimiser(adapt, graphs["readout"])(start, config) for adapt in (broken, graphs["adapt"]))
    assert (fit.report.stop, fit.report.steps) == ("max_steps", 5) and np.isfinite(fit.pose.rotmat).all()
    np.testing.assert_allclose(fit.report.loss_after[[0, 2]], whole.report.loss_after[[0, 2]], rtol=1e-5)
    assert fit.report.loss_after[1] == fit.report.loss_before[1]
    assert fit.steps.tolist() == [5, 0, 5]


def test_everybody_has_as_many_steps_as_alone(model):
    regressor, graphs = model
    together, config = observation(6, seed=3), TtoConfig(max_steps=20, tolerance=0.05)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    fit = optimiser(regressor(together), config)
    alone = [Observation(*(a[i : i + 1] for a in vars(together).values())) for i in range(6)]
    steps = [optimiser(regressor(one), config).report.steps for one in alone]
    assert len(set(steps)) > 1 and fit.steps.tolist() == steps
    assert fit.report.steps == max(steps)


def test_nothing_to_fit_without_keypoints(model):
    regressor, graphs = model
    seen = observation(1)
    blind = dataclasses.replace(seen, confidence=seen.confidence * 0)
    fit = Optimiser(graphs["adapt"], graphs["readout"])(regressor(blind), TtoConfig())
    assert (fit.report.stop, fit.report.steps) == ("no_keypoints", 0)
