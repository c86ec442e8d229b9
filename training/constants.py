"""Small constants, copied to each device only once: such a copy makes the CPU wait, and cannot be captured in a CUDA graph."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def constant(values: tuple, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers, or tuples of them, as a tensor. Cached, so do not write to it."""
    return torch.tensor(values, dtype=dtype, device=device)
