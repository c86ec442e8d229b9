"""Entry points of the commands that need ROS: without it they say what to do, instead of failing at an import.

`setup.py` refers to these; each calls `main` of a module in `hmr_ros.ros`.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module
from pathlib import Path

NODES = ("node", "viewer", "examples.smpl_listener", "examples.separation_monitor", "examples.upper_body_retarget")
USAGE = """usage: {name} [--ros-args -p PARAMETER:=VALUE -r FROM:=TO ...]

{about}

A node: `ros2 param describe` explains its parameters while it runs, docs/reference.md and docs/examples.md without."""


def _main(module: str) -> int:
    """Run it; or, for nodes, whose arguments are ROS's, answer --help."""
    try:
        main = import_module(f"hmr_ros.ros.{module}").main
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("hmr_ros"):
            raise
        print(
            f"{module.rsplit('.', 1)[-1]}: this needs ROS 2, and {error.name} cannot be imported: source "
            "/opt/ros/<distro>/setup.bash, or without a ROS install `pip install 'hmr_ros[ros]'` (from the checkout: `'.[ros]'`)",
            file=sys.stderr,
        )
        return 1
    if module in NODES and {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE.format(name=Path(sys.argv[0]).name, about=(sys.modules[main.__module__].__doc__ or "").strip()))
        return 0
    return main()


hmr_node = partial(_main, "node")
hmr_demo = partial(_main, "demo")
deadline_run = partial(_main, "deadline_run")
camera_publisher = partial(_main, "camera_publisher")
hmr_viewer = partial(_main, "viewer")
smpl_listener = partial(_main, "examples.smpl_listener")
separation_monitor = partial(_main, "examples.separation_monitor")
upper_body_retarget = partial(_main, "examples.upper_body_retarget")
