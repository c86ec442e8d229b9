"""Small constants, each copied to a device once: every copy of one makes the processor wait, and no CUDA graph can be made of it."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor


@cache
def constant(values: tuple, device: torch.device, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers, or tuples of them, as a tensor. Not to be written to."""
    return torch.tensor(values, dtype=dtype, device=device)
