"""The commands that pip and colcon install: each leads somewhere, and those that need ROS say so where it is missing."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from hmr_ros import commands

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [
    line.split(" = ")
    for node in ast.walk(ast.parse((ROOT / "setup.py").read_text()))
    if isinstance(node, ast.JoinedStr) and " = " in (line := ast.unparse(node)[2:-1].replace("{NAME}", "hmr_ros"))
]


@pytest.mark.parametrize("name, target", SCRIPTS, ids=[name for name, _ in SCRIPTS])
def test_every_command_leads_somewhere(name, target):
    module, function = target.split(":")
    assert callable(getattr(importlib.import_module(module), function))


@pytest.mark.parametrize("name, target", [s for s in SCRIPTS if "commands" in s[1]], ids=lambda text: text)
def test_without_ros_a_command_says_what_it_needs(name, target, monkeypatch, capsys):
    for module in ("rclpy", "diagnostic_msgs", "geometry_msgs", "sensor_msgs", "std_msgs"):
        monkeypatch.setitem(sys.modules, module, None)  # as good as not installed
    for module in [m for m in sys.modules if m.startswith("hmr_ros.ros")]:
        monkeypatch.delitem(sys.modules, module)
    assert getattr(commands, target.split(":")[1])() == 1
    error = capsys.readouterr().err
    assert "this needs ROS 2" in error and "hmr_ros[ros]" in error and "Traceback" not in error


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="rclpy is not importable")
def test_with_ros_it_is_the_real_one():
    code = "import sys; from hmr_ros import commands; sys.argv = ['camera_publisher', '--help']; sys.exit(commands.camera_publisher())"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert told.returncode == 0 and "real camera as `image`" in told.stdout


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is None, reason="rclpy is not importable")
@pytest.mark.parametrize("module", [m for m in commands.NODES if m != "viewer" or importlib.util.find_spec("viser")])
def test_nodes_say_how_they_are_called(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["/somewhere/a_node", "--help"])
    assert commands._main(module) == 0
    told = capsys.readouterr().out
    assert told.startswith("usage: a_node [--ros-args") and "ros2 param describe" in told
