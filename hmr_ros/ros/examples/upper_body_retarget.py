"""Moves the arms of assets/examples/two_arm.urdf as the nearest person does:  ros2 run hmr_ros upper_body_retarget

Publishes `joint_states` (sensor_msgs/JointState) for robot_state_publisher or a controller, with the image's stamp.
"""

from __future__ import annotations

import sys

import numpy as np
from geometry_msgs.msg import PoseArray
from rclpy.node import Node
from rclpy.time import Time
from sensor_msgs.msg import JointState

from hmr_ros.examples.retarget import JOINTS, arm_angles, step_towards
from hmr_ros.ros.examples.main import joints_of, run
from hmr_ros.rotation import quat_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES

CHEST = JOINT_NAMES.index("spine3")


class UpperBodyRetarget(Node):
    def __init__(self):
        super().__init__("upper_body_retarget")
        self._max_speed = self.declare_parameter("max_speed_rad_s", 3.0).value
        self._angles = np.zeros(len(JOINTS))
        self._stamp_ns: int | None = None
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self.create_subscription(PoseArray, "hmr/poses", self._on_poses, 1)

    def _on_poses(self, message: PoseArray) -> None:
        """While nobody is seen, the arms stay as they are."""
        positions, orientations = joints_of(message)
        stamp_ns = Time.from_msg(message.header.stamp).nanoseconds
        passed_s = 0.0 if self._stamp_ns is None else (stamp_ns - self._stamp_ns) / 1e9
        self._stamp_ns = stamp_ns
        if not len(positions):
            return
        nearest = int(np.argmin(np.linalg.norm(positions[:, 0], axis=-1)))
        chest = quat_to_rotmat(orientations[nearest, CHEST])
        target = arm_angles(positions[nearest], chest, self._angles)
        # After a pause, or when time jumps, the arms still move no further than in a tenth of a second.
        self._angles = step_towards(self._angles, target, self._max_speed * float(np.clip(passed_s, 0.0, 0.1)))
        state = JointState(name=list(JOINTS), position=self._angles.tolist())
        state.header.stamp = message.header.stamp
        self._states.publish(state)


def main() -> int:
    return run(UpperBodyRetarget)


if __name__ == "__main__":
    sys.exit(main())
