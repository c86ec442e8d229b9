"""The image and CameraInfo subscriptions, with the reliability that the publisher offers."""

from __future__ import annotations

from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from hmr_ros.ros.followed import Followed, depth_one
from hmr_ros.ros.node_config import NodeConfig

_KINDS = {"raw": (Image, ""), "compressed": (CompressedImage, "/compressed")}


class Gaps:
    """Counts messages that a publisher sent and we never got, by its sequence numbers; none where ROS does not tell them.

    Kilted and later do; a single publisher's numbers can't be told from another's without its id.
    """

    def __init__(self):
        self._last: dict[bytes, int] = {}

    def __call__(self, info: dict) -> int:
        """info: what rclpy hands to a callback with a second argument. Returns how many are missing before this message."""
        gid, number = info.get("publisher_gid"), info.get("publication_sequence_number")
        if not gid or number is None:
            return 0
        last, self._last[gid["data"]] = self._last.get(gid["data"]), number
        return max(0, number - last - 1) if last is not None else 0


class ImageInput:
    """Subscribed from creation to `close`; `refresh` follows publishers that come, go or change.

    on_image(msg, lost, sent_ns): lost is how many images before this one were sent but never arrived; sent_ns when this one was, on
    the system's clock, or 0 where the middleware does not tell.
    """

    def __init__(self, node, config: NodeConfig, on_image):
        self._node, self._on_image = node, on_image
        self._gaps = Gaps()
        kind, suffix = _KINDS[config.image_transport]
        # Resolved first, so that remapping `image` moves `image/compressed` too, as image_transport does.
        self.topic = node.resolve_topic_name("image") + suffix
        self.camera_info = None
        """The newest CameraInfo, or None."""
        self._images = Followed(node, kind, self.topic, config.image_reliability, self._on_message)
        # Best effort hears every publisher, and a CameraInfo is small enough to arrive.
        self._info_subscription = node.create_subscription(
            CameraInfo, "camera_info", self._on_camera_info, depth_one(ReliabilityPolicy.BEST_EFFORT)
        )

    def refresh(self) -> None:
        """Look at the publishers again, and subscribe anew if they call for another reliability."""
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
