"""A camera that plays a file: publishes a video, an image, a folder of images or a real camera as `image` and `camera_info`.

    python -m hmr_ros.ros.camera_publisher SOURCE --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info

Frames are stamped when they are sent, as a camera's would be.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from array import array

import numpy as np
import rclpy
import rclpy.utilities
from rclpy.duration import Duration
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import CameraInfo, Image

from hmr_ros.camera import Camera
from hmr_ros.media import DEMO_CLIP, Media, MediaError, open_media

FRAME_ID = "camera_optical_frame"
STILL_SECONDS = 4.0
"""For how long a single image is shown."""
SETTLED_S = 1.2
"""A subscriber that has not changed for so long will stay."""


class CameraPublisher(Node):
    def __init__(self, intrinsics: list[float] | None, vertical_fov_deg: float | None):
        super().__init__("camera_publisher")
        self._intrinsics, self._fov = intrinsics, vertical_fov_deg
        # Reliable: best-effort images of this size are lost between processes under Fast DDS's default settings.
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._image = self.create_publisher(Image, "image", qos)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos)

    def wait_for_subscriber(self, width: int, height: int, timeout_s: float) -> bool:
        """True once somebody listens to `image`, and has been for SETTLED_S: a subscriber may try one QoS, then another.

        Meanwhile CameraInfo is sent, as a camera at rest does.
        """
        end, known, since = time.monotonic() + timeout_s, set(), time.monotonic()
        while rclpy.ok() and time.monotonic() < end:
            listeners = {
                bytes(info.endpoint_gid) for info in self.get_subscriptions_info_by_topic(self._image.topic_name)
            }
            if listeners != known:
                known, since = listeners, time.monotonic()
            if self._image.get_subscription_count() and time.monotonic() - since > SETTLED_S:
                return True
            self._send_info(width, height, self.get_clock().now())
            rclpy.spin_once(self, timeout_sec=0.1)
        return False

    def _send_info(self, width: int, height: int, now: Time) -> None:
        info = camera_info(told_camera(width, height, self._intrinsics, self._fov))
        info.header.stamp, info.header.frame_id = now.to_msg(), FRAME_ID
        self._info.publish(info)

    def send(self, image: np.ndarray) -> int:
        """Publish one picture, stamped now. image: (H, W, 3) uint8, RGB. Returns its stamp, nanoseconds."""
        now: Time = self.get_clock().now()
        height, width = image.shape[:2]
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.header.stamp, message.header.frame_id = now.to_msg(), FRAME_ID
        message.data = array("B", image.tobytes())  # from an array of bytes: any other type is copied item by item
        self._send_info(width, height, now)
        self._image.publish(message)
        return now.nanoseconds

    def finish(self, timeout_s: float = 2.0) -> None:
        """Let what was sent arrive before this process ends."""
        self._image.wait_for_all_acked(Duration(seconds=timeout_s))


def told_camera(width: int, height: int, intrinsics: list[float] | None, vertical_fov_deg: float | None) -> Camera:
    """The camera that CameraInfo tells of: what was given, else a guess. intrinsics: fx fy cx cy, pixels."""
    if intrinsics is None:
        return Camera.guess(width, height, vertical_fov_deg)
    fx, fy, cx, cy = intrinsics
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), width, height)


def camera_info(camera: Camera) -> CameraInfo:
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = camera.K.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.concatenate([camera.K, np.zeros((3, 1))], axis=1).ravel().tolist()
    return info


def play(node: CameraPublisher, media: Media, rate: float, still_s: float) -> list[int]:
    """One showing at `rate` times the source's speed. Returns the stamp of every frame sent, nanoseconds."""
    stamps, period_s = [], 1 / (media.fps * rate)
    started = time.monotonic()
    for index, image in enumerate(media.playback(still_s)):
        rest_s = started + index * period_s - time.monotonic()
        if rest_s > 0:
            time.sleep(rest_s)
        if not rclpy.ok():
            break
        stamps.append(node.send(image))
    return stamps


def main() -> int:
    rclpy.init()
    options = parse(rclpy.utilities.remove_ros_args(sys.argv)[1:])
    try:
        media = open_media(options.source or DEMO_CLIP)
    except MediaError as error:
        print(f"camera_publisher: {error}", file=sys.stderr)
        return 1
    node, stamps = CameraPublisher(options.intrinsics, options.vertical_fov), []
    try:
        if not node.wait_for_subscriber(media.width, media.height, options.wait):
            node.get_logger().warning(f"nobody subscribed to 'image' within {options.wait:g} s; playing all the same")
        while rclpy.ok():
            stamps += play(node, media, options.rate, options.still_seconds)
            if not options.loop:
                break
        if rclpy.ok():  # not after Ctrl-C, which has already shut ROS down
            node.finish()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        if options.log:
            with open(options.log, "w") as file:
                json.dump(stamps, file)
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def positive(text: str) -> float:
    """An argparse type."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: must be above 0")
    return value


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="camera_publisher", description=__doc__.split("\n")[0])
    parser.add_argument(
        "source", help="video, image, folder of images, a camera's index such as 0; '': the clip that ships"
    )
    parser.add_argument("--rate", type=positive, default=1.0, help="playback speed; 0.5 is half speed")
    parser.add_argument("--loop", action="store_true", help="start again at the end, until interrupted")
    parser.add_argument(
        "--still-seconds", type=positive, default=STILL_SECONDS, help="how long a single image is shown"
    )
    parser.add_argument("--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="pixels")
    parser.add_argument("--vertical-fov", type=float, help="degrees; used where there are no intrinsics")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds to wait for a subscriber before playing")
    parser.add_argument(
        "--log", help="write the stamps of the frames sent into this file, as a JSON list of nanoseconds"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
