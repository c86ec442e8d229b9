"""Subscribes to the node's topics and keeps its results."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.time import Time
from sensor_msgs.msg import PointCloud2

from hmr_ros.body_model import BodyModel
from hmr_ros.recording import FrameRecord, PersonRecord
from hmr_ros.ros.smpl_cloud import cloud_to_records
from hmr_ros.ros.smpl_record import pose_of


class Recorder(Node):
    def __init__(self, node: str = "hmr"):
        """node: name of the node to listen to."""
        super().__init__("hmr_recorder")
        self.answers: list[tuple[int, int, np.ndarray]] = []
        """(stamp of the image, time of publishing, records as `smpl_cloud.RECORD`); times in nanoseconds."""
        self.diagnostics: dict[str, str] = {}
        """The values of the node's last status on /diagnostics."""
        self._node, self.topic = node, f"/{node}/smpl"
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.RELIABLE)
        self.create_subscription(PointCloud2, self.topic, self._on_people, qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 10)

    @property
    def counts(self) -> dict[str, int]:
        """The counts of frames that the node last reported: received, processed, dropped..."""
        return self.count("frames_")

    def count(self, prefix: str) -> dict[str, int]:
        """Numbers of /diagnostics whose keys begin with `prefix`; the returned keys are without it."""
        found = {key: value for key, value in self.diagnostics.items() if key.startswith(prefix)}
        return {key[len(prefix) :]: int(value) for key, value in found.items()}

    @property
    def node_is_idle(self) -> bool:
        """Whether the node was done with every image received, when it last reported."""
        fates = (self.counts.get(fate, 0) for fate in ("processed", "dropped", "bad", "failed", "waiting"))
        return sum(fates) == self.counts.get("received", 0)

    @property
    def node_is_up(self) -> bool:
        return self.count_publishers(self.topic) > 0

    def _on_people(self, message: PointCloud2, info) -> None:
        # The middleware's own stamp is the time of publication; where it gives none, the time of arrival is the best estimate.
        published_ns = info["source_timestamp"] or self.get_clock().now().nanoseconds
        self.answers.append((Time.from_msg(message.header.stamp).nanoseconds, published_ns, cloud_to_records(message)))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.lstrip("/").startswith(f"{self._node}:"):
                self.diagnostics = {pair.key: pair.value for pair in status.values}


def to_frames(
    answers: Sequence[tuple[int, int, np.ndarray]], stamps: Sequence[int], body: BodyModel
) -> list[FrameRecord]:
    """The answers to the frames that were sent, in order. stamps: of every frame sent, nanoseconds; answers: see Recorder."""
    index_of = {stamp: index for index, stamp in enumerate(stamps)}
    return [
        FrameRecord(index_of[stamp], stamp, (published - stamp) / 1e6, _people(records, body))
        for stamp, published, records in sorted(answers, key=lambda answer: answer[0])
        if stamp in index_of
    ]


def _people(records: np.ndarray, body: BodyModel) -> tuple[PersonRecord, ...]:
    if not len(records):
        return ()
    rotmat, betas, transl = pose_of(records)
    joints = body.joints(rotmat, betas, transl)[0]
    return tuple(
        PersonRecord(
            id=int(record["id"]),
            score=float(record["score"]),
            rotmat=rotmat[i],
            betas=betas[i].copy(),
            transl=transl[i],
            joints=joints[i],
            steps=int(record["steps"]),
            reprojection_px_before=float(record["reprojection_px_before"]),
            reprojection_px_after=float(record["reprojection_px_after"]),
            joint_confidence=record["confidence"].copy(),
            loss_before=float(record["loss_before"]),
            loss_after=float(record["loss_after"]),
        )
        for i, record in enumerate(records)
    )
