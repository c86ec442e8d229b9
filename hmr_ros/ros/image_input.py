"""The image and CameraInfo subscriptions, with the reliability that the publisher offers."""

from __future__ import annotations

from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hmr_ros.ros.matched_subscription import MatchedSubscription, depth_one
from hmr_ros.ros.node_config import NodeConfig

_KINDS = {"raw": (Image, ""), "compressed": (CompressedImage, "/compressed")}


class Gaps:
    """Counts messages that a publisher sent but that never arrived, by its sequence numbers; 0 where ROS does not report them.

    Kilted and later do. The publisher's id is needed too, to tell its numbers from another publisher's.
    """

    def __init__(self):
        self._last: dict[bytes, int] = {}

    def __call__(self, info: dict) -> int:
        """info: what rclpy passes as second argument of a callback. Returns how many messages are missing before this one."""
        gid, number = info.get("publisher_gid"), info.get("publication_sequence_number")
        if not gid or number is None:
            return 0
        last, self._last[gid["data"]] = self._last.get(gid["data"]), number
        return max(0, number - last - 1) if last is not None else 0


class ImageInput:
    """Subscribed from creation to `close`; `refresh` follows publishers that come, go or change.

    on_image(msg, lost, sent_ns): lost is how many images before this one were sent but never arrived; sent_ns is the system clock
    when this one was sent, or 0 where the middleware does not report it.
    """

    def __init__(self, node, config: NodeConfig, on_image):
        self._node, self._on_image = node, on_image
        self._gaps = Gaps()
        kind, suffix = _KINDS[config.image_transport]
        # Resolved first, so that remapping `image` remaps `image/compressed` too, as image_transport does.
        self.topic = node.resolve_topic_name("image") + suffix
        self.camera_info = None
        """The newest CameraInfo, or None."""
        self._images = MatchedSubscription(node, kind, self.topic, config.image_reliability, self._on_message)
        # A best-effort subscription receives from every publisher, and a CameraInfo is too small to get lost.
        self._info_subscription = node.create_subscription(
            CameraInfo, "camera_info", self._on_camera_info, depth_one(ReliabilityPolicy.BEST_EFFORT)
        )

    def refresh(self) -> None:
        """Check the publishers again, and subscribe anew if they require another reliability."""
        if self._images.refresh():
            self._gaps = Gaps()

    def describe(self) -> str:
        return self._images.describe()

    def close(self) -> None:
        self._images.close()
        self._node.destroy_subscription(self._info_subscription)

    def _on_message(self, msg, info) -> None:
        self._on_image(msg, self._gaps(info), info["source_timestamp"])

    def _on_camera_info(self, msg) -> None:
        self.camera_info = msg
