"""The regression head, and the prediction vector that it returns."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hmr_ros import skeleton
from training.config import ModelConfig

POSE, BETAS, CAMERA = 6 * skeleton.NUM_JOINTS, skeleton.NUM_BETAS, 3
PREDICTION = POSE + BETAS + CAMERA


class Head(nn.Module):
    """Features and bbox_info to a prediction vector, as an offset from the mean body (CLIFF's inputs, Li et al., ECCV 2022)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.hidden = nn.Linear(config.width + 3, config.width)
        self.out = nn.Linear(config.width, PREDICTION)
        nn.init.normal_(self.out.weight, std=1e-3)
        nn.init.zeros_(self.out.bias)
        mean = torch.zeros(PREDICTION)
        mean[:POSE] = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(skeleton.NUM_JOINTS)
        mean[:6] = torch.tensor([1.0, 0, 0, 0, -1, 0])  # upright in a camera whose y points down
        self.register_buffer("mean", mean)

    def forward(self, features: Tensor, bbox_info: Tensor) -> Tensor:
        return self.read(self.preactivation(features, bbox_info))

    def preactivation(self, features: Tensor, bbox_info: Tensor) -> Tensor:
        """(B, width): the hidden layer before its nonlinearity."""
        return self.hidden(torch.cat([features, bbox_info], dim=-1))

    def read(self, hidden: Tensor) -> Tensor:
        """A hidden layer before its nonlinearity, (B, width), to the prediction vector."""
        return self.mean + self.out(nn.functional.silu(hidden))
