"""The commands that need ROS, so that where it is missing they say what to do instead of failing at an import.

`setup.py` names these; each goes on to `main` of the module of the same name.
"""

from __future__ import annotations

import sys
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


def hmr_node() -> int:
    return _main("node")


def hmr_demo() -> int:
    return _main("demo")


def deadline_run() -> int:
    return _main("deadline_run")


def camera_publisher() -> int:
    return _main("camera_publisher")


def hmr_viewer() -> int:
    return _main("viewer")


def smpl_listener() -> int:
    return _main("examples.smpl_listener")


def separation_monitor() -> int:
    return _main("examples.separation_monitor")


def upper_body_retarget() -> int:
    return _main("examples.upper_body_retarget")
