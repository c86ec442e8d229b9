"""The objective, shared by the inner loop, the outer loop and the exported graph.

Computed per person, and summed over the batch only at the very end, so that adapting one person never changes another's result.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from hmr_ros import skeleton
from training.body import Posed
from training.config import LossConfig
from training.model import Auxiliary, Prediction

TERMS = ("keypoints_2d", "keypoints_3d", "pose", "betas", "detector_3d")
"""Order of the objective's terms and of their weights."""
OBSERVED = ("keypoints_2d", "detector_3d")
"""Terms that compare a prediction with the detector, not with ground truth or pseudo ground truth."""

HUBER = 0.1
"""Box units. Keypoints farther off than this pull with constant force (pseudo-Huber): detectors make gross errors, and a
squared error would let one of them bend the whole body."""
HUBER_3D_M = 0.1
"""The same for the detector's own 3D, metres."""
BEFORE_HIPS = skeleton.KEYPOINT_NAMES.index("left_hip")
"""Number of keypoints before the two hips, which are adjacent."""


class Target(NamedTuple):
    """What a prediction is compared with: ground truth, or the detector's 2D with the auxiliary head's 3D."""

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
    detected_3d: Tensor
    """(B, 23, 3) metres, from the hips' centre: what the detector measured in 3D."""
    confidence_3d: Tensor
    """(B, 23); all 0 in a ground-truth target, which needs no detected 3D."""


def weights_of(config: LossConfig) -> Tensor:
    return torch.tensor([getattr(config, term) for term in TERMS])


def pseudo_target(
    keypoints_2d: Tensor, confidence: Tensor, detected_3d: Tensor, confidence_3d: Tensor, auxiliary: Auxiliary
) -> Target:
    """The inner objective's target: nothing in it needs ground truth."""
    guess = auxiliary.prediction
    return Target(
        keypoints_2d, confidence * auxiliary.reliability, guess.rotmat, guess.betas, guess.joints, guess.keypoints,
        detected_3d, confidence_3d,
    )  # fmt: skip


def truth_of(keypoints_2d: Tensor, rotmat: Tensor, betas: Tensor, posed: Posed) -> Target:
    """The ground-truth target: every keypoint counts, and there is no detected 3D.

    keypoints_2d: (B, 23, 2) box units; rotmat, betas: as in `Target`; posed: of the same body.
    """
    nothing = torch.zeros_like(posed.keypoints)
    everything = torch.ones_like(keypoints_2d[..., 0])
    return Target(keypoints_2d, everything, rotmat, betas, posed.joints, posed.keypoints, nothing, nothing[..., 0])


def robust(squared: Tensor, width: float) -> Tensor:
    """Pseudo-Huber: half the square of small errors, `width` times large ones."""
    return width**2 * (torch.sqrt(1 + squared / width**2) - 1)


def objective(prediction: Prediction, target: Target, weights: Tensor) -> Tensor:
    """(B,): the weighted sum of all terms for each person. weights: (5,), in the order of TERMS."""
    error_2d = ((prediction.keypoints_2d - target.keypoints_2d) ** 2).sum(-1)
    _, hips, _ = prediction.keypoints.split([BEFORE_HIPS, 2, skeleton.NUM_KEYPOINTS - BEFORE_HIPS - 2], dim=1)
    error_3d = ((prediction.keypoints - hips.mean(1, keepdim=True) - target.detected_3d) ** 2).sum(-1)
    terms = [
        (robust(error_2d, HUBER) * target.confidence).mean(-1),
        ((prediction.joints - target.joints) ** 2).sum(-1).mean(-1)
        + ((prediction.keypoints - target.keypoints) ** 2).sum(-1).mean(-1),
        ((prediction.rotmat - target.rotmat) ** 2).flatten(1).mean(-1),
        ((prediction.betas - target.betas) ** 2).mean(-1),
        (robust(error_3d, HUBER_3D_M) * target.confidence_3d).mean(-1),
    ]
    return torch.stack(terms, dim=-1) @ weights
