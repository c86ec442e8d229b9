"""Reads ~/smpl into numpy and prints a line per person:  ros2 run hmr_ros smpl_listener

`read_people` is the part to copy: it needs nothing but sensor_msgs_py, which every ROS 2 installation has.
"""

from __future__ import annotations

import sys

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import PointCloud2

from hmr_ros.ros.examples.main import run
from hmr_ros.ros.smpl_cloud import cloud_to_records
from hmr_ros.skeleton import JOINT_NAMES


def read_people(cloud: PointCloud2) -> dict[str, np.ndarray]:
    """One array per field of ~/smpl, a row per person: id (N,), body_pose (N, 69) rad, betas (N, 10) and so on."""
    names = [field.name for field in cloud.fields]
    try:
        from sensor_msgs_py.point_cloud2 import read_points
    except ImportError:  # the wheels from PyPI come without it
        records = cloud_to_records(cloud)
        return {name: records[name] for name in names}
    points = read_points(cloud, skip_nans=False)
    return {field.name: _columns(points, field.name, field.count) for field in cloud.fields}


def _columns(points: np.ndarray, name: str, count: int) -> np.ndarray:
    """Joins the columns of a field: sensor_msgs_py makes one for each of its numbers, betas_0, betas_1..."""
    return points[name] if count == 1 else np.stack([points[f"{name}_{i}"] for i in range(count)], axis=-1)


class SmplListener(Node):
    def __init__(self):
        super().__init__("smpl_listener")
        subscription = self.create_subscription(PointCloud2, "hmr/smpl", self._on_people, 1)
        self.get_logger().info(f"waiting for people on {subscription.topic_name}")

    def _on_people(self, message: PointCloud2) -> None:
        for line in describe(read_people(message)):
            self.get_logger().info(line)


def describe(people: dict[str, np.ndarray]) -> list[str]:
    elbows = [3 * (JOINT_NAMES.index(f"{side}_elbow") - 1) for side in ("left", "right")]  # body_pose starts at joint 1
    lines = []
    for i, track_id in enumerate(people["id"]):
        distance_m = np.linalg.norm([people[axis][i] for axis in "xyz"])
        left, right = (np.degrees(np.linalg.norm(people["body_pose"][i, at : at + 3])) for at in elbows)
        lines.append(
            f"person {track_id}: {distance_m:.2f} m away, elbows turned by {left:.0f} and {right:.0f} degrees, "
            f"loss {people['loss_before'][i]:.3g} to {people['loss_after'][i]:.3g} in {people['steps'][i]} steps"
        )
    return lines or ["nobody"]


def main() -> int:
    return run(SmplListener)


if __name__ == "__main__":
    sys.exit(main())
