"""Operations on all tensors of a batch. Batches are (named) tuples of tensors, which may be nested."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

import torch
from torch import Tensor

Nested = TypeVar("Nested", bound=tuple)


def tensors(nested: tuple) -> Iterator[Tensor]:
    """All tensors, in order."""
    for part in nested:
        if isinstance(part, tuple):
            yield from tensors(part)
        else:
            yield part


def mapped(function: Callable[..., Tensor], *nested: Nested) -> Nested:
    """Apply `function` to every tensor and keep the structure. Several tuples must have the same structure: tensors at the same place are
    passed together."""
    first = nested[0]
    parts = [mapped(function, *part) if isinstance(part[0], tuple) else function(*part) for part in zip(*nested)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)


def joined(*batches: Nested) -> Nested:
    """Concatenate several batches into one."""
    return batches[0] if len(batches) == 1 else mapped(lambda *values: torch.cat(values), *batches)
