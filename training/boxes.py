"""`hmr_ros.crop.keypoint_box` in torch, for samples that are made on a GPU."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hmr_ros.crop import BOX_MARGIN


def keypoint_box(uv: Tensor, confidence: Tensor, aspect: float = 1.0) -> tuple[Tensor, Tensor]:
    """Box around the keypoints whose confidence is above 0, with width = `aspect` x height.

    uv: (..., J, 2), pixels or normalised image coordinates; confidence: (..., J).
    Returns centre (..., 2) and height (...,), in the unit and type of uv. Rows without any such keypoint give zeros.
    """
    seen = (confidence > 0).unsqueeze(-1)
    low = torch.where(seen, uv, math.inf).amin(-2)
    high = torch.where(seen, uv, -math.inf).amax(-2)
    nobody = ~seen.any(-2)
    low, high = torch.where(nobody, 0, low), torch.where(nobody, 0, high)
    width, height = (high - low).unbind(-1)
    return (low + high) / 2, BOX_MARGIN * torch.maximum(width / aspect, height)
