"""What the example nodes share: running until a signal, and reading ~/poses."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import rclpy
from geometry_msgs.msg import PoseArray
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from hmr_ros.skeleton import NUM_JOINTS


def run(make_node: Callable[[], Node]) -> int:
    """Spin until SIGINT or SIGTERM. Returns the exit status: 1 when a parameter is invalid."""
    rclpy.init()
    node = None
    try:
        node = make_node()
        rclpy.spin(node)
    except (ValueError, ParameterException) as error:
        hint = "; a whole number needs a decimal point, as in 2.0" if isinstance(error, ParameterException) else ""
        print(f"{error}{hint}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if node:
            node.destroy_node()
        rclpy.try_shutdown()
    return 0


def joints_of(message: PoseArray) -> tuple[np.ndarray, np.ndarray]:
    """~/poses to numpy: positions (N, 24, 3) metres and orientations (N, 24, 4) x, y, z, w, in the message's frame."""
    rows = [
        (p.position.x, p.position.y, p.position.z, p.orientation.x, p.orientation.y, p.orientation.z, p.orientation.w)
        for p in message.poses
    ]
    poses = np.array(rows).reshape(-1, NUM_JOINTS, 7)
    return poses[..., :3], poses[..., 3:]
