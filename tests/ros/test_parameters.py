"""Parameters are the config dataclasses, told in ROS."""

import dataclasses

import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from rclpy.parameter import Parameter

from hmr_ros.config import ConfigError
from hmr_ros.ros import parameters
from hmr_ros.ros.parameters import Settings


@pytest.fixture
def make_node(ros):
    nodes = []

    def make(**overrides):
        values = [Parameter(name.replace("__", "."), value=value) for name, value in overrides.items()]
        nodes.append(ros.create_node("parameters", parameter_overrides=values))
        return nodes[-1]

    yield make
    for node in nodes:
        node.destroy_node()


def test_every_setting_is_a_described_parameter(make_node):
    node = make_node()
    assert parameters.declare(node) == Settings()
    for name, (item, default) in parameters.rows().items():
        assert node.get_parameter(name).value == default
        told = node.describe_parameter(name)
        assert told.description == item.metadata["doc"]
        for choice in item.metadata.get("choices") or ():
            assert choice in told.additional_constraints
        assert ("configure" in told.additional_constraints) != item.metadata["dynamic"]
        if item.metadata["low"] is not None:
            (bounds,) = told.integer_range if isinstance(default, int) else told.floating_point_range
            assert bounds.from_value == item.metadata["low"] and bounds.to_value == item.metadata["high"]


def test_overrides_reach_the_settings(make_node):
    settings = parameters.declare(make_node(tto__max_steps=7, image_transport="compressed"))
    assert settings.core.tto.max_steps == 7 and settings.node.image_transport == "compressed"


def test_a_misspelt_parameter_is_said_with_the_nearest_name(make_node, capfd):
    parameters.declare(make_node(tto__deadline=50.0, publish_ft=True, use_sim_time=False))
    said = capfd.readouterr().err
    assert "parameter tto.deadline is set, but there is none of that name: did you mean tto.deadline_ms?" in said
    assert "publish_ft" in said and "publish_tf?" in said and "use_sim_time" not in said


@pytest.mark.parametrize(
    "override, reason",
    [
        ({"tto__deadline_ms": 30}, "decimal point, as in 30.0"),
        ({"tto__deadline_ms": -1.0}, "must lie between 0.0 and 10000.0"),
        ({"tto__max_steps": "many"}, "must be a int"),
        ({"image_transport": "pigeon"}, "choose one of raw, compressed"),
        ({"mesh_rate_hz": float("nan")}, "mesh_rate_hz"),
    ],
)
def test_wrong_overrides_are_refused_by_name(make_node, override, reason):
    with pytest.raises(ConfigError, match=reason) as error:
        parameters.declare(make_node(**override))
    assert next(iter(override)).replace("__", ".") in str(error.value)


@pytest.mark.parametrize(
    "name, value, configured, reason",
    [
        ("tto.max_steps", 3, True, ""),
        ("model.bundle", "elsewhere", False, ""),
        ("model.bundle", "elsewhere", True, "clean up the node"),
        ("model.bundle", Settings().core.model.bundle, True, ""),
        ("tto.max_steps", 1000, True, "must lie between 0 and 50"),
        ("image_reliability", "perhaps", False, "choose one of auto, reliable, best_effort"),
        ("use_sim_time", True, True, ""),
    ],
)
def test_changes(name, value, configured, reason):
    old = Settings()
    new, result = parameters.change(old, [Parameter(name, value=value)], configured)
    assert result.successful == (not reason) and reason in result.reason
    if reason:
        assert new == old
    elif name in new.values():
        assert new.values()[name] == value


def test_one_bad_change_refuses_all():
    changes = [Parameter("tto.max_steps", value=3), Parameter("tto.tolerance", value=-7.0)]
    new, result = parameters.change(Settings(), changes, True)
    assert not result.successful and new == Settings()


def test_names_of_both_configs_do_not_meet():
    settings = Settings()
    own = {f.name for f in dataclasses.fields(settings.node)}
    assert not own & {f.name for f in dataclasses.fields(settings.core)}
