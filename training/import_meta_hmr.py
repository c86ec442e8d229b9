"""Import the released checkpoints of Meta-HMR (github.com/fmx789/Meta-HMR) into our image model, main network and auxiliary.

    python -m training.import_meta_hmr --checkpoint cliff_hrnet_3dpw.pt --backbone hrnet_w48 --head cliff --out runs/cliff_hrnet
    python -m training.export --checkpoint runs/cliff_hrnet/checkpoint.safetensors --body SMPL_NEUTRAL.pkl --out my_bundle

Only tensors are read from the file. Only the two networks are imported; the step sizes of test-time optimisation, which those
checkpoints do not have, are our initial ones.
"""

from __future__ import annotations

import pickle
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from torch import Tensor

from hmr_ros.smpl_file import shape_space_of
from training.checkpoint import Checkpoint, commit, digests
from training.command import errors_in_one_line
from training.config import LossConfig, MetaConfig
from training.image.config import Head, ImageModelConfig
from training.image.model import ImageMetaHmr
from training.losses import weights_of

Published = dict[str, dict[str, Tensor]]
"""State dicts by network: `model` is the main one, `model_aux` the auxiliary."""
AUXILIARY_OF = {"resnet50": "resnet50", "hrnet_w48": "hrnet_w48_cls"}
ITERATIONS, AUXILIARY_ITERATIONS = 10, 3
UNUSED = ("backbone.final_layer.",)
"""In their files, but not used in any computation: the layer of HRNet's keypoint heatmaps."""
MEAN = {"init_pose": "pose", "init_shape": "shape", "init_cam": "cam"}
"""Buffers of the mean body, and their names in smpl_mean_params.npz."""


class CheckpointError(ValueError):
    """A checkpoint that does not fit. The message says what is missing, and what has another shape."""


@dataclass(frozen=True)
class ImportConfig:
    checkpoint: Path
    """The .pt file of Meta-HMR."""
    out: Path
    """Folder for our checkpoint.safetensors."""
    backbone: Literal["resnet50", "hrnet_w48"] = "resnet50"
    head: Head = "cliff"
    mean_params: Path = Path("data/smpl_mean_params.npz")
    """Your own copy, under the SMPL licence; read only if the checkpoint lacks the mean body."""


@dataclass
class Report:
    """What happened to every tensor. Keys are as published, with the network's name before them."""

    matched: int = 0
    missing: list[str] = field(default_factory=list)
    wrong_shape: list[str] = field(default_factory=list)
    unmatched: list[str] = field(default_factory=list)
    """In the file, but not part of this architecture."""
    unused: list[str] = field(default_factory=list)
    """In their architecture, but not used in any computation."""
    from_mean_params: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        lines = [f"matched: {self.matched} tensors"]
        for name in ("missing", "wrong_shape", "unmatched", "unused", "from_mean_params"):
            if keys := getattr(self, name):
                shown = ", ".join(keys[:8]) + (f", and {len(keys) - 8} more" if len(keys) > 8 else "")
                lines.append(f"{name.replace('_', ' ')}: {len(keys)}: {shown}")
        return "\n".join(lines)


def config_of(backbone: str, head: Head) -> ImageModelConfig:
    """The published architecture."""
    if (backbone, head) == ("hrnet_w48", "hmr"):
        raise CheckpointError("Meta-HMR defines HMR with ResNet-50 only: --backbone resnet50, or --head cliff")
    return ImageModelConfig(
        backbone=backbone, auxiliary_backbone=AUXILIARY_OF[backbone], head=head,
        iterations=ITERATIONS, auxiliary_iterations=AUXILIARY_ITERATIONS,
    )  # fmt: skip


def published_key(ours: str, backbone: str) -> tuple[str, str] | None:
    """Network and key under which Meta-HMR stores what our state dict calls `ours`; None if it has no such tensor.

    >>> published_key("encoder.auxiliary_backbone.conv1.weight", "hrnet_w48")
    ('model_aux', 'encoder.conv1.weight')
    """
    deep = (
        backbone == "hrnet_w48"
    )  # HRNet is a module of its own in the network; ResNet's layers stand beside the head's
    places = {
        "encoder.backbone.": ("model", "backbone." if deep else ""),
        "encoder.auxiliary_backbone.": ("model_aux", "encoder." if deep else ""),
        "head.": ("model", ""),
        "auxiliary_head.": ("model_aux", ""),
    }
    for prefix, (network, theirs) in places.items():
        if ours.startswith(prefix):
            return network, theirs + ours.removeprefix(prefix)
    return None


def read(path: Path) -> Published:
    """The two state dicts of a released checkpoint."""
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path.resolve()}")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path} holds more than tensors and plain values, and is not opened, because such files can run code ({error})"
        ) from None
    absent = [name for name in ("model", "model_aux") if not isinstance(saved, dict) or name not in saved]
    if absent:
        holds = ", ".join(map(str, list(saved)[:8])) if isinstance(saved, dict) else type(saved).__name__
        raise CheckpointError(f"{path} is no checkpoint of Meta-HMR: it lacks {', '.join(absent)} (it holds: {holds})")
    return {n: {k.removeprefix("module."): v for k, v in saved[n].items()} for n in ("model", "model_aux")}


def read_mean(path: Path) -> dict[str, Tensor]:
    """The mean body of smpl_mean_params.npz, under the names of the buffers; empty where there is no such file."""
    if not path.is_file():
        return {}
    with np.load(path) as arrays:
        return {
            ours: torch.from_numpy(arrays[theirs].astype(np.float32)).reshape(1, -1) for ours, theirs in MEAN.items()
        }


def load_published(model: ImageMetaHmr, published: Published, mean: dict[str, Tensor]) -> Report:
    """Copy their tensors into `model`. Raises CheckpointError unless every tensor of the two networks was found."""
    report = Report()
    left = {network: dict(tensors) for network, tensors in published.items()}
    new = model.state_dict()
    for ours, value in new.items():
        place = published_key(ours, model.image.backbone)
        if place is None:
            continue
        network, key = place
        found, name = left[network].pop(key, None), f"{network}: {key}"
        if found is None and key in mean:
            found = mean[key]
            report.from_mean_params.append(name)
        if found is None and key.endswith("num_batches_tracked"):
            continue  # a counter that old files lack, and evaluation never reads
        if found is None:
            report.missing.append(name)
        elif found.shape != value.shape:
            report.wrong_shape.append(f"{name} is {tuple(found.shape)}, expected {tuple(value.shape)}")
        else:
            new[ours] = found.to(value.dtype)
            report.matched += 1
    for network, tensors in left.items():
        for key in tensors:
            (report.unused if key.startswith(UNUSED) else report.unmatched).append(f"{network}: {key}")
    if report.missing or report.wrong_shape:
        hint = ""
        if any(key.split()[-1] in MEAN for key in report.missing):
            hint = "\nThe mean body comes with SMPL: give --mean-params your smpl_mean_params.npz"
        raise CheckpointError(
            f"these are not the weights of {model.image.backbone} with a head {model.image.head}:\n{report}{hint}"
        )
    model.load_state_dict(new)
    return report


def import_meta_hmr(config: ImportConfig) -> tuple[Path, Report]:
    """Write our checkpoint; returns its path and what was matched."""
    image = config_of(config.backbone, config.head)
    model = ImageMetaHmr(image, weights_of(LossConfig()))
    report = load_published(model, read(config.checkpoint), read_mean(config.mean_params))
    torch.nn.init.zeros_(model.curvature)  # no coupling of the state's dimensions was learned
    files = [config.checkpoint, *([config.mean_params] if report.from_mean_params else [])]
    run = {
        "from_step": 0, "commit": commit(), "torch": torch.__version__, "data": digests(files),
        "config": {"model": asdict(image), "meta": asdict(MetaConfig())},
        "shape_space": shape_space_of("SMPL_NEUTRAL.pkl"),
        "licence": "that of the imported Meta-HMR checkpoint and of SMPL; not for redistribution",
    }  # fmt: skip
    config.out.mkdir(parents=True, exist_ok=True)
    path = config.out / "checkpoint.safetensors"
    Checkpoint(model.state_dict(), {}, 0, {**run, "history": [run]}).save(path)
    return path, report


if __name__ == "__main__":
    with errors_in_one_line():
        written, what = import_meta_hmr(tyro.cli(ImportConfig))
        print(f"{what}\nwritten to {written}")
