"""The meta-regressor: an encoder, a main head, an auxiliary head, and the per-person state that adaptation moves.

    features            = model.encode(keypoints, confidence, keypoints_3d, confidence_3d, bbox_info)
    state, auxiliary    = model.regress(features, bbox_info, body)
    prediction          = model.decode(state, features, bbox_info, body)

A *prediction vector* is 157 numbers: 24 rotations as 6D, 10 betas, 3 of the camera. All image quantities are in normalised
image coordinates (x/z, y/z), so intrinsics never enter. `bbox_info` (B, 3) is the box around the person: centre x, centre y, size.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hmr_ros import skeleton
from hmr_ros.bundle import ENCODERS
from training.body import BodyArrays, ForwardKinematics
from training.config import ModelConfig
from training.encoders import make_encoder
from training.head import BETAS, CAMERA, POSE, Head
from training.rotation import rot6d_to_rotmat
from training.scopes import make_scope

NEAR_M = 0.1
"""Smallest depth used in projections: nearer points are projected as if they were this far away."""


class Prediction(NamedTuple):
    """A body in the camera's optical frame."""

    rotmat: Tensor
    """(B, 24, 3, 3)."""
    betas: Tensor
    """(B, 10)."""
    transl: Tensor
    """(B, 3) metres: the translation as in `smplx`."""
    joints: Tensor
    """(B, 24, 3) metres, relative to the pelvis."""
    keypoints: Tensor
    """(B, 23, 3) metres, relative to the pelvis."""
    keypoints_2d: Tensor
    """(B, 23, 2) box units: the box spans -1 to 1."""


class Auxiliary(NamedTuple):
    """The auxiliary head's pseudo ground truth, and how far to trust each detected keypoint."""

    prediction: Prediction
    reliability: Tensor
    """(B, 23), 0 to 2: multiplies the detector's confidence in the 2D term."""


class MetaHmr(nn.Module):
    kind = "keypoints"
    """What the encoder reads: one of `hmr_ros.bundle.ENCODERS`."""
    crop_px: tuple[int, int] | None = None
    """Height and width of the crops that the encoder reads; None: it reads no crops."""

    def __init__(self, config: ModelConfig, loss_weights: Tensor):
        """loss_weights: the inner objective's initial term weights, in the order of `losses.TERMS`."""
        super().__init__()
        self.config = config
        self.encoder = make_encoder(config)
        self.head = Head(config)
        self.auxiliary_head = Head(config)
        self.reliability_head = nn.Linear(config.width, skeleton.NUM_KEYPOINTS)
        nn.init.zeros_(self.reliability_head.weight)
        nn.init.zeros_(self.reliability_head.bias)
        self.kinematics = ForwardKinematics()
        self.scope = make_scope(config, self.head)
        self.log_inner_lr = nn.Parameter(self.scope.initial_lr().log())
        self.curvature = nn.Parameter(0.02 * torch.randn(self.scope.moved, config.curvature_rank))
        self.log_loss_weights = nn.Parameter(loss_weights.log())

    def load_matching(self, weights: dict[str, Tensor]) -> None:
        """Load the weights of a model whose scope may differ. All must fit, except those of the inner step: their size depends on the scope."""
        own = self.state_dict()
        fitting = {n: value for n, value in weights.items() if n in own and own[n].shape == value.shape}
        if wrong := sorted((set(own) ^ set(fitting)) - {"log_inner_lr", "curvature"}):
            raise ValueError(
                f"these weights are of another architecture: {', '.join(wrong[:5])} differ; set --model.width and the other --model options to match"
            )
        self.load_state_dict(fitting, strict=False)

    def look(self, sample) -> Tensor:
        """Features of a batch's people, (B, F). sample: has the inputs of `encode` as attributes, named as in ENCODERS."""
        return self.encode(*(getattr(sample, name) for name in ENCODERS[self.kind]))

    def encode(
        self, keypoints: Tensor, confidence: Tensor, keypoints_3d: Tensor, confidence_3d: Tensor, bbox_info: Tensor
    ) -> Tensor:
        return self.encoder(keypoints, confidence, keypoints_3d, confidence_3d, bbox_info)

    def regress(self, features: Tensor, bbox_info: Tensor, body: BodyArrays) -> tuple[Tensor, Auxiliary]:
        """The state that adaptation starts from, (B, S), and the pseudo ground truth that predictions are compared with."""
        guess = self.unpack(self.auxiliary_head(features, bbox_info), bbox_info, body)
        state = self.scope.start(features, bbox_info)
        return state, Auxiliary(guess, 2 * torch.sigmoid(self.reliability_head(features)))

    def decode(self, state: Tensor, features: Tensor, bbox_info: Tensor, body: BodyArrays) -> Prediction:
        """The prediction that a state stands for."""
        return self.unpack(self.scope.vector(state, features, bbox_info), bbox_info, body)

    def move(self, state: Tensor, gradient: Tensor, features: Tensor, bbox_info: Tensor) -> Tensor:
        """The state after one step against the objective's gradient, (B, S) both."""
        step = self.descent(gradient[:, : self.scope.moved])
        return self.scope.move(state, step, features, bbox_info, second_order=gradient.requires_grad)

    def descent(self, gradient: Tensor) -> Tensor:
        """The step to subtract from the numbers that adaptation moves, given the objective's gradient with respect to them; both (B, moved).

        Learned step sizes per dimension (Meta-SGD, Li et al. 2017) plus a learned low-rank part, so that joints that move together
        in people move together here (after Meta-Curvature, Park and Oliva 2019). Positive definite: always downhill.
        """
        return self.log_inner_lr.exp() * gradient + (gradient @ self.curvature) @ self.curvature.T

    def unpack(self, vector: Tensor, bbox_info: Tensor, body: BodyArrays) -> Prediction:
        """A prediction vector (B, 157) as a body seen by the camera.

        The camera (s, x, y) says that the pelvis appears at (x, y) in box units, at the distance 2 / (s * box size): CLIFF's
        full-image translation, written so that moving in depth does not move the person in the image.
        """
        pose, betas, camera = vector.split([POSE, BETAS, CAMERA], dim=-1)
        rotmat = rot6d_to_rotmat(pose.unflatten(-1, (skeleton.NUM_JOINTS, 6)))
        posed = self.kinematics(rotmat, betas, body)
        raw_scale, pelvis_xy = camera.split([1, 2], dim=-1)
        center, size = bbox_info.split([2, 1], dim=-1)
        z = 2 / (nn.functional.softplus(raw_scale + 0.5413) * size)  # softplus(0.5413) = 1
        pelvis = torch.cat([(center + pelvis_xy * (size / 2)) * z, z], dim=-1)
        xy, depth = (posed.keypoints + pelvis.unsqueeze(1)).split([2, 1], dim=-1)
        projected = (xy / depth.clamp_min(NEAR_M) - center.unsqueeze(1)) / (size / 2).unsqueeze(1)
        return Prediction(rotmat, betas, pelvis - posed.pelvis, posed.joints, posed.keypoints, projected)
