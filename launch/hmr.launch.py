"""Start the node:  ros2 launch hmr_ros hmr.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info

The node configures and activates itself (autostart:=false leaves that to a lifecycle manager). Arguments left empty keep
what the parameter file says, and what that does not say is the node's default.
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from hmr_ros.config import PipelineConfig, describe
from hmr_ros.ros.node_config import NodeConfig

SETTINGS = {
    "bundle": "model.bundle",
    "body": "model.body",
    "backend": "model.backend",
    "max_people": "keypoints.max_people",
    "max_steps": "tto.max_steps",
    "deadline_ms": "tto.deadline_ms",
    "image_transport": "image_transport",
    "image_reliability": "image_reliability",
    "image_rectified": "image_rectified",
    "default_vertical_fov_deg": "default_vertical_fov_deg",
    "publish_tf": "publish_tf",
    "autostart": "autostart",
}
"""Launch argument: the node's parameter. Descriptions and types come from the config dataclasses."""

ROWS = {
    name: (item, default) for config in (NodeConfig(), PipelineConfig()) for name, item, default in describe(config)
}
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def generate_launch_description() -> LaunchDescription:
    params_file = str(Path(get_package_share_directory("hmr_ros")) / "config" / "hmr.yaml")
    arguments = [
        DeclareLaunchArgument("image", default_value="image", description="Image topic, without /compressed."),
        DeclareLaunchArgument(
            "camera_info", default_value="camera_info", description="CameraInfo topic of that camera."
        ),
        DeclareLaunchArgument("namespace", default_value="", description="Namespace of the node and its topics."),
        DeclareLaunchArgument("name", default_value="hmr", description="Name of the node; outputs are below it."),
        DeclareLaunchArgument("params_file", default_value=params_file, description="Parameter file (YAML)."),
        DeclareLaunchArgument("use_sim_time", default_value="false", description="Take the time from /clock."),
        DeclareLaunchArgument("log_level", default_value="info", description="debug, info, warn or error."),
    ]
    arguments += [DeclareLaunchArgument(name, default_value="", description=explain(name)) for name in SETTINGS]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def explain(argument: str) -> str:
    item, default = ROWS[SETTINGS[argument]]
    choices = item.metadata["choices"]
    one_of = f"One of {', '.join(choices)}. " if choices else ""
    return f"{item.metadata['doc']} {one_of}Default: {default!r}."


def start(context) -> list[Node]:
    def value(name: str) -> str:
        return LaunchConfiguration(name).perform(context)

    settings = {parameter: parse(name, value(name)) for name, parameter in SETTINGS.items() if value(name)}
    settings["use_sim_time"] = BOOLEANS[value("use_sim_time").lower()]
    logger = ".".join(filter(None, [*value("namespace").split("/"), value("name")]))
    node = Node(
        package="hmr_ros",
        executable="hmr_node",
        name=value("name"),
        namespace=value("namespace"),
        parameters=[value("params_file"), settings],
        remappings=[("image", value("image")), ("camera_info", value("camera_info"))],
        arguments=["--ros-args", "--log-level", f"{logger}:={value('log_level')}"],
        output="screen",
    )
    return [node]


def parse(argument: str, text: str):
    """The text of an argument as the type its parameter has, so that deadline_ms:=30 is 30.0."""
    kind = type(ROWS[SETTINGS[argument]][1])
    try:
        return BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ValueError(f"launch argument {argument}:={text}: expected a {kind.__name__}") from None
