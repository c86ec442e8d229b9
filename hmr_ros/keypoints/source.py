"""Where 2D keypoints come from: one small protocol."""

from __future__ import annotations

from typing import Protocol

from hmr_ros.config import KeypointsConfig
from hmr_ros.types import Frame, Keypoints


class KeypointSource(Protocol):
    """Finds people and their 2D keypoints in one image."""

    config: KeypointsConfig | None
    """Its settings; the pipeline replaces them when they change."""

    def detect(self, frame: Frame) -> Keypoints:
        """Everyone seen in `frame`, at most the configured number of people, best (surest and largest) first."""
        ...

    def reset(self) -> None:
        """Forget what was carried over from earlier frames."""
        ...
