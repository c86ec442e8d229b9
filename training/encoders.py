"""Keypoint encoders: a multilayer perceptron on all keypoints, or a transformer with a token for each.

Both take 23 keypoints with confidences, the detector's own 3D where it has one, and the box:
keypoints (B, 23, 2) box units; keypoints_3d (B, 23, 3) metres from the hips' centre; confidences (B, 23), where 0 means unknown;
bbox_info (B, 3). They return features (B, width).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from hmr_ros import skeleton
from training.config import ModelConfig

PER_KEYPOINT = 7
"""Numbers that come with each keypoint: 2D, 3D, and the confidence of both."""
SUMMARY = 32
"""Channels to which each token is reduced for the features."""


def per_keypoint(keypoints: Tensor, confidence: Tensor, keypoints_3d: Tensor, confidence_3d: Tensor) -> list[Tensor]:
    """Inputs per keypoint: 2D, confidence, 3D, confidence, (B, 23, 2), (B, 23, 1), (B, 23, 3), (B, 23, 1); zero where unknown."""
    seen = torch.clamp(confidence * 1e4, 0, 1).unsqueeze(-1)
    seen_3d = torch.clamp(confidence_3d * 1e4, 0, 1).unsqueeze(-1)
    return [keypoints * seen, confidence.unsqueeze(-1), keypoints_3d * seen_3d, confidence_3d.unsqueeze(-1)]


class ResidualBlock(nn.Module):
    def __init__(self, width: int):
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class KeypointEncoder(nn.Module):
    """All keypoints as one vector, after Martinez et al. (ICCV 2017)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        inputs = PER_KEYPOINT * skeleton.NUM_KEYPOINTS + 3
        self.embed = nn.Linear(inputs, config.width)
        self.blocks = nn.Sequential(*(ResidualBlock(config.width) for _ in range(config.blocks)))
        self.norm = nn.LayerNorm(config.width)

    def forward(self, *seen: Tensor) -> Tensor:
        """seen: keypoints, confidence, keypoints_3d, confidence_3d, bbox_info."""
        *points, bbox_info = seen
        flat = [part.flatten(1) for part in per_keypoint(*points)]
        return self.norm(self.blocks(self.embed(torch.cat([*flat, bbox_info], dim=-1))))


class TransformerEncoder(nn.Module):
    """Attention between keypoints: a token for each, which also contains the box."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        width, points = config.token_width, skeleton.NUM_KEYPOINTS
        self.embed = nn.Linear(PER_KEYPOINT + 3, width)
        self.place = nn.Parameter(0.02 * torch.randn(points, width))
        self.blocks = nn.Sequential(*(TokenBlock(width, config.attention_heads) for _ in range(config.blocks)))
        self.summary = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, SUMMARY))
        self.out = nn.Linear(points * SUMMARY, config.width)
        self.norm = nn.LayerNorm(config.width)
        self.mixed_precision = False

    def forward(self, *seen: Tensor) -> Tensor:
        """seen: keypoints, confidence, keypoints_3d, confidence_3d, bbox_info."""
        *points, bbox_info = seen
        box = bbox_info.unsqueeze(1).expand(-1, skeleton.NUM_KEYPOINTS, -1)
        tokens = self.embed(torch.cat([*per_keypoint(*points), box], dim=-1)) + self.place
        with mixed_precision(
            self.mixed_precision, tokens.device
        ):  # residual connections stay in float32, so that millimetres survive
            tokens = self.blocks(tokens)
        return self.norm(self.out(self.summary(tokens.float()).flatten(1)))


class TokenBlock(nn.Module):
    """Attention among a person's tokens, then a feed-forward block on each token (Vaswani et al., NeurIPS 2017; pre-norm)."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (width // heads) ** -0.5
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens: (B, T, width)."""
        split = self.query_key_value(self.norm(tokens)).unflatten(-1, (3 * self.heads, -1)).transpose(1, 2)
        query, key, value = split.split(self.heads, dim=1)  # each (B, heads, T, width / heads)
        attention = torch.softmax(self.scale * (query @ key.transpose(-1, -2)), dim=-1)
        tokens = tokens + self.out((attention @ value).transpose(1, 2).flatten(2))
        return tokens + self.layers(tokens)


def mixed_precision(half: bool, device: torch.device) -> AbstractContextManager:
    """A context for bfloat16 where it does no harm, if `half`."""
    return torch.autocast(device.type, torch.bfloat16) if half else nullcontext()


def make_encoder(config: ModelConfig) -> nn.Module:
    return {"mlp": KeypointEncoder, "transformer": TransformerEncoder}[config.encoder](config)
