"""Start the node:  ros2 launch hmr_ros hmr.launch.py image:=/camera/image_raw camera_info:=/camera/camera_info

The node configures and activates itself (autostart:=false leaves that to a lifecycle manager). An argument left empty
keeps the value of the parameter file, or the node's default where the file has none. For several cameras, include this file
once for each, with a namespace of its own.
"""

from pathlib import Path

import yaml
from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from hmr_ros.config import PipelineConfig, describe
from hmr_ros.ros.node_config import NodeConfig

GRAPH = {
    "image": ("image", "Image topic, without /compressed."),
    "camera_info": ("camera_info", "CameraInfo topic of that camera."),
    "depth": ("", "Depth image registered to the colour image; if given, people's distance is measured (use_depth)."),
    "detections": ("", "Detection2DArray topic (vision_msgs); if given, only its boxes are searched (use_detections)."),
    "namespace": ("", "Namespace of the node and its topics; one per camera."),
    "name": ("hmr", "Name of the node; its outputs are below it: /<namespace>/<name>/smpl ..."),
}
"""Launch argument: default and description."""

SETTINGS = {
    "image_transport": "image_transport",
    "image_reliability": "image_reliability",
    "image_rectified": "image_rectified",
    "default_vertical_fov_deg": "default_vertical_fov_deg",
    "bundle": "model.bundle",
    "body": "model.body",
    "backend": "model.backend",
    "landmarks": "keypoints.landmarks",
    "keypoints_backend": "keypoints.backend",
    "max_people": "keypoints.max_people",
    "max_steps": "tto.max_steps",
    "deadline_ms": "tto.deadline_ms",
    "frame_prefix": "frame_prefix",
    "output_frame": "output_frame",
    "publish_tf": "publish_tf",
    "publish_hri": "publish_hri",
    "mesh_rate_hz": "mesh_rate_hz",
    "autostart": "autostart",
}
"""Launch argument: the node's parameter. Descriptions and types come from the config dataclasses."""

PROCESS = {
    "params_file": ("", "Parameter file (YAML); empty: config/hmr.yaml of this package."),
    "use_sim_time": ("false", "Take the time from /clock, as with Gazebo or `ros2 bag play --clock`."),
    "respawn": ("false", "Start the node again when its process ends unexpectedly."),
    "viewer": ("false", "Serve a live view to the browser (needs viser); the log says at which address."),
    "rviz": ("false", "Open RViz with every output of the node (needs rviz2)."),
    "log_level": ("info", "debug, info, warn or error."),
}

RVIZ_TOPICS = ("markers", "overlay", "poses", "mesh", "smpl")
"""Outputs that config/hmr.rviz shows, of a node named /hmr."""

ROWS = {
    name: (item, default) for config in (NodeConfig(), PipelineConfig()) for name, item, default in describe(config)
}
BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def generate_launch_description() -> LaunchDescription:
    settings = {name: ("", explain(name)) for name in SETTINGS}
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=text)
        for name, (default, text) in {**GRAPH, **settings, **PROCESS}.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=start)])


def explain(argument: str) -> str:
    item, default = ROWS[SETTINGS[argument]]
    choices = item.metadata["choices"]
    one_of = f"One of {', '.join(choices)}. " if choices else ""
    value = yaml.safe_load(share("config/hmr.yaml").read_text())["/**"]["ros__parameters"]
    for part in SETTINGS[argument].split("."):
        value = value.get(part, {})
    in_file = "" if value == {} else f", in config/hmr.yaml: {value!r}"
    return f"{item.metadata['doc']} {one_of}The node's default: {default!r}{in_file}."


def share(path: str) -> Path:
    return Path(get_package_share_directory("hmr_ros")) / path


def start(context) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context) for name in (*GRAPH, *SETTINGS, *PROCESS)}
    settings = {SETTINGS[name]: parse(name, given[name]) for name in SETTINGS if given[name]}
    sides = {topic: given[topic] for topic in ("depth", "detections") if given[topic]}
    settings |= {f"use_{topic}": True for topic in sides}
    use_sim_time = {"use_sim_time": boolean("use_sim_time", given)}
    params_file = given["params_file"] or str(share("config/hmr.yaml"))
    logger = ".".join(filter(None, [*given["namespace"].split("/"), given["name"]]))
    common = {
        "package": "hmr_ros",
        "namespace": given["namespace"],
        "output": "screen",
        "respawn": boolean("respawn", given),
        "respawn_delay": 2.0,
    }
    node = Node(
        executable="hmr_node",
        name=given["name"],
        parameters=[params_file, settings, use_sim_time],
        remappings=[("image", given["image"]), ("camera_info", given["camera_info"]), *sides.items()],
        arguments=["--ros-args", "--log-level", f"{logger}:={given['log_level']}"],
        **common,
    )
    windows = [rviz(given, use_sim_time)] if boolean("rviz", given) else []
    if not boolean("viewer", given):
        return [node, *windows]
    watch = {"node": given["name"], "body": given["body"] or ROWS[SETTINGS["body"]][1]}
    viewer = Node(
        executable="viewer",
        name=f"{given['name']}_viewer",
        parameters=[watch, use_sim_time],
        remappings=[("camera_info", given["camera_info"])],
        **common,
    )
    return [node, viewer, *windows]


def rviz(given: dict[str, str], use_sim_time: dict[str, bool]) -> Node:
    outputs = "/".join(["", *filter(None, given["namespace"].split("/")), given["name"]])
    frame = ["-f", given["output_frame"]] if given["output_frame"] else []  # else the camera's, as the file says
    return Node(
        package="rviz2",
        executable="rviz2",
        name=f"{given['name']}_rviz",
        arguments=["-d", str(share("config/hmr.rviz")), *frame],
        parameters=[use_sim_time],
        remappings=[(f"/hmr/{topic}", f"{outputs}/{topic}") for topic in RVIZ_TOPICS],
        output="log",
    )


def parse(argument: str, text: str):
    """Convert the text of an argument to its parameter's type, so that deadline_ms:=30 is 30.0."""
    kind = type(ROWS[SETTINGS[argument]][1])
    try:
        return BOOLEANS[text.lower()] if kind is bool else kind(text)
    except (KeyError, ValueError):
        raise ValueError(f"launch argument {argument}:={text}: expected a {kind.__name__}") from None


def boolean(argument: str, given: dict[str, str]) -> bool:
    try:
        return BOOLEANS[given[argument].lower()]
    except KeyError:
        raise ValueError(f"launch argument {argument}:={given[argument]}: expected true or false") from None
