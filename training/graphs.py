"""The four functions of a bundle, as modules of plain tensors: what is exported, and the torch side of the golden pair.

Names of inputs and outputs are the bundle's contract (`hmr_ros.bundle.GRAPHS`).
"""

from __future__ import annotations

from torch import Tensor, nn

from training.adapt import adapt_step
from training.body import BodyArrays
from training.losses import Target, objective
from training.model import MetaHmr


class Encode(nn.Module):
    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(
        self, keypoints: Tensor, confidence: Tensor, keypoints_3d: Tensor, confidence_3d: Tensor, bbox_info: Tensor
    ) -> Tensor:
        return self.model.encode(keypoints, confidence, keypoints_3d, confidence_3d, bbox_info)


class Regress(nn.Module):
    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(self, features: Tensor, bbox_info: Tensor, *body: Tensor) -> tuple[Tensor, ...]:
        state, auxiliary = self.model.regress(features, bbox_info, BodyArrays(*body))
        guess = auxiliary.prediction
        return (
            state, guess.rotmat, guess.betas, guess.joints, guess.keypoints, guess.transl, auxiliary.reliability,
        )  # fmt: skip


class Adapt(nn.Module):
    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(
        self, state: Tensor, features: Tensor, bbox_info: Tensor, keypoints: Tensor, confidence: Tensor,
        target_rotmat: Tensor, target_betas: Tensor, target_joints: Tensor, target_keypoints: Tensor,
        keypoints_3d: Tensor, confidence_3d: Tensor, loss_weights: Tensor, *body: Tensor,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        target = Target(
            keypoints,
            confidence,
            target_rotmat,
            target_betas,
            target_joints,
            target_keypoints,
            keypoints_3d,
            confidence_3d,
        )
        state = state.detach().requires_grad_()
        prediction = self.model.decode(state, features, bbox_info, BodyArrays(*body))
        return adapt_step(self.model, state, prediction, target, loss_weights)


class Readout(nn.Module):
    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(
        self, state: Tensor, features: Tensor, bbox_info: Tensor, keypoints: Tensor, confidence: Tensor,
        target_rotmat: Tensor, target_betas: Tensor, target_joints: Tensor, target_keypoints: Tensor,
        keypoints_3d: Tensor, confidence_3d: Tensor, loss_weights: Tensor, *body: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        target = Target(
            keypoints,
            confidence,
            target_rotmat,
            target_betas,
            target_joints,
            target_keypoints,
            keypoints_3d,
            confidence_3d,
        )
        prediction = self.model.decode(state, features, bbox_info, BodyArrays(*body))
        return prediction.rotmat, prediction.betas, prediction.transl, objective(prediction, target, loss_weights)
