"""ROS parameters made from the config dataclasses: names, types, bounds and descriptions are defined only there."""

from __future__ import annotations

from dataclasses import dataclass, field

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException

from hmr_ros.config import ConfigError, PipelineConfig, describe, replace
from hmr_ros.options import nearest
from hmr_ros.ros.node_config import NodeConfig

_FIXED = "takes effect at configure; cannot change while configured"
_NOT_OURS = ("use_sim_time", "qos_overrides.", "start_type_description_service")
"""Parameters that rclpy itself declares, some of them later."""
_INT_MAX = 2**63 - 1


@dataclass(frozen=True)
class Settings:
    """Everything that parameters can set. Names from `NodeConfig` have no prefix; those from the core begin with their stage's name."""

    node: NodeConfig = field(default_factory=NodeConfig)
    core: PipelineConfig = field(default_factory=PipelineConfig)

    def values(self) -> dict[str, object]:
        return {name: value for part in (self.node, self.core) for name, _, value in describe(part)}

    def with_changes(self, changes: dict[str, object]) -> Settings:
        """A copy with some parameters set. Raises ConfigError."""
        core = {name: value for name, value in changes.items() if "." in name}
        node = {name: value for name, value in changes.items() if "." not in name}
        return Settings(replace(self.node, node), replace(self.core, core))


def rows() -> dict[str, tuple]:
    """Parameter name: (dataclass field, default)."""
    defaults = Settings()
    return {name: (item, value) for part in (defaults.node, defaults.core) for name, item, value in describe(part)}


def declare(node) -> Settings:
    """Declare every parameter and return what they hold. Raises ConfigError for a value of the wrong type or range."""
    return Settings().with_changes(declare_rows(node, rows()))


def declare_rows(node, known: dict[str, tuple]) -> dict[str, object]:
    """Declare these parameters, in the form of `rows`, and return their values. Raises ConfigError. Warns of others that were set."""
    values = {}
    for name, (item, default) in known.items():
        try:
            values[name] = node.declare_parameter(name, default, descriptor(item, default)).value
        except InvalidParameterTypeException as error:
            hint = ", and a whole number needs a decimal point, as in 30.0" if isinstance(default, float) else ""
            raise ConfigError(f"parameter {name} must be a {type(default).__name__}{hint}: {error}") from error
        except InvalidParameterValueException as error:
            meta = item.metadata
            raise ConfigError(
                f"parameter {name}: must lie between {meta['low']} and {meta['high']}: {error}"
            ) from error
    for name in unknown(node, known):
        node.get_logger().warning(f"parameter {name} is set, but there is none of that name: {nearest(name, known)}")
    return values


def unknown(node, known: dict[str, tuple]) -> list[str]:
    """Parameters set for this node that it does not have: mostly misspelt, and ROS ignores them silently."""
    given = getattr(node, "_parameter_overrides", {})
    return [
        name for name in given if name not in known and not name.startswith(_NOT_OURS) and not node.has_parameter(name)
    ]


def descriptor(item, default) -> ParameterDescriptor:
    meta = item.metadata
    choices, low, high = meta.get("choices"), meta.get("low"), meta.get("high")
    constraints = [] if meta.get("dynamic") else [_FIXED]
    if choices:
        constraints.insert(0, f"one of {', '.join(choices)}")
    message = ParameterDescriptor(description=meta.get("doc", ""), additional_constraints="; ".join(constraints))
    message.read_only = meta.get("read_only", False)
    if isinstance(default, bool) or (low is None and high is None):
        return message
    if isinstance(default, int):
        bounds = (-_INT_MAX if low is None else low, _INT_MAX if high is None else high)
        message.integer_range = [IntegerRange(from_value=bounds[0], to_value=bounds[1], step=1)]
    else:
        bounds = (float("-inf") if low is None else float(low), float("inf") if high is None else float(high))
        message.floating_point_range = [FloatingPointRange(from_value=bounds[0], to_value=bounds[1], step=0.0)]
    return message


def change(settings: Settings, parameters, configured: bool) -> tuple[Settings, SetParametersResult]:
    """The settings with these parameters changed, or the old settings and the reason for refusing.

    Parameters that are not ours (use_sim_time, qos overrides) are left to rclpy.
    """
    known = rows()
    changes = {p.name: p.value for p in parameters if p.name in known}
    now = settings.values()
    for name, value in changes.items():
        if configured and value != now[name] and not known[name][0].metadata.get("dynamic"):
            reason = f"{name} {_FIXED}: deactivate and clean up the node, set it, then configure again"
            return settings, SetParametersResult(successful=False, reason=reason)
    try:
        return settings.with_changes(changes), SetParametersResult(successful=True)
    except ConfigError as error:
        return settings, SetParametersResult(successful=False, reason=str(error))
