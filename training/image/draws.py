"""Random numbers on the device of the generator that they come from."""

from __future__ import annotations

import torch
from torch import Tensor


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=rng, device=rng.device)


def cut_normal(rng: torch.Generator, *shape: int) -> Tensor:
    """Standard normal, cut at two standard deviations."""
    return torch.randn(shape, generator=rng, device=rng.device).clamp(-2, 2)


def happens(rng: torch.Generator, probability: float, *shape: int) -> Tensor:
    """Bool."""
    return torch.rand(shape, generator=rng, device=rng.device) < probability


def below(rng: torch.Generator, count: int, *shape: int) -> Tensor:
    """Whole numbers from 0 to count - 1, int64."""
    return torch.randint(count, shape, generator=rng, device=rng.device)
