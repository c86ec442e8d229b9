"""The image and CameraInfo subscriptions, with the reliability that the publisher offers."""

from __future__ import annotations

from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hmr_ros.ros.node_config import NodeConfig

_KINDS = {"raw": (Image, ""), "compressed": (CompressedImage, "/compressed")}


def reliability_for(setting: str, offered: list[ReliabilityPolicy]) -> ReliabilityPolicy:
    """`auto`: reliable only when everyone offers it, for a reliable subscription hears nothing from a best-effort publisher.

    It matters: best-effort images larger than the middleware's shared-memory segment are mostly lost between processes.
    """
    if setting != "auto":
        return {"reliable": ReliabilityPolicy.RELIABLE, "best_effort": ReliabilityPolicy.BEST_EFFORT}[setting]
    everyone = offered and all(policy == ReliabilityPolicy.RELIABLE for policy in offered)
    return ReliabilityPolicy.RELIABLE if everyone else ReliabilityPolicy.BEST_EFFORT


class ImageInput:
    """Subscribed from creation to `close`; `refresh` follows publishers that come, go or change."""

    def __init__(self, node, config: NodeConfig, on_image):
        self._node, self._setting, self._on_image = node, config.image_reliability, on_image
        self._kind, suffix = _KINDS[config.image_transport]
        # Resolved first, so that remapping `image` moves `image/compressed` too, as image_transport does.
        self.topic = node.resolve_topic_name("image") + suffix
        self.camera_info = None
        """The newest CameraInfo, or None."""
        self._image_subscription = None
        self._reliability: ReliabilityPolicy | None = None
        self.refresh()
        # Best effort hears every publisher, and a CameraInfo is small enough to arrive.
        self._info_subscription = node.create_subscription(
            CameraInfo, "camera_info", self._on_camera_info, _depth_one(ReliabilityPolicy.BEST_EFFORT)
        )

    def refresh(self) -> None:
        """Look at the publishers again, and subscribe anew if they call for another reliability."""
        offered = [info.qos_profile.reliability for info in self._node.get_publishers_info_by_topic(self.topic)]
        reliability = reliability_for(self._setting, offered)
        if reliability == self._reliability or (not offered and self._reliability is not None):
            return
        self._close_image()
        self._reliability = reliability
        self._image_subscription = self._node.create_subscription(
            self._kind, self.topic, self._on_image, _depth_one(reliability)
        )

    def describe(self) -> str:
        publishers = self._node.count_publishers(self.topic)
        return f"{self.topic} ({publishers} publishers, {self._reliability.name.lower()})"

    def close(self) -> None:
        self._close_image()
        self._node.destroy_subscription(self._info_subscription)

    def _on_camera_info(self, msg) -> None:
        self.camera_info = msg

    def _close_image(self) -> None:
        if self._image_subscription is not None:
            self._node.destroy_subscription(self._image_subscription)
            self._image_subscription = None


def _depth_one(reliability: ReliabilityPolicy) -> QoSProfile:
    """Depth 1: with more, a node that is slower than the camera works on ever older images."""
    return QoSProfile(depth=1, history=HistoryPolicy.KEEP_LAST, reliability=reliability)
