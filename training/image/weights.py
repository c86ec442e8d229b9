"""Load public weights into a backbone: torchvision's ResNets, HRNet for ImageNet or COCO keypoints."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

WRAPPERS = ("state_dict", "model")
"""Keys under which files keep the state dict, where it is not the whole file."""
PREFIXES = ("module.", "backbone.", "encoder.")


@dataclass(frozen=True)
class Loaded:
    matched: int
    missing: list[str]
    """Layers that keep their random weights."""
    unmatched: list[str]
    """In the file only, such as a classifier."""

    def __str__(self) -> str:
        def some(names: list[str]) -> str:
            return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "") or "none"

        return f"{self.matched} tensors loaded; left untrained: {some(self.missing)}; not used: {some(self.unmatched)}"


def load_backbone(backbone: nn.Module, path: Path) -> Loaded:
    """Copy what `path` has under the backbone's names. Raises ValueError when shapes differ, or less than half matches."""
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path.resolve()}: give --weights the file of the backbone's weights")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, and is not opened ({error}): save its state dict alone"
        ) from None
    for wrapper in WRAPPERS:
        saved = saved.get(wrapper, saved)
    own = backbone.state_dict()
    found = {_plain(name): value for name, value in saved.items()}
    matched = {name: value for name, value in found.items() if name in own}
    if wrong := [name for name, value in matched.items() if value.shape != own[name].shape]:
        raise ValueError(
            f"{path} is of another network: {wrong[0]} is {tuple(found[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}"
        )
    if 2 * len(matched) < len(own):
        raise ValueError(
            f"{path} is of another network: {len(matched)} of {len(own)} tensors match; it has {', '.join(list(found)[:4])}, ... "
            f"where {', '.join(list(own)[:4])}, ... is needed"
        )
    backbone.load_state_dict(matched, strict=False)
    missing = [name for name in own if name not in matched and not name.endswith("num_batches_tracked")]
    return Loaded(len(matched), missing, [name for name in found if name not in own])


def _plain(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name
