"""The graphs of a bundle, as modules on plain tensors: for export, and for computing the golden pair in torch.

Names of inputs and outputs are the bundle's contract (`hmr_ros.bundle.GRAPHS`).
"""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from training.adapt import adapt_step
from training.body import BodyArrays
from training.look import cut
from training.losses import Target, objective
from training.model import MetaHmr


class Encode(nn.Module):
    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> Tensor:
        """inputs: `hmr_ros.bundle.ENCODERS` of the model's kind."""
        return self.model.encode(*inputs)


class Look(nn.Module):
    """`encode` from the whole picture, with the cropping included."""

    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, nodes: Tensor, spread: Tensor, *seen: Tensor) -> Tensor:
        """image, nodes, spread: see `hmr_ros.crop.look_inputs`; seen: the inputs of `encode` after its crop."""
        return self.model.encode(cut(image, nodes, spread, self.model.crop_px), *seen)


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


class FitInputs(NamedTuple):
    """The inputs of `adapt` and `readout`, grouped: both take the same, in the order of `hmr_ros.bundle.GRAPHS`."""

    state: Tensor
    features: Tensor
    bbox_info: Tensor
    target: Target
    loss_weights: Tensor
    body: BodyArrays

    @staticmethod
    def of(
        state: Tensor, features: Tensor, bbox_info: Tensor, keypoints: Tensor, confidence: Tensor,
        target_rotmat: Tensor, target_betas: Tensor, target_joints: Tensor, target_keypoints: Tensor,
        keypoints_3d: Tensor, confidence_3d: Tensor, loss_weights: Tensor, *body: Tensor,
    ) -> FitInputs:  # fmt: skip
        target = Target(
            keypoints, confidence, target_rotmat, target_betas, target_joints, target_keypoints,
            keypoints_3d, confidence_3d,
        )  # fmt: skip
        return FitInputs(state, features, bbox_info, target, loss_weights, BodyArrays(*body))


class Adapt(nn.Module):
    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        fit = FitInputs.of(*inputs)
        state = fit.state.detach().requires_grad_()
        prediction = self.model.decode(state, fit.features, fit.bbox_info, fit.body)
        return adapt_step(self.model, state, prediction, fit.features, fit.bbox_info, fit.target, fit.loss_weights)


class Readout(nn.Module):
    def __init__(self, model: MetaHmr):
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        fit = FitInputs.of(*inputs)
        prediction = self.model.decode(fit.state, fit.features, fit.bbox_info, fit.body)
        loss = objective(prediction, fit.target, fit.loss_weights)
        return prediction.rotmat, prediction.betas, prediction.transl, loss
