"""The inner loop: one step of test-time optimisation. Training, evaluation and export all use this code."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from training.body import BodyArrays
from training.losses import Target, objective
from training.model import MetaHmr, Prediction


def adapt_step(
    model: MetaHmr, state: Tensor, prediction: Prediction, features: Tensor, bbox_info: Tensor, target: Target,
    weights: Tensor, create_graph: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """One preconditioned gradient step on each person's own state.

    `prediction` must be decoded from `state`, which must require a gradient. Returns the new state (B, S) and the objective (B,)
    *before* the step. `create_graph` keeps second derivatives.
    """
    loss = objective(prediction, target, weights)
    (gradient,) = torch.autograd.grad(loss.sum(), state, create_graph=create_graph, retain_graph=True)
    return model.move(state, gradient, features, bbox_info), loss


def adapt(
    model: MetaHmr, state: Tensor, features: Tensor, bbox_info: Tensor, target: Target, weights: Tensor,
    body: BodyArrays, steps: int, create_graph: bool = False,
) -> Iterator[Prediction]:  # fmt: skip
    """Yield the prediction before any step and after each of `steps` steps: steps + 1 predictions.

    weights: (5,), the objective's term weights; or (2, 5), those of the first step and those of all later steps.
    """
    if not state.requires_grad:
        state = state.detach().requires_grad_()
    for step in range(steps + 1):
        prediction = model.decode(state, features, bbox_info, body)
        yield prediction
        if step < steps:
            now = weights if weights.dim() == 1 else weights[min(step, 1)]
            state, _ = adapt_step(model, state, prediction, features, bbox_info, target, now, create_graph)
