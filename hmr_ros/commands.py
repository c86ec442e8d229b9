"""Entry points of the commands that need ROS: without it they say what to do, instead of failing at an import.

`setup.py` refers to these; each calls `main` of a module in `hmr_ros.ros`.
"""

from __future__ import annotations

import sys
from functools import partial
from importlib import import_module


def _main(module: str) -> int:
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
    return main()


hmr_node = partial(_main, "node")
hmr_demo = partial(_main, "demo")
deadline_run = partial(_main, "deadline_run")
camera_publisher = partial(_main, "camera_publisher")
hmr_viewer = partial(_main, "viewer")
smpl_listener = partial(_main, "examples.smpl_listener")
separation_monitor = partial(_main, "examples.separation_monitor")
upper_body_retarget = partial(_main, "examples.upper_body_retarget")
