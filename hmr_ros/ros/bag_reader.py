"""Reads the images of a rosbag2 recording (MCAP or SQLite) and their cameras, without ROS. Only this file imports rosbags' readers."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from hmr_ros.media import DEFAULT_FPS
from hmr_ros.ros.camera_info import read_camera
from hmr_ros.ros.conversions import FrameError, compressed_to_rgb, image_to_rgb
from hmr_ros.types import Frame

DECODERS = {"sensor_msgs/msg/Image": image_to_rgb, "sensor_msgs/msg/CompressedImage": compressed_to_rgb}
CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
BAG_SUFFIXES = (".mcap", ".db3", ".bag")
SAMPLE = 60
"""How many images are used to estimate the frame rate."""


class BagError(ValueError):
    """A bag that cannot be used. Says what, where and what to do."""


def is_bag(source: str) -> bool:
    path = Path(source).expanduser()
    return path.suffix in BAG_SUFFIXES or (path / "metadata.yaml").is_file()


class BagImages:
    """One image topic of a bag. `read` yields its frames; `fps` and `frames` are as in `media.Media`.

    source: a bag's folder, or one .mcap or .db3 file; topic: of the images, where the bag has several. Raises BagError.
    """

    def __init__(self, source: str, topic: str | None = None):
        self.path = Path(source).expanduser()
        self.skipped = 0
        """How many images could not be decoded so far; `warnings` has the reason of the last."""
        self.warnings: dict[str, str] = {}
        with self._open() as reader:
            self.topic = self._choose(reader, topic)
            self.info_topic = _info_topic(reader, self.topic)
            self.frames = reader.topics[self.topic].msgcount
            stamps = [stamp for _, stamp, _ in itertools.islice(self._messages(reader, self.topic), SAMPLE)]
        if not stamps:
            raise BagError(f"{self.path}: {self.topic} holds no images")
        steps = np.diff(stamps)
        steps = steps[steps > 0]
        self.fps = float(1e9 / np.median(steps)) if len(steps) else DEFAULT_FPS

    def read(self, vertical_fov_deg: float | None = None) -> Iterator[Frame]:
        """Frames with the bag's own stamps, and the newest CameraInfo before each (the first CameraInfo, for frames before it).

        vertical_fov_deg: of the camera that is assumed where the bag has no usable CameraInfo.
        """
        rectified = "image_rect" in self.topic
        with self._open() as reader:
            info = next((message for message, _, _ in self._messages(reader, self.info_topic)), None)
            for message, stamp_ns, kind in self._messages(reader, self.topic, self.info_topic):
                if kind == CAMERA_INFO:
                    info = message
                    continue
                try:
                    image = DECODERS[kind](message)
                except FrameError as error:
                    self.skipped += 1
                    self.warnings["images"] = str(error)
                    continue
                height, width = image.shape[:2]
                reading = read_camera(
                    info, width, height, rectified=rectified, vertical_fov_deg=vertical_fov_deg or 0.0
                )
                if reading.warning:
                    self.warnings["camera"] = reading.warning
                yield Frame(image, reading.camera, stamp_ns, message.header.frame_id)

    @contextmanager
    def _open(self):
        try:
            from rosbags.highlevel import AnyReader
            from rosbags.typesys import Stores, get_typestore
        except ImportError as error:
            raise BagError(f"reading bags needs rosbags ({error}): pip install rosbags") from None
        if not self.path.exists():
            raise BagError(f"no such bag: {self.path} (looked in {self.path.absolute().parent})")
        if self.path.suffix == ".bag":
            raise BagError(f"{self.path} is a ROS 1 bag: convert it with rosbags-convert, which comes with rosbags")
        # SQLite bags of Humble and earlier contain no type definitions; those of the common messages have not changed since.
        with self._reported(), AnyReader([self.path], default_typestore=get_typestore(Stores.ROS2_HUMBLE)) as reader:
            yield reader

    @contextmanager
    def _reported(self):
        try:
            yield
        except BagError:
            raise
        # For a damaged recording, rosbags' readers raise exceptions of many types.
        except Exception as error:
            raise BagError(
                f"{self.path}: cannot be read as a rosbag2 recording, or not to its end ({error}). Is it complete?"
            ) from error

    def _choose(self, reader, topic: str | None) -> str:
        images = {name: info for name, info in reader.topics.items() if info.msgtype in DECODERS}
        listed = "".join(f"\n  {name}  ({info.msgtype}, {info.msgcount} messages)" for name, info in images.items())
        if not images:
            raise BagError(f"{self.path}: no image topics; there are: {', '.join(reader.topics) or 'none'}")
        if topic and topic not in images:
            raise BagError(f"{self.path}: no image topic {topic!r}; choose one with --topic:{listed}")
        if not topic and len(images) > 1:
            raise BagError(f"{self.path}: several image topics; choose one with --topic:{listed}")
        return topic or next(iter(images))

    def _messages(self, reader, *topics: str | None) -> Iterator[tuple]:
        """(message, stamp_ns, type) in the order of the bag; the stamp is the header's, or the time of recording where that is 0."""
        connections = [c for c in reader.connections if c.topic in topics]
        if not connections:  # rosbags takes an empty list to mean all connections
            return
        for connection, recorded_ns, raw in reader.messages(connections):
            message = reader.deserialize(raw, connection.msgtype)
            stamp = message.header.stamp
            yield message, stamp.sec * 10**9 + stamp.nanosec or recorded_ns, connection.msgtype


def _info_topic(reader, image_topic: str) -> str | None:
    """The CameraInfo topic in the image topic's namespace, else the bag's only one, else None."""
    infos = [name for name, info in reader.topics.items() if info.msgtype == CAMERA_INFO]
    parts = image_topic.removesuffix("/compressed").split("/")
    beside = "/".join([*parts[:-1], "camera_info"])
    return beside if beside in infos else infos[0] if len(infos) == 1 else None
