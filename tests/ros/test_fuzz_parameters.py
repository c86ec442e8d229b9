"""Whatever a client sets: it is taken as it was given, or refused with a reason; the node goes on. See ../test_fuzz.py."""

import os

import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rclpy.exceptions import ParameterNotDeclaredException
from rclpy.parameter import Parameter

from hmr_ros.ros import parameters

NAMES = [*parameters.rows(), "use_sim_time", "no.such"]
values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**63 - 1), st.integers(-2, 60), st.floats(), st.floats(0, 20), st.text(max_size=20),
    st.sampled_from(["raw", "auto", "blazepose", "default"]), st.lists(st.integers(0, 255), min_size=1, max_size=3),
    st.none(),
)  # fmt: skip


@pytest.fixture(scope="module")
def declared(ros):
    """A node with all parameters, that takes changes as ours does."""
    node = ros.create_node("fuzz_parameters")
    node.settings = parameters.declare(node)

    def change(changes):
        node.settings, result = parameters.change(node.settings, changes, configured=True)
        return result

    node.add_on_set_parameters_callback(change)
    yield node
    node.destroy_node()


@settings(
    max_examples=int(os.environ.get("HMR_FUZZ_EXAMPLES", "60")), deadline=None, database=None,
    suppress_health_check=[HealthCheck.too_slow],
)  # fmt: skip
@given(st.dictionaries(st.sampled_from(NAMES), values, min_size=1, max_size=3))
def test_fuzz_parameters(declared, changes):
    before = declared.settings
    try:
        result = declared.set_parameters_atomically([Parameter(name, value=value) for name, value in changes.items()])
    except ParameterNotDeclaredException:
        assert "no.such" in changes  # of rclpy: services answer so for themselves
        return
    if not result.successful:
        assert result.reason and declared.settings == before
        return
    now = declared.settings.values()
    for name, value in changes.items():
        if name in now:
            assert now[name] == value == declared.get_parameter(name).value
