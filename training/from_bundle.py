"""Turn a bundle's weights back into a checkpoint, to continue training from: `--init hmr_ros/assets/bundles/default`.

Checkpoints are not kept in the repository, bundles are. Exported graphs name their vectors by the parameter's number, and hold
matrices transposed, in the order in which they are used; the golden pair shows whether the weights were restored correctly.
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmr_ros.bundle import BODY_INPUTS, Bundle, load_bundle
from training.architecture import model_of
from training.body import BodyArrays
from training.checkpoint import Checkpoint
from training.config import LossConfig
from training.losses import weights_of
from training.model import MetaHmr

ENCODED = "encoder."
HEADS = ("head.", "auxiliary_head.")


def checkpoint_of(path: Path) -> Checkpoint:
    """Weights without the optimiser's moments. The inner objective's weights are the initial ones, because a bundle may lack some.

    Raises ValueError if the graphs are not what this version exports, and for encoders that read images.
    """
    bundle = load_bundle(str(path))
    history = bundle.manifest["trained"]["history"]
    model = model_of(history[-1]["config"]["model"]).eval().requires_grad_(False)
    if bundle.encoder != "keypoints" or bundle.manifest["scope"] != "latent":
        raise ValueError(f"{path}: only keypoint bundles of scope latent can be read back; give --init a checkpoint")
    kept = {graph: initializers(bundle, graph) for graph in ("encode", "regress", "adapt")}
    for heads in itertools.permutations(HEADS):
        weights = put_back(model, kept, heads)
        model.load_state_dict(weights)
        if agrees(model, bundle):
            weights["log_loss_weights"] = weights_of(LossConfig()).log()
            return Checkpoint(weights, {}, 0, {**history[-1], "history": history})
    raise ValueError(
        f"{path}: its graphs were exported by another version and cannot be read back; give --init a checkpoint"
    )


def initializers(bundle: Bundle, graph: str) -> dict[str, Tensor]:
    import onnx

    stored = onnx.load(bundle.graph_path(graph)).graph.initializer
    return {t.name: torch.from_numpy(np.array(onnx.numpy_helper.to_array(t))) for t in stored}


def put_back(model: MetaHmr, kept: dict[str, dict[str, Tensor]], heads: tuple[str, ...]) -> dict[str, Tensor]:
    """The model's state dict. heads: the order in which `regress` uses them."""
    weights = {**model.state_dict(), "log_inner_lr": step_sizes(kept["adapt"])}
    missing = []
    for i, (name, parameter) in enumerate(model.named_parameters()):
        found = [c[f"constant{i}"] for c in kept.values() if f"constant{i}" in c]
        if found and found[0].shape == parameter.shape:
            weights[name] = found[0]
        elif parameter.dim() == 2:
            missing.append(name)
    parts = {"encode": (ENCODED,), "regress": (*heads, "reliability_head.")}
    for graph, prefixes in parts.items():
        names = [name for prefix in prefixes for name in missing if name.startswith(prefix)]
        for name, matrix in zip(names, matrices(kept[graph])):
            if matrix.T.shape == weights[name].shape:
                weights[name] = matrix.T.contiguous()
    return weights


def matrices(stored: dict[str, Tensor]) -> list[Tensor]:
    """Transposed weight matrices in the order of their use."""
    names = [name for name in stored if re.fullmatch(r"permute(_\d+)?", name) and stored[name].dim() == 2]
    return [stored[name] for name in sorted(names, key=lambda name: int(name.partition("_")[2] or -1))]


def step_sizes(stored: dict[str, Tensor]) -> Tensor:
    """(157,) logs of the step sizes, of which the exporter stores the exponential."""
    (sizes,) = (value for name, value in stored.items() if name.startswith("exp") and value.dim() == 1)
    return sizes.log()


def agrees(model: MetaHmr, bundle: Bundle, tolerance: float = 1e-4) -> bool:
    """Whether the model reproduces the bundle's golden pairs of `encode` and `regress`."""
    inputs, outputs = bundle.golden("encode")
    features = model.encode(*(torch.from_numpy(a) for a in inputs.values()))
    given, expected = bundle.golden("regress")
    body = BodyArrays(*(torch.from_numpy(given[name]) for name in BODY_INPUTS))
    state, auxiliary = model.regress(features, torch.from_numpy(given["bbox_info"]), body)
    pairs = [
        (features, outputs["features"]),
        (state, expected["state"]),
        (auxiliary.prediction.rotmat, expected["target_rotmat"]),
        (auxiliary.reliability, expected["reliability"]),
    ]
    return all(float((ours - torch.from_numpy(theirs)).abs().max()) < tolerance for ours, theirs in pairs)
