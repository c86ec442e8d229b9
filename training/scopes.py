"""What test-time optimisation updates for each person: three choices, called scopes (see `docs/training.md`).

A scope defines how its state (B, size) becomes a prediction vector, and how a step moves the state. The gradient is taken with respect
to the first `moved` numbers of the state; the rest, if any, records earlier steps.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor, nn

from training.config import ModelConfig
from training.head import BETAS, CAMERA, POSE, PREDICTION, Head


class Scope(Protocol):
    size: int
    moved: int

    def initial_lr(self) -> Tensor:
        """(moved,): initial step sizes, as large as is stable; meta-learning starts from them."""

    def start(self, features: Tensor, bbox_info: Tensor) -> Tensor:
        """(B, size): the state before any step."""

    def vector(self, state: Tensor, features: Tensor, bbox_info: Tensor) -> Tensor:
        """(B, 157): the prediction vector that a state stands for."""

    def move(self, state: Tensor, step: Tensor, features: Tensor, bbox_info: Tensor, second_order: bool) -> Tensor:
        """The state after subtracting `step` (B, moved). `second_order`: whether training also differentiates through what the
        gradient was computed from."""


class LatentScope:
    """The prediction vector itself; the head is out of the loop."""

    size = moved = PREDICTION

    def __init__(self, head: Head):
        self.head = head

    def initial_lr(self) -> Tensor:
        return torch.cat([torch.full((POSE,), 0.15), torch.full((BETAS,), 0.15), torch.full((CAMERA,), 0.03)])

    def start(self, features: Tensor, bbox_info: Tensor) -> Tensor:
        return self.head(features, bbox_info)

    def vector(self, state: Tensor, features: Tensor, bbox_info: Tensor) -> Tensor:
        return state

    def move(self, state: Tensor, step: Tensor, features: Tensor, bbox_info: Tensor, second_order: bool) -> Tensor:
        return state - step


class ContextScope:
    """Scale and shift of the head's hidden layer (FiLM, Perez et al. 2018; CAVIA, Zintgraf et al. 2019), zero at the start."""

    def __init__(self, head: Head):
        self.head = head
        self.size = self.moved = 2 * head.hidden.out_features

    def initial_lr(self) -> Tensor:
        return torch.full((self.size,), 0.05)

    def start(self, features: Tensor, bbox_info: Tensor) -> Tensor:
        return features.new_zeros(1, self.size).expand(features.shape[0], -1)

    def vector(self, state: Tensor, features: Tensor, bbox_info: Tensor) -> Tensor:
        scale, shift = state.chunk(2, dim=-1)
        return self.head.read(self.head.preactivation(features, bbox_info) * (1 + scale) + shift)

    def move(self, state: Tensor, step: Tensor, features: Tensor, bbox_info: Tensor, second_order: bool) -> Tensor:
        return state - step


class HeadScope:
    """All of the head's weights and biases, exactly, without a copy of them for each person.

    One person's gradient of a linear layer is an outer product, g xᵀ, so K steps change its weights by a matrix of rank K at most:
    the factors are kept, not the matrix. The hidden layer's input is the same in every step, so all of its steps together are one
    shift of its output. The state: that shift (width), the change of the output layer's bias (157), and for each step taken
    the output layer's factors, activation (width) and change (157), newest first. After `slots` steps the state no longer changes.

    There is one step size per row of the weights (a row's bias included), and mixing rows keeps the rank. Steps are divided by
    width + 1, the number of inputs, so that the same step size has about the same effect in networks of any width.
    """

    def __init__(self, head: Head, slots: int):
        self.head, self.slots = head, slots
        self.width = head.hidden.out_features
        self.moved = self.width + PREDICTION
        self.size = self.moved * (1 + slots)

    def initial_lr(self) -> Tensor:
        camera = torch.full((CAMERA,), 0.1)
        return torch.cat([torch.full((self.width,), 0.05), torch.full((POSE + BETAS,), 0.5), camera])

    def start(self, features: Tensor, bbox_info: Tensor) -> Tensor:
        return features.new_zeros(1, self.size).expand(features.shape[0], -1)

    def split(self, state: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """shift (B, width), bias (B, 157), activations (B, slots, width), changes (B, slots, 157)."""
        sizes = [self.width, PREDICTION, self.slots * self.width, self.slots * PREDICTION]
        shift, bias, activations, changes = state.split(sizes, dim=-1)
        return shift, bias, activations.unflatten(-1, (self.slots, -1)), changes.unflatten(-1, (self.slots, -1))

    def vector(self, state: Tensor, features: Tensor, bbox_info: Tensor) -> Tensor:
        shift, bias, activations, changes = self.split(state)
        hidden = self.head.preactivation(features, bbox_info) + shift
        inner_product = (activations * nn.functional.silu(hidden).unsqueeze(1)).sum(-1, keepdim=True)  # (B, slots, 1)
        return self.head.read(hidden) + bias + (changes * inner_product).sum(1)

    def move(self, state: Tensor, step: Tensor, features: Tensor, bbox_info: Tensor, second_order: bool) -> Tensor:
        shift, bias, activations, changes = self.split(state)
        step_hidden, step_out = (step / (self.width + 1)).split([self.width, PREDICTION], dim=-1)
        inputs = torch.cat([features, bbox_info], dim=-1)
        activation = nn.functional.silu(self.head.preactivation(features, bbox_info) + shift)
        if not second_order:
            inputs, activation = inputs.detach(), activation.detach()
        moved = [
            shift - step_hidden * (1 + (inputs * inputs).sum(-1, keepdim=True)),  # 1: the bias
            bias - step_out,
            torch.cat([activation.unsqueeze(1), activations[:, :-1]], dim=1).flatten(1),
            torch.cat([-step_out.unsqueeze(1), changes[:, :-1]], dim=1).flatten(1),
        ]
        full = activations[:, -1].abs().sum(-1, keepdim=True) > 0
        return torch.where(full, state, torch.cat(moved, dim=-1))

    def weights(self, state: Tensor, features: Tensor, bbox_info: Tensor) -> dict[str, Tensor]:
        """One person's own head with its weights written out: parameters of `Head` by name. For a state of batch 1."""
        (shift,), (bias,), (activations,), (changes,) = self.split(state)
        x = torch.cat([features, bbox_info], dim=-1)[0]
        per_input = shift / (1 + x @ x)
        return {
            "hidden.weight": self.head.hidden.weight + torch.outer(per_input, x),
            "hidden.bias": self.head.hidden.bias + per_input,
            "out.weight": self.head.out.weight + changes.T @ activations,
            "out.bias": self.head.out.bias + bias,
        }


def make_scope(config: ModelConfig, head: Head) -> Scope:
    if config.scope == "head":
        return HeadScope(head, config.head_slots)
    return {"latent": LatentScope, "context": ContextScope}[config.scope](head)
