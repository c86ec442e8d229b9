"""People as another node sees them: hri_msgs/Skeleton2D of everyone on /humans/bodies/tracked (REP-155)."""

from __future__ import annotations

import numpy as np
from hri_msgs.msg import IdsList, Skeleton2D

from hmr_ros.rep155 import LANDMARKS, keypoints_of
from hmr_ros.ros.conversions import FrameError
from hmr_ros.ros.matched_subscription import MatchedSubscription
from hmr_ros.ros.message_buffer import MessageBuffer
from hmr_ros.ros.node_config import NodeConfig
from hmr_ros.types import Keypoints

BODIES = "/humans/bodies"


class SkeletonInput:
    """Subscribed to everyone who is tracked, from creation to `close`."""

    def __init__(self, node, config: NodeConfig):
        self._node, self._config = node, config
        self._bodies: dict[str, MessageBuffer] = {}
        # This node's own publisher keeps the last list for late subscribers; hri_body_detect's does not.
        self._tracked = MatchedSubscription(node, IdsList, f"{BODIES}/tracked", "auto", self._on_tracked, latched=True)

    def at(self, stamp_ns: int, width: int, height: int) -> Keypoints:
        """Everyone's keypoints nearest to this time, in pixels of an image of this size. People without any near enough are left out."""

        def read(msg) -> np.ndarray:
            points = np.array([(point.x, point.y, point.c) for point in msg.skeleton], np.float32).reshape(-1, 3)
            if len(points) != len(LANDMARKS):
                raise FrameError(f"a skeleton of {len(points)} points, not hri_msgs' {len(LANDMARKS)}")
            return keypoints_of(points, width, height)

        seen = [points for body in list(self._bodies.values()) if (points := body.at(stamp_ns, read)) is not None]
        if not seen:
            return Keypoints.empty()
        points = np.stack(seen)
        confidence = points[..., 2]
        return Keypoints(points[..., :2], confidence, confidence.max(axis=1))

    def warnings(self) -> list[str]:
        if not self._node.count_publishers(f"{BODIES}/tracked"):
            return [f"keypoints.source is 'topic', but nobody publishes {BODIES}/tracked"]
        return [warning for body in list(self._bodies.values()) for warning in body.warnings()]

    def refresh(self) -> None:
        self._tracked.refresh()
        for body in list(self._bodies.values()):
            body.refresh()

    def close(self) -> None:
        self._on_tracked(IdsList())
        self._tracked.close()

    def _on_tracked(self, msg) -> None:
        for left in self._bodies.keys() - set(msg.ids):
            self._bodies.pop(left).close()
        for body_id in msg.ids:
            if body_id not in self._bodies:
                self._bodies[body_id] = MessageBuffer(
                    self._node, Skeleton2D, f"{BODIES}/{body_id}/skeleton2d", self._config
                )
