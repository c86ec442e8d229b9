"""The house rules of design.md, held by reading the imports."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUNTIME = sorted((ROOT / "hmr_ros").rglob("*.py"))
TRAINING = sorted((ROOT / "training").rglob("*.py"))
ROS = {
    "rclpy",
    "sensor_msgs",
    "geometry_msgs",
    "visualization_msgs",
    "diagnostic_msgs",
    "std_msgs",
    "tf2_msgs",
    "tf2_ros",
    "std_srvs",
    "hri_msgs",
    "cv_bridge",
}
STAGES = {"crop", "encoders", "tracker", "smoothing", "regressor", "tto", "body_model", "backends", "keypoints"}


def imports(path: Path, top_level_only: bool = False) -> set[str]:
    """Dotted names of every module that a file imports."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if top_level_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(path: Path, **kwargs) -> set[str]:
    return {name.split(".")[0] for name in imports(path, **kwargs)}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", RUNTIME, ids=name)
def test_runtime_imports_neither_torch_nor_training(path):
    assert not packages(path) & {"torch", "training", "smplx", "onnx"}


@pytest.mark.parametrize("path", [p for p in RUNTIME + TRAINING if ROOT / "hmr_ros" / "ros" not in p.parents], ids=name)
def test_only_the_ros_room_imports_ros(path):
    assert not packages(path) & ROS
    if path.parent != ROOT / "hmr_ros" / "tools":  # the demo's command starts the ROS side
        assert not any(n.startswith("hmr_ros.ros") for n in imports(path))


@pytest.mark.parametrize("path", RUNTIME, ids=name)
def test_heavy_libraries_are_imported_lazily(path):
    assert not packages(path, top_level_only=True) & {"onnxruntime", "tensorrt", "cuda", "ai_edge_litert", "rosbags"}


@pytest.mark.parametrize("library", ["onnxruntime", "tensorrt", "cuda", "ai_edge_litert"])
def test_heavy_libraries_live_in_one_file_each(library):
    assert len([path for path in RUNTIME if library in packages(path)]) <= 1


def test_stages_know_neither_pipeline_nor_factory_nor_ros():
    for path in RUNTIME:
        room = path.relative_to(ROOT / "hmr_ros").parts[0].removesuffix(".py")
        if room in STAGES:
            above = {n for n in imports(path) if n.startswith(("hmr_ros.pipeline", "hmr_ros.factory", "hmr_ros.ros"))}
            assert not above, f"{name(path)} imports {above}"


def test_only_factory_and_tools_know_concrete_backends():
    for path in RUNTIME:
        if any("onnx_runtime" in n for n in imports(path)):
            assert path.name == "factory.py"
