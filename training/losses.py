"""The one objective: of the inner loop, of the outer loop, and of the exported graph.

Per person and summed over the batch only at the very end, so that adapting one never changes another's result.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.config import LossConfig
from training.model import Auxiliary, Prediction

TERMS = ("keypoints_2d", "keypoints_3d", "pose", "betas")
"""Order of the objective's terms and of their weights."""

HUBER = 0.1
"""Box units. Keypoints farther off than this pull with constant force (pseudo-Huber): detectors make gross errors, and a
squared error would let one of them bend the whole body."""


class Target(NamedTuple):
    """What a prediction is held against: the truth, or the detector's 2D with the auxiliary head's 3D."""

    keypoints_2d: Tensor
    """(B, 23, 2) box units."""
    confidence: Tensor
    """(B, 23); 0 leaves a keypoint out."""
    rotmat: Tensor
    """(B, 24, 3, 3)."""
    betas: Tensor
    """(B, 10)."""
    joints: Tensor
    """(B, 24, 3) metres, relative to the pelvis."""
    keypoints: Tensor
    """(B, 23, 3) metres, relative to the pelvis."""


def weights_of(config: LossConfig) -> Tensor:
    return torch.tensor([getattr(config, term) for term in TERMS])


def pseudo_target(keypoints_2d: Tensor, confidence: Tensor, auxiliary: Auxiliary) -> Target:
    """The inner objective's target: nothing in it needs ground truth."""
    guess = auxiliary.prediction
    return Target(
        keypoints_2d, confidence * auxiliary.reliability, guess.rotmat, guess.betas, guess.joints, guess.keypoints
    )


def objective(prediction: Prediction, target: Target, weights: Tensor) -> Tensor:
    """(B,): the weighted sum of all terms for each person. weights: (4,), in the order of TERMS."""
    error_2d = ((prediction.keypoints_2d - target.keypoints_2d) ** 2).sum(-1)
    robust_2d = HUBER**2 * (torch.sqrt(1 + error_2d / HUBER**2) - 1)
    terms = [
        (robust_2d * target.confidence).mean(-1),
        ((prediction.joints - target.joints) ** 2).sum(-1).mean(-1)
        + ((prediction.keypoints - target.keypoints) ** 2).sum(-1).mean(-1),
        ((prediction.rotmat - target.rotmat) ** 2).flatten(1).mean(-1),
        ((prediction.betas - target.betas) ** 2).mean(-1),
    ]
    return torch.stack(terms, dim=-1) @ weights
