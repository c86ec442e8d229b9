"""The frame of the 3D results: the image's frame, or `output_frame`, looked up in tf2 at the image's stamp.

tf2_ros is imported only when `output_frame` is set, because PyPI does not have it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from rclpy.time import Time
from std_msgs.msg import Header

from hmr_ros.frames import RigidTransform, move_person
from hmr_ros.ros.node_config import NodeConfig
from hmr_ros.types import BACK_S, Person


class Lookup(Protocol):
    """A source of transforms: tf2's buffer, or a substitute for it."""

    def __call__(self, target: str, source: str, stamp, timeout_s: float) -> RigidTransform:
        """T_target_source at a stamp message; waits for it up to `timeout_s`. Raises TransformUnavailable."""

    def clear(self) -> None:
        """Forget every transform except static ones."""

    def close(self) -> None: ...


_RETRY_S = 1.0
"""Minimum time between waits for a transform that was missing last time. Otherwise one that never comes would delay every frame."""


class TransformUnavailable(Exception):
    """tf2 does not know this transform at this time. The message gives the reason."""


class OutputFrame:
    """Moves results to `output_frame`. Without the transform they stay in the image's frame, as their header says; `warning` says why."""

    def __init__(self, node, config: NodeConfig, listen: Callable[..., Lookup] | None = None, clock=time.monotonic):
        """listen: makes the lookup for a node; may raise ImportError. Tests pass in their own, and a clock in s."""
        self._node = node
        # tf2 does not accept a leading slash, which people are used to from ROS 1.
        self._target = config.output_frame.lstrip("/")
        self._timeout_s = config.output_frame_timeout_s
        self._clock, self._wait_from_s = clock, float("-inf")
        self._last_stamp_ns = 0
        self._lookup: Lookup | None = None
        self.warning = ""
        if self._target:
            try:
                self._lookup = (listen or TfLookup)(node)
            except ImportError as error:
                self._warn(
                    f"output_frame is {self._target!r} but tf2_ros cannot be imported ({error}): install "
                    "ros-<distro>-tf2-ros-py; until then results are in the camera's frame"
                )

    def place(self, header: Header, people: tuple[Person, ...]) -> tuple[Header, tuple[Person, ...]]:
        """header: the image's. Returns the header that results carry, and the people in its frame."""
        source = header.frame_id.lstrip("/")
        if self._lookup is None or source == self._target:
            return header, people
        if not people:
            return Header(stamp=header.stamp, frame_id=self._target), people
        self._clear_after_a_jump(Time.from_msg(header.stamp).nanoseconds)
        # Transforms are often a little late; always, where odometry is slower than this node.
        wait_s = self._timeout_s if self._clock() >= self._wait_from_s else 0.0
        try:
            if not source:
                raise TransformUnavailable("images carry no frame_id")
            T_target_camera = self._lookup(self._target, source, header.stamp, wait_s)
        except TransformUnavailable as error:
            if wait_s:
                self._wait_from_s = self._clock() + _RETRY_S
            self._warn(
                f"no transform to output_frame {self._target!r} at the image's stamp: {error}; "
                f"results are in the camera's frame {source!r}"
            )
            return header, people
        self._wait_from_s, self.warning = float("-inf"), ""
        moved = tuple(move_person(T_target_camera, person) for person in people)
        return Header(stamp=header.stamp, frame_id=self._target), moved

    def close(self) -> None:
        if self._lookup is not None:
            self._lookup.close()
        self._lookup = None

    def _clear_after_a_jump(self, stamp_ns: int) -> None:
        """tf2 refuses transforms older than those it has. Uncleared, it would refuse all of a looped recording up to its previous end."""
        if stamp_ns < self._last_stamp_ns - BACK_S * 1e9:
            self._lookup.clear()
        self._last_stamp_ns = stamp_ns

    def _warn(self, text: str) -> None:
        # tf2's text contains times that change with every frame, so only the first of a series of warnings is logged.
        if not self.warning:
            self._node.get_logger().warning(text)
        self.warning = text


class TfLookup:
    """A lookup in a buffer of its own, fed from /tf and /tf_static."""

    def __init__(self, node):
        from tf2_ros import Buffer, TransformException, TransformListener

        self._error = TransformException
        self._buffer = Buffer()
        self._listener = TransformListener(self._buffer, node)

    def __call__(self, target: str, source: str, stamp, timeout_s: float) -> RigidTransform:
        from rclpy.duration import Duration

        wait = Duration(nanoseconds=int(timeout_s * 1e9))
        try:
            found = self._buffer.lookup_transform(target, source, Time.from_msg(stamp), wait).transform
        except self._error as error:
            raise TransformUnavailable(str(error)) from error
        t, q = found.translation, found.rotation
        return RigidTransform.from_quat((q.x, q.y, q.z, q.w), (t.x, t.y, t.z))

    def clear(self) -> None:
        self._buffer.clear()

    def close(self) -> None:
        self._listener.unregister()
