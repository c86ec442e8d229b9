"""Publishes a video, an image, a folder of images or a real camera as `image`, `image/compressed` and `camera_info`.

    python -m hmr_ros.ros.camera_publisher SOURCE --ros-args -r image:=/camera/image_raw -r camera_info:=/camera/camera_info

Frames are stamped when they are sent, as a camera driver would. They are sent raw, as JPEG, or both, depending on the subscribers.
"""

from __future__ import annotations

import argparse
import itertools
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
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from hmr_ros.camera import Camera
from hmr_ros.media import DEMO_CLIP, Media, MediaError, open_media
from hmr_ros.options import positive, vertical_fov
from hmr_ros.ros.messages import image_message

FRAME_ID = "camera_optical_frame"
STILL_SECONDS = 4.0
"""For how long a single image is shown."""
SETTLED_S = 1.2
"""Subscribers that have not changed for this long are expected to stay."""
JPEG_QUALITY = 90


class CameraPublisher(Node):
    def __init__(self, intrinsics: list[float] | None, vertical_fov_deg: float | None):
        super().__init__("camera_publisher")
        self._intrinsics, self._fov = intrinsics, vertical_fov_deg
        # Reliable: best-effort images of this size are lost between processes under Fast DDS's default settings.
        qos = QoSProfile(depth=5, reliability=ReliabilityPolicy.RELIABLE)
        self._image = self.create_publisher(Image, "image", qos)
        # Resolved first, as in the node, so that remapping `image` remaps both topics.
        compressed = self.resolve_topic_name("image") + "/compressed"
        self._compressed = self.create_publisher(CompressedImage, compressed, qos)
        self._info = self.create_publisher(CameraInfo, "camera_info", qos)

    def wait_for_subscriber(self, width: int, height: int, timeout_s: float) -> bool:
        """True once an image topic has had the same subscribers for SETTLED_S: a subscriber may try one QoS, then another.

        CameraInfo is published meanwhile, as an idle camera driver does.
        """
        end, known, since = time.monotonic() + timeout_s, set(), time.monotonic()
        while rclpy.ok() and time.monotonic() < end:
            topics = (publisher.topic_name for publisher in (self._image, self._compressed))
            listeners = {
                bytes(info.endpoint_gid) for topic in topics for info in self.get_subscriptions_info_by_topic(topic)
            }
            if listeners != known:
                known, since = listeners, time.monotonic()
            matched = self._image.get_subscription_count() + self._compressed.get_subscription_count()
            if matched and time.monotonic() - since > SETTLED_S:
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
        self._send_info(width, height, now)
        header = Header(stamp=now.to_msg(), frame_id=FRAME_ID)
        try:
            if self._image.get_subscription_count():
                self._image.publish(image_message(header, image))
            if self._compressed.get_subscription_count():
                self._compressed.publish(
                    CompressedImage(header=header, format="rgb8; jpeg compressed bgr8", data=jpeg(image))
                )
        except RuntimeError as error:  # the base of rclpy's own errors: a reliable subscriber does not keep up
            self.get_logger().warning(f"an image was not sent: {error}", throttle_duration_sec=5.0)
        return now.nanoseconds

    def finish(self, timeout_s: float = 2.0) -> None:
        """Wait until everything sent has arrived, before this process ends."""
        for publisher in (self._image, self._compressed):
            publisher.wait_for_all_acked(Duration(seconds=timeout_s))


def jpeg(image: np.ndarray) -> array:
    """(H, W, 3) uint8, RGB, to the bytes of a JPEG file."""
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    # array from bytes: any other type would be copied item by item.
    return array("B", cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())


def told_camera(width: int, height: int, intrinsics: list[float] | None, vertical_fov_deg: float | None) -> Camera:
    """The camera for CameraInfo: the intrinsics if given, else a guess. intrinsics: fx fy cx cy, pixels."""
    if intrinsics is None:
        return Camera.guess(width, height, vertical_fov_deg)
    fx, fy, cx, cy = intrinsics
    return Camera(np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]]), width, height)


def intrinsics_of(options: argparse.Namespace) -> list[float] | None:
    """fx fy cx cy, pixels, as told; of the demo clip, those it was rendered with. None: they have to be guessed."""
    if options.intrinsics or options.vertical_fov or options.source:
        return options.intrinsics
    with np.load(DEMO_CLIP.with_suffix(".npz")) as known:
        K = known["K"]
    return [K[0, 0], K[1, 1], K[0, 2], K[1, 2]]


def camera_info(camera: Camera) -> CameraInfo:
    info = CameraInfo(width=camera.width, height=camera.height, distortion_model="plumb_bob", d=[0.0] * 5)
    info.k = camera.K.ravel().tolist()
    info.r = np.eye(3).ravel().tolist()
    info.p = np.concatenate([camera.K, np.zeros((3, 1))], axis=1).ravel().tolist()
    return info


def play(node: CameraPublisher, media: Media, rate: float, still_s: float) -> list[int]:
    """Play the source once, at `rate` times its speed. Returns the stamp of every frame sent, nanoseconds."""
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
    node, stamps, status = CameraPublisher(intrinsics_of(options), options.vertical_fov), [], 0
    try:
        if not node.wait_for_subscriber(media.width, media.height, options.wait):
            node.get_logger().warning(f"nobody subscribed to 'image' within {options.wait:g} s; playing anyway")
        for _ in itertools.count() if options.loop else range(options.showings):
            if not rclpy.ok():
                break
            stamps += play(node, media, options.rate, options.still_seconds)
        if rclpy.ok():  # not after Ctrl-C, which has already shut ROS down
            node.finish()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except MediaError as error:  # a camera that was unplugged
        node.get_logger().error(str(error))
        status = 1
    finally:
        for reason in media.bad:
            node.get_logger().warning(f"skipped: {reason}")
        if options.log:
            with open(options.log, "w") as file:
                json.dump(stamps, file)
        node.destroy_node()
        rclpy.try_shutdown()
    return status


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="camera_publisher", description=__doc__.split("\n")[0])
    parser.add_argument(
        "source", help="video, image, folder of images, or a camera's index such as 0; '': the demo clip"
    )
    parser.add_argument("--rate", type=positive, default=1.0, help="playback speed; 0.5 is half speed")
    parser.add_argument("--showings", type=int, default=1, help="how many times to play the source")
    parser.add_argument("--loop", action="store_true", help="start again at the end, until interrupted")
    parser.add_argument(
        "--still-seconds", type=positive, default=STILL_SECONDS, help="how long a single image is shown"
    )
    parser.add_argument("--intrinsics", type=float, nargs=4, metavar=("FX", "FY", "CX", "CY"), help="pixels")
    parser.add_argument("--vertical-fov", type=vertical_fov, help="degrees; used without --intrinsics")
    parser.add_argument("--wait", type=float, default=10.0, help="seconds to wait for a subscriber before playing")
    parser.add_argument(
        "--log", help="write the stamps of the frames sent into this file, as a JSON list of nanoseconds"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
