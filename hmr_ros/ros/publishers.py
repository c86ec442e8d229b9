"""All output topics. A message is built only if its topic has a subscriber."""

from __future__ import annotations

import time
from functools import cached_property

import numpy as np
from geometry_msgs.msg import PoseArray
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, MultiDOFJointState, PointCloud2
from std_msgs.msg import Header, String
from visualization_msgs.msg import MarkerArray

from hmr_ros.ros import messages
from hmr_ros.ros.hri import Body, HriPublisher, body_transforms
from hmr_ros.ros.node_config import NodeConfig
from hmr_ros.ros.output_frame import OutputFrame
from hmr_ros.ros.smpl_cloud import people_to_records, records_to_cloud
from hmr_ros.types import Frame, FrameResult, Person

# A reliable publisher serves reliable and best-effort subscribers alike; a shallow history never holds up the worker.
_OUTPUT = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
_LATCHED = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_TF = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)

TOPIC_TYPES = {
    "smpl": PointCloud2,
    "joint_states": MultiDOFJointState,
    "poses": PoseArray,
    "markers": MarkerArray,
    "mesh": PointCloud2,
    "overlay": Image,
}

TOPIC_DOCS = {
    "smpl": "One record per person: SMPL parameters, confidences, and losses, steps and reprojection errors of test-time optimisation; fields below.",
    "joint_states": "For control: `person_<id>/<joint>` with the rotation relative to the parent and, in `twist`, velocities.",
    "poses": "Position and orientation of 24 joints per person, people in the order of `~/smpl`.",
    "markers": "Skeletons and ids, and meshes at `mesh_rate_hz`; deleted when a person leaves.",
    "mesh": "Mesh vertices as an organised cloud: one row per person.",
    "overlay": "The image with meshes, skeletons and ids drawn over it, in the camera's frame whatever `output_frame` is.",
}
"""Descriptions of the topics, for docs/reference.md."""


class Publishers:
    """Created at configure, closed at cleanup; only the worker calls `publish`."""

    def __init__(self, node, pipeline, config: NodeConfig):
        self.config = config
        self._node, self._body = node, pipeline.body
        # Declares qos_overrides.<topic>.publisher.{history,depth,reliability}, to be set in a parameter file.
        overridable = QoSOverridingOptions.with_default_policies()
        self._topics: dict[str, Publisher] = {}
        self._latched: Publisher | None = None
        self._tf: Publisher | None = None
        self._hri: HriPublisher | None = None
        self._missing: list[str] = []
        self._shown: set[int] = set()
        self._last_mesh_s = float("-inf")
        self._output_frame = OutputFrame(node, config)
        try:
            for name, kind in TOPIC_TYPES.items():
                topic = node.create_publisher(kind, f"~/{name}", _OUTPUT, qos_overriding_options=overridable)
                self._topics[name] = topic
            self._tell_body(pipeline)
            self._tf = self._create_tf() if config.publish_tf or config.publish_hri else None
            self._hri = self._create_hri() if config.publish_hri else None
        except Exception:
            self.close()  # otherwise the next attempt to configure would create the topics a second time
            raise

    def publish(self, frame: Frame, result: FrameResult, header: Header) -> None:
        """header: the image's, copied to every output; 3D outputs have output_frame instead of its frame_id."""
        wanted = {name for name in TOPIC_TYPES if self._wanted(name)}
        placed, people = header, result.people
        if wanted - {"overlay"}:
            placed, people = self._output_frame.place(header, people)
        meshes = _Meshes(self._body, people)
        send = {
            "smpl": lambda: records_to_cloud(placed, people_to_records(people)),
            "joint_states": lambda: messages.joint_states(placed, people, self.config.frame_prefix),
            "poses": lambda: messages.pose_array(placed, people),
            "mesh": lambda: messages.mesh_cloud(placed, meshes.vertices),
            "overlay": lambda: messages.image_message(header, self._overlay(frame, result)),
        }
        for name, build in send.items():
            if name in wanted:
                self._topics[name].publish(build())
        if "markers" in wanted:
            self._publish_markers(placed, people, meshes)
        self._publish_frames(header, frame, result.people)

    def clear(self) -> None:
        """Remove everything from displays, because people are no longer tracked."""
        if self._wanted("markers"):
            self._topics["markers"].publish(messages.delete_all(Header()))
        self._shown.clear()
        if self._hri:
            self._hri.clear()

    @property
    def warning(self) -> str:
        """Why outputs are missing or not in output_frame; empty: all is well."""
        return "; ".join(filter(None, [*self._missing, self._output_frame.warning]))

    def close(self) -> None:
        self._output_frame.close()
        if self._hri:
            self._hri.close()
        for publisher in filter(None, [*self._topics.values(), self._latched, self._tf]):
            self._node.destroy_publisher(publisher)
        self._topics, self._latched, self._tf, self._hri = {}, None, None, None

    def _tell_body(self, pipeline) -> None:
        latched = self._latched = self._node.create_publisher(String, "~/body_model", _LATCHED)
        vertices = int(np.max(self._body.faces)) + 1
        latched.publish(messages.body_model_message(pipeline.describe(), len(self._body.faces), vertices))

    def _create_tf(self):
        try:
            from tf2_msgs.msg import TFMessage
        except ImportError as error:
            switch = "publish_tf" if self.config.publish_tf else "publish_hri"
            self._miss(f"{switch} is on but tf2_msgs cannot be imported ({error}): install ros-<distro>-tf2-msgs")
            return None
        return self._node.create_publisher(TFMessage, "/tf", _TF)

    def _create_hri(self) -> HriPublisher | None:
        try:
            return HriPublisher(self._node)
        except ImportError as error:
            self._miss(f"publish_hri is on but hri_msgs cannot be imported ({error}): install ros-<distro>-hri-msgs")
            return None

    def _miss(self, text: str) -> None:
        self._missing.append(text)
        self._node.get_logger().warning(text)

    def _wanted(self, name: str) -> bool:
        return self._topics[name].get_subscription_count() > 0

    def _publish_frames(self, header: Header, frame: Frame, people: tuple[Person, ...]) -> None:
        """On /tf people are always below the camera's frame: tf2 knows the rest of the way, and a frame has only one parent. header: the image's."""
        prefix = self.config.frame_prefix
        bodies = [Body(person, prefix) for person in people] if self._hri else []
        if self._tf and people and self._tf.get_subscription_count():
            transforms = messages.transforms(header, people, prefix) if self.config.publish_tf else []
            transforms += body_transforms(header, bodies)
            self._tf.publish(self._tf.msg_type(transforms=transforms))
        if self._hri:
            self._hri.publish(header, frame, bodies)

    def _publish_markers(self, header: Header, people, meshes: _Meshes) -> None:
        present = {person.id for person in people}
        markers = messages.deletions(header, self._shown - present) + messages.skeleton_markers(header, people)
        self._shown = present
        self._topics["markers"].publish(MarkerArray(markers=markers))
        now_s = time.monotonic()
        if self.config.mesh_rate_hz > 0 and now_s - self._last_mesh_s >= 1 / self.config.mesh_rate_hz:
            self._last_mesh_s = now_s
            lifetime_s = max(1.0, 3 / self.config.mesh_rate_hz)
            for person, vertices in zip(people, meshes.vertices):
                mesh = messages.mesh_marker(header, person.id, vertices, self._body.faces, lifetime_s)
                self._topics["markers"].publish(mesh)

    def _overlay(self, frame: Frame, result: FrameResult) -> np.ndarray:
        from hmr_ros.draw import draw_overlay

        return draw_overlay(frame.image, result, self._body, frame.camera)


class _Meshes:
    """The vertices of all people in one frame, computed on first use and then kept."""

    def __init__(self, body, people):
        self._body, self._people = body, people

    @cached_property
    def vertices(self) -> np.ndarray:
        """(N, V, 3) float32, metres."""
        if not self._people:
            return np.zeros((0, int(np.max(self._body.faces)) + 1, 3), np.float32)
        stack = {name: np.stack([getattr(p, name) for p in self._people]) for name in ("rotmat", "betas", "transl")}
        return self._body.vertices(**stack)
