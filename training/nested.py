"""Batches are (named) tuples of tensors, some within others: what is done to all of their tensors alike."""

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
    """The same tuples of what `function` makes of the tensors; of several alike, of those that have the same place."""
    first = nested[0]
    parts = [mapped(function, *part) if isinstance(part[0], tuple) else function(*part) for part in zip(*nested)]
    return type(first)(*parts) if hasattr(first, "_fields") else type(first)(parts)


def joined(*batches: Nested) -> Nested:
    """Several batches as one."""
    return batches[0] if len(batches) == 1 else mapped(lambda *values: torch.cat(values), *batches)
