"""REP-155 topics below /humans/bodies, where hri_msgs is installed, and frames on /tf.

Their content is computed in `rep155` and `human_urdf`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Header, String

from hmr_ros import human_urdf, rep155
from hmr_ros.rotation import rotmat_to_quat
from hmr_ros.types import Frame, Person

_BODIES = "/humans/bodies"
_BODY = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
# Late subscribers must still receive the tracked ids and the URDFs.
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_SAME_BONE_M = 0.005
"""A URDF is published again when a bone has changed by more than this: estimates of a body's shape settle with time."""


class Body:
    """A person in REP-155's terms. Joints and angles take 2 ms to compute, so this is done only once, on first use."""

    def __init__(self, person: Person, prefix: str = ""):
        """prefix: put in front of the id."""
        self.person, self.id = person, rep155.body_id(person.id, prefix)

    @cached_property
    def model(self) -> tuple[human_urdf.Joint, ...]:
        return human_urdf.model(self.person)

    @cached_property
    def angles(self) -> dict[str, float]:
        return human_urdf.joint_angles(self.person)


class HriPublisher:
    """`/humans/bodies/tracked`, and roi, skeleton2d, joint_states and urdf of every body while it is seen.

    Raises ImportError without hri_msgs.
    """

    def __init__(self, node):
        from hri_msgs import msg

        self._node, self._msg = node, msg
        self._tracked = node.create_publisher(msg.IdsList, f"{_BODIES}/tracked", _LATCHED)
        self._bodies: dict[str, dict] = {}
        self._told_bones: dict[str, np.ndarray] = {}

    def publish(self, header: Header, frame: Frame, bodies: Sequence[Body]) -> None:
        """header: the image's."""
        present = {body.id: body for body in bodies}
        for left in self._bodies.keys() - present.keys():
            self._forget(left)
        for body in bodies:
            self._publish_body(header, frame, body)
            self._tell_urdf(body)
        self._tracked.publish(self._msg.IdsList(header=header, ids=list(present)))

    def clear(self) -> None:
        """Publish that nobody is tracked any more."""
        for body_id in list(self._bodies):
            self._forget(body_id)
        self._tracked.publish(self._msg.IdsList())

    def close(self) -> None:
        for body_id in list(self._bodies):
            self._forget(body_id)
        self._node.destroy_publisher(self._tracked)

    def _publish_body(self, header: Header, frame: Frame, body: Body) -> None:
        publishers = self._bodies.get(body.id) or self._meet(body.id)
        width, height = frame.camera.width, frame.camera.height
        send = {
            "roi": lambda: self._roi(header, body.person, width, height),
            "skeleton2d": lambda: self._skeleton(header, body.person, width, height),
            "joint_states": lambda: joint_state(header, body),
        }
        for name, build in send.items():
            if publishers[name].get_subscription_count():
                publishers[name].publish(build())

    def _roi(self, header: Header, person: Person, width: int, height: int):
        xmin, ymin, xmax, ymax = rep155.region(person, width, height).tolist()
        return self._msg.NormalizedRegionOfInterest2D(
            header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=float(person.score)
        )

    def _skeleton(self, header: Header, person: Person, width: int, height: int):
        points = [
            self._msg.NormalizedPointOfInterest2D(x=x, y=y, c=c)
            for x, y, c in rep155.landmarks(person, width, height).tolist()
        ]
        return self._msg.Skeleton2D(header=header, skeleton=points)

    def _tell_urdf(self, body: Body) -> None:
        """REP-155 asks for a global parameter, which ROS 2 does not have. So the URDF is latched on the topic that hri_body_detect uses too."""
        bones, told = np.stack([joint.origin for joint in body.model]), self._told_bones.get(body.id)
        if told is None or np.abs(bones - told).max() > _SAME_BONE_M:
            self._told_bones[body.id] = bones
            self._bodies[body.id]["urdf"].publish(String(data=human_urdf.urdf(body.model, body.id)))

    def _meet(self, body_id: str) -> dict:
        kinds = {
            "roi": self._msg.NormalizedRegionOfInterest2D,
            "skeleton2d": self._msg.Skeleton2D,
            "joint_states": JointState,
        }
        self._bodies[body_id] = {
            name: self._node.create_publisher(kind, f"{_BODIES}/{body_id}/{name}", _BODY)
            for name, kind in kinds.items()
        }
        self._bodies[body_id]["urdf"] = self._node.create_publisher(String, f"{_BODIES}/{body_id}/urdf", _LATCHED)
        return self._bodies[body_id]

    def _forget(self, body_id: str) -> None:
        self._told_bones.pop(body_id, None)
        for publisher in self._bodies.pop(body_id).values():
            self._node.destroy_publisher(publisher)


def joint_state(header: Header, body: Body) -> JointState:
    """Joints of the human URDF, each with _<id> after its name."""
    names = [f"{name}_{body.id}" for name in body.angles]
    return JointState(header=header, name=names, position=list(body.angles.values()))


def body_transforms(header: Header, bodies: Iterable[Body]) -> list[TransformStamped]:
    """For each person, body_<id> in the camera's frame, and below it the links of the URDF at the present joint angles."""
    found = []
    for body in bodies:
        rotmat, origin = rep155.body_frame(body.person)
        quat = rotmat_to_quat(rotmat.astype(float)).tolist()
        found.append(_transform(header, header.frame_id, f"body_{body.id}", origin, quat))
        for joint in body.model:
            quat = joint.quat(body.angles.get(joint.name, 0.0))
            parent, child = (f"{link}_{body.id}" for link in (joint.parent, joint.child))
            found.append(_transform(header, parent, child, joint.origin, quat))
    return found


def _transform(header: Header, frame: str, child: str, origin: np.ndarray, quat) -> TransformStamped:
    x, y, z = origin.astype(float).tolist()
    rotation = dict(zip("xyzw", quat))
    return TransformStamped(
        header=Header(stamp=header.stamp, frame_id=frame),
        child_frame_id=child,
        transform=Transform(translation=Vector3(x=x, y=y, z=z), rotation=Quaternion(**rotation)),
    )
