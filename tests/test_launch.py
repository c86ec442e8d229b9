"""The launch files, read by the real launch and launch_ros, where these can be imported."""

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted((ROOT / "launch").glob("*.launch.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_docstring_says_how_to_start_it(path):
    assert f"ros2 launch hmr_ros {path.name}" in ast.get_docstring(ast.parse(path.read_text()))


@pytest.fixture(scope="module")
def hmr():
    pytest.importorskip("launch_ros", reason="launch_ros is not importable: source a ROS 2")
    spec = importlib.util.spec_from_file_location("hmr_launch", ROOT / "launch" / "hmr.launch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.share = lambda path: ROOT / path  # as colcon would install it
    return module


def started(hmr, **arguments) -> list[dict]:
    """What the file would start: one dict per process, of its executable and the parameters set by arguments."""
    from launch import LaunchContext
    from launch_ros.utilities import evaluate_parameters

    context = LaunchContext()
    given = {"params_file": str(ROOT / "config" / "hmr.yaml"), **arguments}
    for declared in hmr.generate_launch_description().get_launch_arguments():
        default = "".join(part.perform(context) for part in declared.default_value)
        context.launch_configurations[declared.name] = given.pop(declared.name, default)
    assert not given, f"no such arguments: {given}"
    processes = []
    for node in hmr.start(context):
        sets = evaluate_parameters(context, node._Node__parameters)
        parameters = {name: value for part in sets if isinstance(part, dict) for name, value in part.items()}
        processes.append({"executable": node.node_executable, **parameters})
    return processes


def test_every_argument_is_described(hmr):
    declared = hmr.generate_launch_description().get_launch_arguments()
    assert {"image", "camera_info", "namespace", "deadline_ms", "viewer", "respawn"} <= {a.name for a in declared}
    for argument in declared:
        assert argument.description.endswith((".", "...")) or "..." in argument.description, argument.name


def test_defaults_are_those_that_a_launched_node_has(hmr):
    """config/hmr.yaml overrides the node's own."""
    texts = {a.name: a.description for a in hmr.generate_launch_description().get_launch_arguments()}
    assert texts["deadline_ms"].endswith("The node's default: 0.0, in config/hmr.yaml: 100.0.")
    assert texts["max_people"].endswith("The node's default: 5.")


def test_arguments_become_parameters_of_the_right_type(hmr):
    (node,) = started(hmr, deadline_ms="30", max_people="2", publish_tf="yes", output_frame="base_link")
    assert node["tto.deadline_ms"] == 30.0 and isinstance(node["tto.deadline_ms"], float)
    assert node["keypoints.max_people"] == 2 and node["publish_tf"] is True and node["output_frame"] == "base_link"
    assert "model.bundle" not in node, "what is not said is left to the parameter file"


def test_other_inputs_are_used_where_their_topics_are_given(hmr):
    (node,) = started(hmr, depth="/camera/depth", landmarks="heavy")
    assert node["use_depth"] is True and "use_detections" not in node and node["keypoints.landmarks"] == "heavy"


def test_the_viewer_watches_the_node(hmr):
    node, viewer = started(hmr, viewer="true", name="people")
    assert (node["executable"], viewer["executable"]) == ("hmr_node", "viewer")
    assert viewer["node"] == "people" and viewer["body"] == "open"


@pytest.mark.parametrize("argument, value", [("deadline_ms", "soon"), ("publish_tf", "maybe"), ("viewer", "maybe")])
def test_nonsense_is_named(hmr, argument, value):
    with pytest.raises(ValueError, match=f"{argument}:={value}"):
        started(hmr, **{argument: value})


def test_the_demo_takes_the_nodes_arguments_too(hmr, monkeypatch):
    monkeypatch.setattr(
        "ament_index_python.packages.get_package_share_directory", lambda package: str(ROOT), raising=True
    )
    spec = importlib.util.spec_from_file_location("demo_launch", ROOT / "launch" / "demo.launch.py")
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    names = {argument.name for argument in demo.generate_launch_description().get_launch_arguments()}
    assert {"source", "rate", "deadline_ms", "viewer"} <= names
