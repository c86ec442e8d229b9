"""Inputs from other nodes about the same view: an aligned depth image, people's boxes or keypoints. Paired with
images by stamp.

An image does not wait for them: it takes the message nearest in time among those already received.
"""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
from sensor_msgs.msg import Image

from hmr_ros.config import ConfigError
from hmr_ros.ros.conversions import depth_to_metres
from hmr_ros.ros.message_buffer import MessageBuffer
from hmr_ros.ros.parameters import Settings
from hmr_ros.types import Frame


class SideInputs:
    """The side inputs that the settings ask for, subscribed from creation to `close`; see `require_messages`."""

    def __init__(self, node, settings: Settings):
        config = settings.node
        self._wanted = config.detections_class
        self._depth = self._detections = self._skeletons = None
        if config.use_depth:
            self._depth = MessageBuffer(node, Image, "depth", config)
        if config.use_detections:
            from vision_msgs.msg import Detection2DArray

            self._detections = MessageBuffer(node, Detection2DArray, "detections", config)
        if settings.core.keypoints.source == "topic":
            from hmr_ros.ros.skeleton_input import SkeletonInput

            self._skeletons = SkeletonInput(node, config)
        self._all = [one for one in (self._depth, self._detections, self._skeletons) if one]

    def complete(self, frame: Frame) -> Frame:
        """The frame with the side inputs nearest to its stamp."""
        if not self._all:
            return frame
        stamp_ns, known = frame.stamp_ns, {}
        if self._depth:
            known["depth"] = self._depth.at(stamp_ns, depth_to_metres)
        if self._detections:
            boxes = self._detections.at(stamp_ns, lambda msg: boxes_of(msg, self._wanted))
            # Not None, which means to search the image: people known are followed, and nobody new is looked for.
            known["boxes"] = np.zeros((0, 4), np.float32) if boxes is None else boxes
        if self._skeletons:
            known["keypoints"] = self._skeletons.at(stamp_ns, frame.camera.width, frame.camera.height)
        return replace(frame, **known)

    def warnings(self) -> list[str]:
        return [warning for one in self._all for warning in one.warnings()]

    def refresh(self) -> None:
        for one in self._all:
            one.refresh()

    def close(self) -> None:
        for one in self._all:
            one.close()


def require_messages(settings: Settings) -> None:
    """Raises ConfigError where an input needs a message package that is not installed, or is a topic that this node publishes."""
    if settings.node.use_detections and find_spec("vision_msgs") is None:
        raise ConfigError(
            "use_detections needs vision_msgs, which is not installed: install ros-$ROS_DISTRO-vision-msgs, or set "
            "use_detections = false, and BlazePose searches the image for people"
        )
    if settings.core.keypoints.source != "topic":
        return
    if find_spec("hri_msgs") is None:
        raise ConfigError(
            "keypoints.source = 'topic' needs hri_msgs, which is not installed: install ros-$ROS_DISTRO-hri-msgs, or set "
            "keypoints.source = 'blazepose'"
        )
    if settings.node.publish_hri:
        raise ConfigError(
            "keypoints.source = 'topic' listens to /humans/bodies, where publish_hri = true would publish: choose one"
        )


def boxes_of(msg, wanted: str) -> np.ndarray:
    """Boxes of class `wanted` ('': any) in a Detection2DArray, highest score first. Those that are not finite or have no area are left out."""
    found = []
    for detection in msg.detections:
        scores = [r.hypothesis.score for r in detection.results if wanted in ("", r.hypothesis.class_id)]
        if not scores and (detection.results or wanted):
            continue
        box = detection.bbox
        center = box.center.position
        half = (box.size_x / 2, box.size_y / 2)
        found.append(
            (max(scores, default=0.0), center.x - half[0], center.y - half[1], center.x + half[0], center.y + half[1])
        )
    rows = np.array(found, np.float64).reshape(-1, 5)
    good = np.isfinite(rows).all(axis=1) & (rows[:, 3] > rows[:, 1]) & (rows[:, 4] > rows[:, 2])
    rows = rows[good]
    return rows[np.argsort(-rows[:, 0], kind="stable"), 1:].astype(np.float32)
