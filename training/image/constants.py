"""Small constants, each copied to a device once: every copy of one makes the processor wait for the device."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def constant(values: tuple, device: torch.device) -> Tensor:
    """Numbers, or tuples of them, as a float32 tensor. Not to be written to."""
    return torch.tensor(values, dtype=torch.float32, device=device)
