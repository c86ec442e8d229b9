"""A batch of crops with their truth."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.losses import Target
from training.nested import mapped


class ImageSample(NamedTuple):
    """A batch as the network sees it, with its truth; as `training.synthesis.Sample`, plus the crops."""

    crop: Tensor
    """(B, 3, H, W) RGB in [0, 1]."""
    keypoints: Tensor
    confidence: Tensor
    keypoints_3d: Tensor
    confidence_3d: Tensor
    bbox_info: Tensor
    truth: Target
    transl: Tensor

    @property
    def observed(self) -> tuple[Tensor, ...]:
        return self.keypoints, self.confidence, self.keypoints_3d, self.confidence_3d

    def to(self, device: torch.device) -> ImageSample:
        return mapped(lambda value: value.to(device), self)
