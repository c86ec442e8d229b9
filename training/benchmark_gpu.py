"""Speed of the graphs on a GPU, compared with all other runtimes for them: `python -m training.benchmark_gpu --json FILE`.

For 1, 2, 4 and 8 people, in one run: every graph on TensorRT, on ONNX Runtime's CUDA and CPU providers, and as PyTorch modules, eager and
compiled. Times are from numpy arrays to numpy arrays, as in the node (median / p99). On TensorRT also: the time on the GPU alone, by CUDA
events, and the share of the roofline that it reaches: the graph's minimum cost (`graph_cost`), taken whole and layer by layer, at the
matrix rate and the bandwidth measured on this GPU. Whatever cannot be measured here is listed with the reason.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch.fx.experimental.proxy_tensor import make_fx
from tqdm import tqdm

from hmr_ros.backends.device_graph import DeviceGraph
from hmr_ros.backends.graph import BackendError, Graph
from hmr_ros.body_model import BodyModel
from hmr_ros.bundle import BODY_INPUTS, LOOK, SHARED, Bundle, BundleError, inputs_of, load_bundle, outputs_of
from hmr_ros.config import ModelConfig as Runtime
from hmr_ros.factory import load_graphs
from hmr_ros.smpl_file import load_body
from training import export
from training.architecture import model_of
from training.checkpoint import Checkpoint
from training.config import MetaConfig
from training.graph_cost import PICTURE, Cost, count, layers
from training.image.config import ImageModelConfig
from training.image.model import ImageMetaHmr
from training.look import example_picture
from training.losses import TERMS
from training.model import MetaHmr

BACKENDS = ("tensorrt", "onnxruntime_cuda", "onnxruntime")
COMPILED = "torch.compile"


@dataclass(frozen=True)
class BenchmarkConfig:
    bundle: str = "default"
    backbone: str = ""
    """Time an untrained bundle with this image backbone instead (resnet50, hrnet_w48...); weights do not affect the time."""
    body: str = "open"
    people: tuple[int, ...] = (1, 2, 4, 8)
    compile_people: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of people to compile PyTorch for: a good part of a minute per graph."""
    steps: int = 5
    """Adaptation steps per frame, for the reported frame rates."""
    repeats: int = 200
    precision: str = "fp16"
    """Precision of the encoder on TensorRT."""
    engine_cache: str = ""
    json: Path | None = None


@dataclass(frozen=True)
class Peaks:
    """Peak rates of this machine, as measured."""

    fp16_flops_per_s: float
    fp32_flops_per_s: float
    bytes_per_s: float

    def share(self, cost: Cost | list[Cost], half: bool, ms: float) -> float:
        """Minimum time of the work by the roofline, as a share of `ms`: as one piece, or piece after piece."""
        flops_per_s = self.fp16_flops_per_s if half else self.fp32_flops_per_s
        pieces = cost if isinstance(cost, list) else [cost]
        return sum(piece.least_ms(flops_per_s, self.bytes_per_s) for piece in pieces) / ms


def main(config: BenchmarkConfig) -> dict:
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(untrained_bundle(config, Path(scratch) / "bundle")) if config.backbone else config.bundle
        result = benchmark(dataclasses.replace(config, bundle=folder))
    print(table(result))
    if config.json:
        config.json.write_text(json.dumps(result, indent=2) + "\n")
    return result


def benchmark(config: BenchmarkConfig) -> dict:
    body, bundle = load_body(config.body), load_bundle(config.bundle)
    contenders, missing = _contenders(config, body, bundle)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    peaks = measure_peaks(device) if device == "cuda" else None
    if peaks is None:
        missing["roofline"] = "torch sees no GPU to measure it on"
    rows: dict[str, dict] = {}
    for people in config.people:
        inputs = example_inputs(bundle, people)
        for name in bundle.graphs:
            now = {w: g for w, g in contenders.items() if w != COMPILED or people in config.compile_people}
            row: dict = {who: _time(graphs[name], inputs[name], config.repeats, f"{people} people, {name}, {who}")
                         for who, graphs in now.items()}  # fmt: skip
            if "tensorrt" in contenders:
                row["tensorrt"] |= _on_gpu(contenders["tensorrt"][name], people, config, bundle, name, peaks)
            rows.setdefault(str(people), {})[name] = row
    return {
        "gpu": torch.cuda.get_device_name() if device == "cuda" else None,
        "torch": f"{torch.__version__} on {device}",
        "encoder": config.backbone or bundle.encoder,
        "steps": config.steps,
        "peaks": peaks and dataclasses.asdict(peaks),
        "missing": missing,
        "rows": rows,
        "frames_per_s": {people: _frames_per_s(stages, config.steps) for people, stages in rows.items()},
    }


def _contenders(config: BenchmarkConfig, body: BodyModel, bundle: Bundle) -> tuple[dict[str, dict[str, Graph]], dict]:
    """Every runtime that can run the graphs here, and why the others cannot."""
    contenders: dict[str, dict[str, Graph]] = {}
    missing: dict[str, str] = {}
    for backend in BACKENDS:
        runtime = Runtime(backend=backend, precision=config.precision, engine_cache=config.engine_cache)
        try:
            contenders[backend] = load_graphs(runtime, body, bundle, max(config.people), names=bundle.graphs).graphs
        except (BackendError, BundleError) as error:
            missing[backend] = str(error)
    model = model_in(bundle)
    contenders["torch eager"] = {name: TorchGraph(name, model, body, compiled=False) for name in bundle.graphs}
    if torch.cuda.is_available():
        contenders[COMPILED] = {name: TorchGraph(name, model, body, compiled=True) for name in bundle.graphs}
    else:
        missing[COMPILED] = "torch sees no GPU to compile for"
    return contenders, missing


def _on_gpu(graph: Graph, people: int, config: BenchmarkConfig, bundle: Bundle, name: str, peaks: Peaks | None) -> dict:
    assert isinstance(graph, DeviceGraph)
    times = [graph.device_ms(people) for _ in range(config.repeats)]
    half = config.precision == "fp16" and f"{name}_fp16.onnx" in bundle.manifest["sha256"]
    path = bundle.graph_path(f"{name}_fp16" if half else name)
    cost, pieces, median = count(path, people), layers(path, people), float(np.median(times))
    found = {f"gpu_{key}": ms for key, ms in _statistics(times).items()} | dataclasses.asdict(cost)
    if peaks is None:
        return found
    shares = {"roofline_share": peaks.share(cost, half, median), "layers_share": peaks.share(pieces, half, median)}
    return found | shares


class TorchGraph:
    """One of a bundle's functions as a PyTorch module, from numpy to numpy."""

    def __init__(self, name: str, model: MetaHmr, body: BodyModel, compiled: bool):
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        self._names, self._outputs, self._compiled = inputs_of(name, model.kind), outputs_of(name), compiled
        self._module = export.MODULES[name](model).to(self._device)
        self._body = {n: torch.from_numpy(np.array(a)).to(self._device) for n, a in body.graph_inputs().items()}
        self._functions: dict[tuple, Callable] = {}

    def __call__(self, **inputs: np.ndarray) -> dict[str, np.ndarray]:
        values = [
            self._body[n] if n in self._body else torch.from_numpy(inputs[n]).to(self._device) for n in self._names
        ]
        shapes = tuple(value.shape for value in values)
        if shapes not in self._functions:
            self._functions[shapes] = self._prepare(values) if self._compiled else self._module
        answer = self._functions[shapes](*values)
        answer = answer if isinstance(answer, tuple) else (answer,)
        return dict(zip(self._outputs, (value.detach().cpu().numpy() for value in answer)))

    def _prepare(self, values: list[torch.Tensor]) -> Callable:
        """Trace with explicit gradient operations, as for ONNX: torch.compile does not enter torch.autograd.grad."""
        traced = make_fx(lambda *inputs: self._module(*inputs))(*values)
        mode = "reduce-overhead" if self._device == "cuda" else "default"  # reduce-overhead: CUDA graphs
        return torch.compile(torch.no_grad()(traced), mode=mode, dynamic=False)

    def bind(self, inputs: dict[str, np.ndarray]) -> TorchGraph:
        return self


def model_in(bundle: Bundle) -> MetaHmr:
    """An untrained model of the bundle's architecture."""
    settings = bundle.manifest["trained"]["history"][-1]["config"]["model"]
    return model_of(settings).eval().requires_grad_(False)


def untrained_bundle(config: BenchmarkConfig, folder: Path) -> Path:
    """Write a bundle whose encoder reads images, with untrained weights."""
    torch.manual_seed(0)
    settings = ImageModelConfig(backbone=config.backbone)
    model = ImageMetaHmr(settings, torch.ones(len(TERMS)))
    run: dict = {"config": {"model": dataclasses.asdict(settings), "meta": dataclasses.asdict(MetaConfig())}}
    file = folder.parent / "untrained.safetensors"
    Checkpoint(model.state_dict(), {}, 0, {**run, "history": [run], "licence": "none: untrained"}).save(file)
    return export.export(export.ExportConfig(file, folder, "untrained", config.body))


def example_inputs(bundle: Bundle, people: int) -> dict[str, dict[str, np.ndarray]]:
    """The golden inputs, repeated for this many people, without the body; for `look`, people in a picture of size PICTURE."""
    inputs = {}
    for name in bundle.graphs:
        golden = {n: a for n, a in bundle.golden(name)[0].items() if n not in BODY_INPUTS}
        inputs[name] = {
            n: a if n in SHARED else np.ascontiguousarray(a[np.arange(people) % len(a)]) for n, a in golden.items()
        }
    if LOOK in inputs and bundle.crop_px:
        inputs[LOOK] |= example_picture(people, bundle.crop_px, *PICTURE)
    return inputs


def measure_peaks(device: str, side: int = 8192, copied: int = 1 << 30) -> Peaks:
    """Measure the rates of side x side matrix products, without TF32, and the bandwidth of a copy, which reads and writes."""
    torch.backends.cuda.matmul.allow_tf32 = False

    def flops_per_s(dtype: torch.dtype) -> float:
        a = torch.randn(side, side, device=device).to(dtype)
        return 2 * side**3 / _fastest_s(lambda: a @ a, device)

    source = torch.zeros(copied, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return Peaks(
        flops_per_s(torch.float16),
        flops_per_s(torch.float32),
        2 * copied / _fastest_s(lambda: target.copy_(source), device),
    )


def _fastest_s(work: Callable[[], object], device: str, repeats: int = 10) -> float:
    def timed() -> float:
        began = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - began

    timed()
    return min(timed() for _ in range(repeats))


def _time(graph: Graph, inputs: dict[str, np.ndarray], repeats: int, what: str) -> dict[str, float]:
    for _ in range(10):  # compiles, captures, allocates
        graph(**inputs)
    times = []
    for _ in tqdm(range(repeats), desc=what, leave=False, mininterval=1):
        began = time.perf_counter()
        graph(**inputs)
        times.append(1000 * (time.perf_counter() - began))
    return _statistics(times)


def _statistics(ms: list[float]) -> dict[str, float]:
    return {"median_ms": float(np.median(ms)), "p99_ms": float(np.percentile(ms, 99))}


def _frames_per_s(stages: dict[str, dict], steps: int) -> dict[str, float]:
    """Frames per second by contender, for frames of encode (`look`, if in the bundle) + regress + steps + readout."""
    calls = {LOOK: 1, "encode": int(LOOK not in stages), "regress": 1, "adapt": steps, "readout": 1}
    return {
        who: 1000 / sum(calls[name] * row[who]["median_ms"] for name, row in stages.items()) for who in stages["adapt"]
    }


def table(result: dict) -> str:
    """Markdown: times, ratios to TensorRT (or to the first available contender), share of the roofline."""
    rows = result["rows"]
    whos = list(next(iter(rows.values()))["adapt"])
    base = whos[0]
    lines = [f"{result['gpu'] or 'no GPU'}; torch {result['torch']}; encoder {result['encoder']}; median / p99 ms", ""]
    lines += [f"not here: {what}: {why}" for what, why in result["missing"].items()]
    lines.append(
        "| people | graph | " + " | ".join(whos) + f" | others / {base} | on the GPU alone | of the roofline | "
        "of the layers' rooflines |"
    )
    lines.append("|" + "---|" * (len(whos) + 6))
    for people, stages in rows.items():
        for name, row in stages.items():
            times = " | ".join(
                f"{row[who]['median_ms']:.3f} / {row[who]['p99_ms']:.3f}" if who in row else "-" for who in whos
            )
            ratios = ", ".join(
                f"{row[who]['median_ms'] / row[base]['median_ms']:.1f}" for who in whos[1:] if who in row
            )
            alone = f"{row[base]['gpu_median_ms']:.3f}" if "gpu_median_ms" in row[base] else "-"
            whole, layered = (
                f"{100 * row[base][key]:.0f} %" if key in row[base] else "-"
                for key in ("roofline_share", "layers_share")
            )
            lines.append(f"| {people} | {name} | {times} | {ratios} | {alone} | {whole} | {layered} |")
    for people, who in result["frames_per_s"].items():
        rates = ", ".join(f"{name} {rate:.0f}" for name, rate in who.items())
        lines.append(f"\n{people} people, {result['steps']} steps, frames/s of the graphs alone: {rates}")
    return "\n".join(lines)


if __name__ == "__main__":
    main(tyro.cli(BenchmarkConfig))
