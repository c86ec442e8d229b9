"""Minimum cost of a graph: arithmetic and memory traffic counted from its ONNX file, and the time a machine needs for them.

The roofline model (Williams, Waterman, Patterson 2009): no run is shorter than its arithmetic at the machine's matrix rate, nor than
its inputs, outputs and weights, each moved once, at the machine's memory bandwidth. `count` treats the graph as one piece of work;
`layers` treats each of its products as one, which is the limit for a compiler that fuses everything between products.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper


@dataclass(frozen=True)
class Cost:
    flops: float
    """Multiplications and additions."""
    bytes: float
    """Inputs, outputs and weights, once each; intermediate values may stay on the chip."""

    def least_ms(self, flops_per_s: float, bytes_per_s: float) -> float:
        return 1000 * max(self.flops / flops_per_s, self.bytes / bytes_per_s)


def count(path: Path, people: int) -> Cost:
    """Cost of one run of the graph for this many people."""
    model = onnx.load(path)
    values = _values(model, people)
    shapes = {name: value.shape for name, value in values.items()}
    weights = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    outside = [value.name for value in (*model.graph.input, *model.graph.output)]
    moved = sum(values[name].nbytes for name in outside) + sum(w.nbytes for w in weights.values())
    return Cost(float(sum(_flops(node, shapes) for node in model.graph.node)), float(moved))


def layers(path: Path, people: int) -> list[Cost]:
    """Cost of each convolution and matrix product, whose inputs and outputs go through memory, and of each sum of two activations,
    which reads one of them again; everything else is taken to be fused, at no cost."""
    model = onnx.load(path)
    values = _values(model, people)
    shapes = {name: value.shape for name, value in values.items()}
    weights = {t.name for t in model.graph.initializer}
    weights |= {node.output[0] for node in model.graph.node if node.op_type == "Cast" and node.input[0] in weights}
    costs = []
    for node in model.graph.node:
        if node.op_type in PRODUCTS:
            moved = sum(values[name].nbytes for name in (*node.input, *node.output) if name)
            costs.append(Cost(float(_flops(node, shapes)), float(moved)))
        elif node.op_type == "Add" and not weights & set(node.input):
            costs.append(Cost(0.0, float(values[node.input[1]].nbytes)))
    return costs


def _flops(node: onnx.NodeProto, shapes: dict[str, tuple[int, ...]]) -> int:
    out = math.prod(shapes[node.output[0]])
    if node.op_type == "MatMul":
        return 2 * out * shapes[node.input[0]][-1]
    if node.op_type == "Gemm":
        transposed = any(a.name == "transA" and a.i for a in node.attribute)
        return 2 * out * shapes[node.input[0]][0 if transposed else 1]
    if node.op_type == "Conv":
        return 2 * out * math.prod(shapes[node.input[1]][1:])
    if node.op_type.startswith("Reduce"):
        return math.prod(shapes[node.input[0]])
    return 0 if node.op_type in MOVES else out


PICTURE = 720, 1280
"""Height and width, pixels, of the picture for graphs that take a whole one."""
PRODUCTS = ("MatMul", "Gemm", "Conv")
MOVES = {
    "Cast", "Concat", "Constant", "Expand", "Flatten", "Gather", "Identity", "Pad", "Reshape", "Shape", "Slice", "Split",
    "Squeeze", "Transpose", "Unsqueeze", "Where",
}  # fmt: skip
"""Operators that compute nothing. All others except products and reductions count one operation per output value."""


def _values(model: onnx.ModelProto, people: int) -> dict[str, np.ndarray]:
    """Every tensor's value, found by running the graph once with all of them as outputs."""
    given = {value.name: _example(value, people) for value in model.graph.input}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    del probe.graph.output[:]
    names = [name for node in model.graph.node for name in node.output if name]
    probe.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(probe.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = {**given, **dict(zip(names, session.run(names, given)))}
    return values | {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}


def _example(value: onnx.ValueInfoProto, people: int) -> np.ndarray:
    """Ones as an input's value. A dynamic first axis is the people's; dynamic axes after it are a picture's height and width."""
    kind = value.type.tensor_type
    shape = [d.dim_value or (people, *PICTURE)[axis] for axis, d in enumerate(kind.shape.dim)]
    return np.ones(shape, helper.tensor_dtype_to_np_dtype(kind.elem_type))
