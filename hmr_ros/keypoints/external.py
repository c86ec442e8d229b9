"""Keypoints that another program has found and that come with the frame."""

from __future__ import annotations

import numpy as np

from hmr_ros.config import KeypointsConfig
from hmr_ros.types import Frame, Keypoints


class ExternalKeypoints:
    """A `KeypointSource` that hands on `Frame.keypoints`, within the configured bounds."""

    def __init__(self, config: KeypointsConfig):
        self.config = config

    def detect(self, frame: Frame) -> Keypoints:
        given = frame.keypoints
        if given is None:
            return Keypoints.empty()
        config, size = self.config, np.array([frame.camera.width, frame.camera.height])
        inside = ((given.uv >= -0.5) & (given.uv < size - 0.5)).all(axis=-1)  # False for NaN
        confidence = np.where(inside & (given.confidence >= config.min_confidence), given.confidence, 0)
        uv = np.where(inside[..., None], given.uv, 0)
        sure = np.argsort(-given.score, kind="stable")
        sure = sure[given.score[sure] >= config.min_score][: config.max_people]
        return Keypoints(uv.astype(np.float32), confidence.astype(np.float32), given.score, given.xyz)[sure]

    def reset(self) -> None:
        pass
