"""REP-155 topics below /humans/bodies, where hri_msgs is installed. It is imported here alone; what they say is in `rep155`."""

from __future__ import annotations

from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from hmr_ros import rep155
from hmr_ros.rotation import rotmat_to_quat
from hmr_ros.types import Frame, Person

_BODIES = "/humans/bodies"
_BODY = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
# Who asks late must hear who is there now.
_TRACKED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class HriPublisher:
    """`/humans/bodies/tracked`, and roi, skeleton2d and joint_states of every body while it is seen.

    Raises ImportError without hri_msgs.
    """

    def __init__(self, node):
        from hri_msgs import msg

        self._node, self._msg = node, msg
        self._tracked = node.create_publisher(msg.IdsList, f"{_BODIES}/tracked", _TRACKED)
        self._bodies: dict[str, dict] = {}

    def publish(self, header: Header, frame: Frame, people: tuple[Person, ...]) -> None:
        """header: the image's."""
        present = {rep155.body_id(person.id): person for person in people}
        for left in self._bodies.keys() - present.keys():
            self._forget(left)
        for body_id, person in present.items():
            publishers = self._bodies.get(body_id) or self._meet(body_id)
            for name, message in self._messages(header, frame, body_id, person).items():
                publishers[name].publish(message)
        self._tracked.publish(self._msg.IdsList(header=header, ids=list(present)))

    def clear(self) -> None:
        """Nobody is tracked any more."""
        for body_id in list(self._bodies):
            self._forget(body_id)
        self._tracked.publish(self._msg.IdsList())

    def close(self) -> None:
        for body_id in list(self._bodies):
            self._forget(body_id)
        self._node.destroy_publisher(self._tracked)

    def _messages(self, header: Header, frame: Frame, body_id: str, person: Person) -> dict[str, object]:
        width, height = frame.camera.width, frame.camera.height
        xmin, ymin, xmax, ymax = rep155.region(person, width, height).tolist()
        points = [
            self._msg.NormalizedPointOfInterest2D(x=x, y=y, c=c)
            for x, y, c in rep155.landmarks(person, width, height).tolist()
        ]
        return {
            "roi": self._msg.NormalizedRegionOfInterest2D(
                header=header, xmin=xmin, ymin=ymin, xmax=xmax, ymax=ymax, c=float(person.score)
            ),
            "skeleton2d": self._msg.Skeleton2D(header=header, skeleton=points),
            "joint_states": joint_state(header, body_id, person),
        }

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
        return self._bodies[body_id]

    def _forget(self, body_id: str) -> None:
        for publisher in self._bodies.pop(body_id).values():
            self._node.destroy_publisher(publisher)


def joint_state(header: Header, body_id: str, person: Person) -> JointState:
    """Joints of the human URDF, each with _<id> after its name."""
    angles = rep155.joint_angles(person)
    return JointState(
        header=header, name=[f"{name}_{body_id}" for name in angles], position=[float(a) for a in angles.values()]
    )


def body_transforms(header: Header, people: tuple[Person, ...]) -> list[TransformStamped]:
    """Frame body_<id> of each person in the camera's frame."""
    found = []
    for person in people:
        rotmat, origin = rep155.body_frame(person)
        x, y, z, w = rotmat_to_quat(rotmat.astype(float)).tolist()
        found.append(
            TransformStamped(
                header=header,
                child_frame_id=f"body_{rep155.body_id(person.id)}",
                transform=Transform(
                    translation=Vector3(**dict(zip("xyz", origin.astype(float).tolist()))),
                    rotation=Quaternion(x=x, y=y, z=z, w=w),
                ),
            )
        )
    return found
