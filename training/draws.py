"""Random numbers, drawn on their generator's device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

Draw = Callable[..., Tensor]
"""Random numbers of the shape asked for."""


def drawing(kind: Callable[..., Tensor], rng: torch.Generator) -> Draw:
    """torch.rand, randn or randperm as a function of the shape alone."""
    return partial(kind, generator=rng, device=rng.device)


def uniform(rng: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * drawing(torch.rand, rng)(*shape)


def normal(rng: torch.Generator, *shape: int) -> Tensor:
    """Standard normal."""
    return drawing(torch.randn, rng)(*shape)


def cut_normal(rng: torch.Generator, *shape: int) -> Tensor:
    """Standard normal, cut at two standard deviations."""
    return normal(rng, *shape).clamp(-2, 2)


def happens(rng: torch.Generator, probability: float, *shape: int) -> Tensor:
    """Bool: True with this probability."""
    return drawing(torch.rand, rng)(*shape) < probability


def below(rng: torch.Generator, count: int, *shape: int) -> Tensor:
    """Whole numbers from 0 to count - 1, int64."""
    return drawing(torch.randint, rng)(count, shape)
