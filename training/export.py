"""Turn a checkpoint into a bundle the runtime can use: `python -m training.export`.

The gradient of the objective is traced as ordinary operations (make_fx), so the adaptation step becomes a static graph
that needs no autograd: `state, ... -> new_state, loss`.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import torch
import tyro
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx.experimental.proxy_tensor import make_fx

from hmr_ros import bundle
from hmr_ros.bundle import BODY_INPUTS, ENCODERS, FORMAT, GRAPHS, LOOK, outputs_of
from hmr_ros.smpl_file import load_body
from training import checkpoint
from training.architecture import model_of
from training.body import BodyArrays
from training.command import errors_in_one_line
from training.compact import round_weights, share_weights
from training.config import MetaConfig
from training.graphs import Adapt, Encode, Look, Readout, Regress
from training.half import write_half
from training.look import example_picture, write_look
from training.losses import TERMS
from training.model import MetaHmr
from training.opset17 import lower
from training.train import inner_weights

OPSET = 18
"""The lowest that PyTorch writes; `opset17` converts it to a lower one."""
MODULES = {LOOK: Look, "encode": Encode, "regress": Regress, "adapt": Adapt, "readout": Readout}
LICENCE = "Apache-2.0; trained on CMU motion capture (mocap.cs.cmu.edu, NSF EIA-0196217)"
TRACE_BATCH = 17
"""Batch of the example inputs: equal to no other dimension, so that the tracer cannot confuse them."""


@dataclass(frozen=True)
class ExportConfig:
    checkpoint: Path = Path("runs/keypoints/checkpoint.safetensors")
    out: Path | None = None
    """Folder of the bundle; default: `bundle` beside the checkpoint."""
    name: str = "keypoints-latent"
    body: str = "open"
    dual: bool = True
    """Use the auxiliary head's pseudo ground truth in test-time optimisation, as in training. Where the detector's errors differ from those
    in training, that head is as wrong as the main one, and holds the fit back (`docs/training.md`)."""


def load_checkpoint(path: Path) -> tuple[MetaHmr, dict]:
    """The trained model and the description of its run."""
    saved = checkpoint.load(path)
    run = saved.run
    model = model_of(run["config"]["model"])
    model.load_state_dict(saved.model)
    return model.eval(), run


def inputs_of(graph: str, model: MetaHmr) -> tuple[str, ...]:
    """Names of a graph's inputs, in order."""
    return bundle.inputs_of(graph, model.kind)


def example_inputs(model: MetaHmr, body: BodyArrays, weights: Tensor, batch: int, seed: int = 0) -> dict[str, dict]:
    """Plausible inputs of every graph, chained: adapt takes what regress returns."""
    rng = torch.Generator().manual_seed(seed)
    keypoints = torch.empty(batch, 23, 2).uniform_(-0.8, 0.8, generator=rng)
    confidence = torch.rand(batch, 23, generator=rng)
    bbox_info = torch.cat([0.2 * torch.randn(batch, 2, generator=rng), 0.3 + torch.rand(batch, 1, generator=rng)], -1)
    bodies = dict(zip(BODY_INPUTS, body))
    seen = {
        "keypoints": keypoints, "confidence": confidence,
        "keypoints_3d": 0.4 * torch.randn(batch, 23, 3, generator=rng),
        "confidence_3d": torch.rand(batch, 23, generator=rng).round(), "bbox_info": bbox_info,
    }  # fmt: skip
    if "crop" in inputs_of("encode", model):
        seen["crop"] = torch.rand(batch, 3, *model.crop_px, generator=rng)
    encode = {name: seen[name] for name in inputs_of("encode", model)}
    with torch.no_grad():
        features = Encode(model)(*encode.values())
        regress = {"features": features, "bbox_info": bbox_info, **bodies}
        regressed = dict(zip(GRAPHS["regress"][1], Regress(model)(*regress.values())))
    fit = {
        "state": regressed["state"] + 0.05 * torch.randn(regressed["state"].shape, generator=rng),
        "features": features, "bbox_info": bbox_info, "keypoints": keypoints,
        "confidence": confidence * regressed["reliability"],
        **{name: regressed[name] for name in GRAPHS["adapt"][0] if name.startswith("target_")},
        "keypoints_3d": seen["keypoints_3d"], "confidence_3d": seen["confidence_3d"],
        "loss_weights": weights, **bodies,
    }  # fmt: skip
    return {**_look_inputs(model, encode, seed), "encode": encode, "regress": regress, "adapt": fit, "readout": fit}


def _look_inputs(model: MetaHmr, encode: dict[str, Tensor], seed: int) -> dict[str, dict[str, Tensor]]:
    """Inputs of `look`, if `encode` takes crops: a small picture, and the other inputs of `encode`."""
    if "crop" not in encode:
        return {}
    picture = example_picture(len(encode["crop"]), model.crop_px, 96, 128, seed)
    return {
        LOOK: {n: torch.from_numpy(a) for n, a in picture.items()} | {n: a for n, a in encode.items() if n != "crop"}
    }


def export_graph(name: str, module: nn.Module, inputs: dict[str, Tensor], path: Path) -> None:
    """Trace `module` with its gradients made explicit, and write ONNX with a dynamic number of people."""
    names, outputs = inputs_of(name, module.model), GRAPHS[name][1]
    per_person = [n for n in names if n not in BODY_INPUTS and n != "loss_weights"]
    values = tuple(inputs[n] for n in names)
    if "crop" not in names:  # a backbone has no gradient here, and would take minutes to trace
        module = gradients_made_explicit(module, values)
    people = torch.export.Dim("people", min=1, max=1024)
    shapes = tuple({0: people} if n in per_person else None for n in names)
    program = torch.export.export(module, values, dynamic_shapes=(shapes,), strict=False).run_decompositions()
    exported = torch.onnx.export(
        program, dynamo=True, opset_version=OPSET, input_names=list(names), output_names=list(outputs), optimize=True,
        verbose=False,
    )  # fmt: skip
    proto = exported.model_proto
    for node in proto.graph.node:  # the tracer's notes hold source paths, and are larger than the graph
        node.doc_string = ""
        del node.metadata_props[:]
    del proto.graph.value_info[:]
    onnx.checker.check_model(proto)
    onnx.save(lower(proto), path)


def write_picture_graphs(folder: Path, crop_px: tuple[int, int]) -> None:
    """Add the other graphs of an `encode.onnx` that reads crops: in float16, and with the cropping. All share one file of weights."""
    write_half(folder / "encode.onnx", folder / "encode_fp16.onnx")
    graphs = [(folder / f"encode{precision}.onnx", folder / f"{LOOK}{precision}.onnx") for precision in ("", "_fp16")]
    for encode, look in graphs:
        write_look(encode, look, crop_px)
    share_weights([path for pair in graphs for path in pair])


def gradients_made_explicit(module: nn.Module, values: tuple[Tensor, ...]) -> nn.Module:
    """The same function as a list of ordinary operations, including those of its backward pass."""
    constants = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    keys = list(constants)

    def function(constants: list[Tensor], *inputs: Tensor):
        return torch.func.functional_call(module, dict(zip(keys, constants)), inputs)

    trace = make_fx(function, decomposition_table=core_aten_decompositions(), tracing_mode="symbolic")
    traced = trace(list(constants.values()), *values)
    traced.graph.eliminate_dead_code()
    traced.recompile()
    return Bound(traced, constants.values())


class Bound(nn.Module):
    """A traced function with its constants, as a module that takes only the other inputs."""

    def __init__(self, traced: torch.fx.GraphModule, constants: Collection[Tensor]):
        super().__init__()
        self.traced = traced
        self.count = len(constants)
        for i, value in enumerate(constants):
            self.register_buffer(f"constant{i}", value.detach().clone())

    def forward(self, *inputs: Tensor):
        return self.traced([getattr(self, f"constant{i}") for i in range(self.count)], *inputs)


def golden_arrays(model: MetaHmr, body: BodyArrays, weights: Tensor) -> dict[str, np.ndarray]:
    """Inputs and outputs of every graph for three people, computed by torch."""
    arrays = {f"body/{name}": value.numpy() for name, value in zip(BODY_INPUTS, body)}
    for name, inputs in example_inputs(model, body, weights, batch=3, seed=1).items():
        outputs = MODULES[name](model)(*(inputs[n] for n in inputs_of(name, model)))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        arrays |= {f"{name}/{n}": v.numpy() for n, v in inputs.items() if n not in BODY_INPUTS}
        arrays |= {f"{name}/{n}": v.detach().numpy() for n, v in zip(outputs_of(name), outputs)}
    return arrays


def export(config: ExportConfig) -> Path:
    """Write the bundle, replacing existing files only once everything has been made. Returns its folder."""
    out = config.out or config.checkpoint.parent / "bundle"
    model, run = load_checkpoint(config.checkpoint)
    model.requires_grad_(False)
    body_model = load_body(config.body)
    if body_model.shape_space != run.get("shape_space", body_model.shape_space):
        raise ValueError(
            f"{config.checkpoint} speaks the shape space {run['shape_space']!r}, --body {config.body} has "
            f"{body_model.shape_space!r}: give --body the SMPL file it was trained with"
        )
    body = BodyArrays.of(body_model)
    settings = run["config"]
    meta = MetaConfig(**settings["meta"])
    weights, later = inner_weights(model, meta if config.dual else replace(meta, dual=False))
    if not torch.equal(weights, later):
        raise ValueError(
            f"{config.checkpoint} drops the dual term after the first step (--meta.no-dual-after-first): the runtime has one "
            "set of term weights for all steps; train without that switch"
        )
    if reads_pictures := "crop" in ENCODERS[model.kind]:
        seen = example_inputs(model, body, weights, batch=2)["encode"]
        round_weights(model.encoder, lambda: model.encode(*seen.values()))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent) as made:
        folder = Path(made)
        for name, inputs in example_inputs(model, body, weights, TRACE_BATCH).items():
            if name != LOOK:
                export_graph(name, MODULES[name](model), inputs, folder / f"{name}.onnx")
        if reads_pictures:
            write_picture_graphs(folder, model.crop_px)
        np.savez_compressed(folder / "golden.npz", **golden_arrays(model, body, weights))
        files = sorted(p for p in folder.iterdir())
        manifest = {
            "format": FORMAT,
            "name": config.name,
            "shape_space": body_model.shape_space,
            "encoder": model.kind,
            **({"crop_px": model.crop_px} if reads_pictures else {}),
            "scope": model.config.scope,
            "loss_weights": dict(zip(TERMS, weights.tolist())),
            "opset": max(onnx.load(file).opset_import[0].version for file in files if file.suffix == ".onnx"),
            "licence": run.get("licence", LICENCE),
            "trained": {"history": run["history"], "exported_at": checkpoint.commit()},
            "metrics": {},  # `training.evaluate --record` fills it
            "sha256": checkpoint.digests(files),
        }
        out.mkdir(exist_ok=True)
        for file in files:
            file.replace(out / file.name)
        (out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    return out


if __name__ == "__main__":
    with errors_in_one_line():
        print(f"bundle written to {export(tyro.cli(ExportConfig))}")
