"""Make a copy of a bundle whose encoder computes in INT8: `python -m training.quantise --bundle default --out DIR`.

Static quantisation: the range of every layer's input is measured beforehand, on people of the training split, so that people in a
batch do not influence each other (scales chosen at run time would depend on the whole batch). Everything after the encoder computes
gradients and stays float32. `docs/tensorrt.md` says what it costs in accuracy.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnxruntime
import torch
import tyro
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from hmr_ros.backends.graph import Graph, check_golden
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph
from hmr_ros.bundle import Bundle, BundleError, inputs_of, load_bundle
from hmr_ros.smpl_file import load_body
from training.body import BodyArrays
from training.checkpoint import digests
from training.command import errors_in_one_line
from training.config import NoiseConfig, training_noise
from training.draws import below
from training.synthesis import Poses, Synthesis

PRODUCTS = ("Gemm", "MatMul")
"""Operators of linear layers, and of the two matrix products of attention."""
TENSORRT = {"ActivationSymmetric": True, "QuantizeBias": False, "OpTypesToExcludeOutputQuantization": list(PRODUCTS)}
"""TensorRT has no zero points and no integer biases, and adds in float; so a layer's output need not be rounded before it is used."""
CALIBRATIONS = {"percentile": CalibrationMethod.Percentile, "minmax": CalibrationMethod.MinMax}
BATCH = 64
COMPARED = 256
"""People of the validation split on whom the copy's features are compared with the original's."""
TIMED = 400
"""Timed calls of each graph."""
People = dict[str, np.ndarray]
"""Inputs of `encode`, (N, ...) float32 each."""


@dataclass(frozen=True)
class QuantiseConfig:
    bundle: str = "default"
    """Bundle whose encoder reads keypoints: the name of a shipped one, or a folder."""
    out: Path = Path("runs/int8")
    data: Path = Path("../shared/data/mocap")
    """Folder with pose sets, `poses_*_train.npz` and `poses_*_val.npz`."""
    body: str = "open"
    people: int = 512
    """How many people to measure ranges on."""
    seed: int = 0
    noise: NoiseConfig = field(default_factory=training_noise)
    operators: tuple[str, ...] = ("Gemm",)
    """ONNX operators to quantise: Gemm, the linear layers; MatMul, the products of attention; none named: all that ONNX Runtime can quantise."""
    ends_in_float: bool = True
    """Leave the first and the last layer in float32, which cause a third of the error and little of the work."""
    calibration: Literal["percentile", "minmax"] = "percentile"
    """Range of an activation. percentile: without its outermost values (ONNX Runtime keeps 99.999 % of them); minmax: all values seen."""
    target: Literal["tensorrt", "cpu"] = "tensorrt"
    """tensorrt: rounding as nodes of the graph (QDQ), from which TensorRT makes integer kernels; ONNX Runtime computes such a graph in
    float32, slower than the original. cpu: ONNX Runtime's own integer operators, which nothing else supports."""


def draw(config: QuantiseConfig, split: str, count: int, rng: torch.Generator) -> People:
    """Draw `count` people of a split, with detections simulated as in training."""
    poses = Poses(*Poses.files(config.data, split)).rotvec
    synthesis = Synthesis(BodyArrays.of(load_body(config.body)), config.noise)
    sample = synthesis(poses[below(rng, len(poses), count)], rng)
    return {name: array.numpy() for name, array in zip(inputs_of("encode", "keypoints"), sample.inputs)}


def batches(people: People) -> Iterator[People]:
    for start in range(0, len(people["keypoints"]), BATCH):
        yield {name: array[start : start + BATCH] for name, array in people.items()}


class Calibration(CalibrationDataReader):
    """Gives batches of people to ONNX Runtime, through the interface that it expects."""

    def __init__(self, people: People):
        self._batches = batches(people)

    def get_next(self) -> People | None:
        return next(self._batches, None)


def write_int8(graph: Path, int8: Path, people: People, config: QuantiseConfig) -> None:
    """Write `graph` in INT8 to `int8`: a scale for every channel of weights, and one for every activation."""
    # Shape inference only: bundles' graphs hold no shapes, and the quantiser needs them.
    quant_pre_process(graph, int8, skip_optimization=True, skip_symbolic_shape=True)
    products = [node.name for node in onnx.load(graph).graph.node if node.op_type in PRODUCTS]
    for_tensorrt = config.target == "tensorrt"
    quantize_static(
        int8,
        int8,
        Calibration(people),
        quant_format=QuantFormat.QDQ if for_tensorrt else QuantFormat.QOperator,
        op_types_to_quantize=list(config.operators) or None,
        nodes_to_exclude=[products[0], products[-1]] if config.ends_in_float else [],
        per_channel=True,
        weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8 if for_tensorrt else QuantType.QUInt8,
        calibrate_method=CALIBRATIONS[config.calibration],
        extra_options=TENSORRT if for_tensorrt else {},
    )


def quantise(config: QuantiseConfig) -> Bundle:
    """Write the copy to `config.out`, once all of it has been made. Raises BundleError."""
    bundle = load_bundle(config.bundle)
    check_quantisable(bundle, config.out)
    rng = torch.Generator().manual_seed(config.seed)
    people, others = (draw(config, *of, rng) for of in (("train", config.people), ("val", COMPARED)))
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=config.out.parent) as made:
        folder = Path(made)
        for name in bundle.manifest["sha256"]:
            shutil.copyfile(bundle.path / name, folder / name)
        write_int8(bundle.graph_path("encode"), folder / "encode.onnx", people, config)
        exact, rounded = (OnnxRuntimeGraph(path / "encode.onnx") for path in (bundle.path, folder))
        write_golden(bundle, rounded, folder)
        manifest = manifest_of(bundle, folder, config, features_off(exact, rounded, others))
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        check_golden(rounded, "encode", load_bundle(made), "ONNX Runtime")
        config.out.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.replace(config.out / file.name)
    return load_bundle(str(config.out))


def check_quantisable(bundle: Bundle, out: Path) -> None:
    if bundle.encoder != "keypoints":
        raise BundleError(
            f"the encoder of {bundle.path} reads pictures ({bundle.encoder!r}); ranges are measured on synthetic keypoints: "
            "give --bundle one whose encoder reads keypoints"
        )
    if "quantised" in bundle.manifest:
        raise BundleError(f"{bundle.path} is quantised already: give --bundle the float32 bundle that it was made from")
    if out.resolve() == bundle.path.resolve():
        raise BundleError(f"--out {out} is the bundle itself, whose float32 weights would be lost: name another folder")


def write_golden(bundle: Bundle, rounded: Graph, folder: Path) -> None:
    """Write the bundle's golden pairs, with the INT8 encoder's features in place of torch's.

    Torch's features cannot be reproduced: rounding changes them by some percent, and `check_golden` allows a tenth of one percent.
    """
    with np.load(bundle.path / "golden.npz") as arrays:
        pairs = dict(arrays)
    pairs["encode/features"] = rounded(**bundle.golden("encode")[0])["features"]
    np.savez_compressed(folder / "golden.npz", **pairs)


def manifest_of(bundle: Bundle, folder: Path, config: QuantiseConfig, off: float) -> dict:
    """The bundle's manifest, without figures that were not measured on the copy, and with how the copy was made."""
    settings = {name: value for name, value in asdict(config).items() if name not in ("bundle", "out", "data")}
    return {
        **bundle.manifest,
        "name": f"{bundle.name}-int8",
        "metrics": {},  # `training.evaluate --record` fills it
        "quantised": {
            "graph": "encode",
            "from_sha256": bundle.sha256,
            "golden": "the features are the INT8 graph's own, on ONNX Runtime's CPU provider",
            "onnxruntime": onnxruntime.__version__,
            "config": settings,
            "features_off": off,
        },
        "sha256": digests(folder / name for name in bundle.manifest["sha256"]),
    }


def features_off(exact: Graph, rounded: Graph, people: People) -> float:
    """RMS of the change of the features by rounding, relative to the RMS of the features."""
    truth, found = (np.concatenate([graph(**b)["features"] for b in batches(people)]) for graph in (exact, rounded))
    return round(float(np.linalg.norm(found - truth) / np.linalg.norm(truth)), 4)


def encode_ms(*bundles: Bundle) -> list[float]:
    """Median milliseconds to encode one person on one thread, by bundle. Measured in turn, so that other load affects all bundles alike."""
    graphs = [OnnxRuntimeGraph(bundle.graph_path("encode")) for bundle in bundles]
    one = {name: array[:1] for name, array in bundles[0].golden("encode")[0].items()}
    seconds: list[list[float]] = [[] for _ in graphs]
    for _ in range(TIMED):
        for graph, times in zip(graphs, seconds):
            began = time.perf_counter()
            graph(**one)
            times.append(time.perf_counter() - began)
    return [1000 * float(np.median(times)) for times in seconds]


def main(config: QuantiseConfig) -> None:
    torch.set_num_threads(1)
    copy = quantise(config)
    exact, rounded = encode_ms(load_bundle(config.bundle), copy)
    off = copy.manifest["quantised"]["features_off"]
    print(
        f"bundle written to {copy.path}: features off by {100 * off:.1f} % (RMS, {COMPARED} people of the validation split)\n"
        f"encode, one person, one thread: {exact:.2f} ms in float32, {rounded:.2f} ms in INT8 ({rounded / exact:.2f} times)"
    )


if __name__ == "__main__":
    with errors_in_one_line():
        main(tyro.cli(QuantiseConfig))
