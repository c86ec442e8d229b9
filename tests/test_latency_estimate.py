"""Laws of the costs that a deadline is kept with."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hmr_ros.latency_estimate import WINDOW, LatencyEstimate


@given(st.lists(st.floats(0, 10), min_size=1, max_size=300))
def test_expects_what_all_but_one_in_twenty_of_the_last_did_not_exceed(measured):
    cost = LatencyEstimate()
    for value in measured:
        cost.learn(1, value)
    last = np.array(measured[-WINDOW:])
    assert cost.expect(1) in last
    assert 0.95 <= (last <= cost.expect(1)).mean() and (last > cost.expect(1)).mean() <= 0.05


def test_one_hiccup_is_not_the_rule():
    cost = LatencyEstimate()
    for i in range(100):
        cost.learn(1, 1.0 if i % 25 == 0 else 0.001)
    assert cost.expect(1) == 0.001


def test_each_number_of_people_has_a_cost_of_its_own_and_unknown_ones_the_most_known():
    cost = LatencyEstimate()
    assert cost.expect(3) == 0
    cost.learn(1, 0.1)
    cost.learn(8, 0.4)
    assert (cost.expect(1), cost.expect(8), cost.expect(3)) == (0.1, 0.4, 0.4)
