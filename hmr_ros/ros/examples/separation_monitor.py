"""Slows a robot near people:  ros2 run hmr_ros separation_monitor --ros-args -p link_frames:="[base_link, elbow, tool0]"

NOT a safety function, see `hmr_ros.examples.separation`. Publishes `~/distance` (m) and `~/speed_scale` (0 to 1), both
std_msgs/Float64, for every message of hmr/poses. A message for which the robot cannot be located gives `~/speed_scale` 0 at once and no
distance; after `timeout_s` without one that can be used, counted from the start too, `~/speed_scale` is 0 at 10 Hz.
"""

from __future__ import annotations

import sys

import numpy as np
from geometry_msgs.msg import PoseArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Float64

from hmr_ros.examples.separation import closest_m, speed_scale
from hmr_ros.ros.examples.main import joints_of, run


class SeparationMonitor(Node):
    def __init__(self):
        super().__init__("separation_monitor")
        self._links = self.declare_parameter("link_frames", [""]).value  # along the arm, from its base
        self._points = self.declare_parameter(
            "link_points_m", [float("nan")]
        ).value  # x y z x y z..., instead of link_frames
        self._points_frame = self.declare_parameter("link_points_frame", "").value  # "": that of the first message
        self._radius = self.declare_parameter("link_radius_m", 0.1).value
        self._stop = self.declare_parameter("stop_distance_m", 0.5).value
        self._slow = self.declare_parameter("slow_distance_m", 1.5).value
        self._walk = self.declare_parameter("human_speed_m_s", 1.6).value  # ISO 13855's walking speed
        self._timeout_s = self.declare_parameter("timeout_s", 0.5).value
        if not any(self._links) and (len(self._points) % 3 or not np.isfinite(self._points).all()):
            raise ValueError(
                "where is the robot? Give link_frames (names in tf), or link_points_m (x y z of each point, m)"
            )
        if not self._slow > self._stop:
            raise ValueError(f"slow_distance_m ({self._slow}) must be above stop_distance_m ({self._stop})")
        self._tf = self._listen_to_tf() if any(self._links) else None
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._heard = self._steady.now()
        self._distance = self.create_publisher(Float64, "~/distance", 1)
        self._scale = self.create_publisher(Float64, "~/speed_scale", 1)
        self.create_subscription(PoseArray, "hmr/poses", self._on_poses, 1)
        self.create_timer(0.1, self._watch, clock=self._steady)
        self.get_logger().warning("an example, not a safety-rated function: never rely on it to protect people")

    def _listen_to_tf(self):
        try:
            from tf2_ros import Buffer, TransformListener
        except ImportError as error:
            raise ValueError(f"link_frames needs tf2_ros ({error}): install ros-<distro>-tf2-ros-py") from None
        buffer = Buffer()
        return buffer, TransformListener(buffer, self)

    def _on_poses(self, message: PoseArray) -> None:
        links = self._robot(message)
        if links is None:
            self._scale.publish(Float64(data=0.0))
            return
        self._heard = self._steady.now()
        # A person may have come nearer since the image was taken.
        age_s = max(0.0, (self.get_clock().now() - Time.from_msg(message.header.stamp)).nanoseconds / 1e9)
        distance = closest_m(joints_of(message)[0], links, self._radius) - self._walk * age_s
        self._distance.publish(Float64(data=distance))
        self._scale.publish(Float64(data=speed_scale(distance, self._stop, self._slow)))

    def _robot(self, message: PoseArray) -> np.ndarray | None:
        """(L, 3) metres, the link frames in the frame of the poses; None where they are not known in that frame."""
        if self._tf is None:
            frame = message.header.frame_id
            self._points_frame = self._points_frame or frame
            if frame != self._points_frame:
                self._warn_lost(f"people are in the frame {frame!r}, link_points_m in {self._points_frame!r}")
                return None
            return np.array(self._points).reshape(-1, 3)
        where = []  # now, not when the image was taken: people must not be near where the robot is now
        for frame in self._links:
            try:
                found = self._tf[0].lookup_transform(message.header.frame_id, frame, Time())
            except Exception as error:  # tf2's exceptions have no common base in every distribution
                self._warn_lost(str(error))
                return None
            stamp_ns = Time.from_msg(found.header.stamp).nanoseconds  # 0: a static transform
            if stamp_ns and self.get_clock().now().nanoseconds - stamp_ns > self._timeout_s * 1e9:
                self._warn_lost(f"the newest transform of {frame} is more than {self._timeout_s} s old")
                return None
            place = found.transform.translation
            where.append((place.x, place.y, place.z))
        return np.array(where)

    def _warn_lost(self, reason: str) -> None:
        self.get_logger().warning(f"robot not located, stopping: {reason}", throttle_duration_sec=2.0)

    def _watch(self) -> None:
        if (self._steady.now() - self._heard).nanoseconds > self._timeout_s * 1e9:
            self._scale.publish(Float64(data=0.0))


def main() -> int:
    return run(SeparationMonitor)


if __name__ == "__main__":
    sys.exit(main())
