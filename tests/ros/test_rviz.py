"""config/hmr.rviz: readable, and every topic in it is one that the node publishes, as the type that the display shows."""

from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="rclpy is not importable: source a ROS 2, or pip install '.[ros]'")

from geometry_msgs.msg import PoseArray
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import MarkerArray

from hmr_ros.ros.camera_publisher import FRAME_ID
from hmr_ros.ros.publishers import TOPIC_TYPES

ROOT = Path(__file__).resolve().parents[2]
SHOWS = {"MarkerArray": MarkerArray, "Image": Image, "PoseArray": PoseArray, "PointCloud2": PointCloud2}
"""The message of each of rviz_default_plugins' displays."""

SPEECHLESS = {"joint_states"}
"""Outputs that RViz has no display for."""


@pytest.fixture(scope="module")
def manager():
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: pip install '.[test]'")
    return yaml.safe_load((ROOT / "config/hmr.rviz").read_text())["Visualization Manager"]


def test_every_output_is_shown_as_what_it_is(manager):
    shown = {}
    for display in manager["Displays"]:
        if "Topic" in display:
            start, name = display["Topic"]["Value"].rsplit("/", 1)
            assert start == "/hmr"
            shown[name] = SHOWS[display["Class"].removeprefix("rviz_default_plugins/")]
    assert shown == {name: kind for name, kind in TOPIC_TYPES.items() if name not in SPEECHLESS}


def test_displays_ask_for_what_the_node_offers(manager):
    for display in manager["Displays"]:
        topic = display.get("Topic", {"Reliability Policy": "Reliable", "Durability Policy": "Volatile"})
        assert (topic["Reliability Policy"], topic["Durability Policy"]) == ("Reliable", "Volatile"), display["Name"]
        assert display["Enabled"] == display["Value"], "RViz goes by Enabled, its file dialog by Value"


def test_the_fixed_frame_is_the_demos(manager):
    assert manager["Global Options"]["Fixed Frame"] == FRAME_ID


def test_markers_name_every_namespace(manager):
    from fake_node import person
    from std_msgs.msg import Header

    from hmr_ros.ros.messages import deletions

    (markers,) = [d for d in manager["Displays"] if d["Class"].endswith("MarkerArray")]
    assert set(markers["Namespaces"]) == {m.ns for m in deletions(Header(), [person().id])}


def test_the_launch_file_remaps_what_the_file_shows(manager):
    import ast

    source = ast.parse((ROOT / "launch/hmr.launch.py").read_text())
    (value,) = [
        ast.literal_eval(node.value)
        for node in source.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "RVIZ_TOPICS"
    ]
    assert sorted(value) == sorted(d["Topic"]["Value"].rsplit("/", 1)[1] for d in manager["Displays"] if "Topic" in d)
