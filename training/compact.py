"""A bundle's large weights, kept once for all of its graphs and in half precision.

An encoder of pictures is in four graphs, with and without the cutting of crops, in float32 and in float16: 70 MB where 12 do.
So its weights are rounded to float16 before anything is made of them, the golden pair included, and lie in one file that all graphs
point to (ONNX external data). Graphs that compute in float32 widen them when they are loaded: runtimes fold that away.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from torch import nn

from hmr_ros.bundle import WEIGHTS

LARGE = 1024
"""Tensors of fewer values stay where they are."""
ALIGNMENT = 64
"""Bytes, of a tensor's place in the file."""


@torch.no_grad()
def round_weights(network: nn.Module) -> None:
    """Normalisations folded into the convolutions before them, then every matrix and kernel rounded to what float16 has."""
    before: nn.Module | None = None
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            fold(before, module)
        before = module
    for weights in network.parameters():
        if weights.ndim > 1:
            weights.copy_(weights.half())


def fold(convolution: nn.Conv2d, normalisation: nn.BatchNorm2d) -> None:
    """Have `convolution` do the scaling; `normalisation` keeps the shift, and is one that an exporter folds without rounding."""
    scale = normalisation.weight / torch.sqrt(normalisation.running_var + normalisation.eps)
    convolution.weight *= scale[:, None, None, None]
    normalisation.bias -= scale * normalisation.running_mean
    if convolution.bias is not None:
        convolution.bias *= scale
    normalisation.weight.fill_(1)
    normalisation.running_mean.zero_()
    normalisation.running_var.fill_(1 - normalisation.eps)


def share_weights(graphs: Collection[Path]) -> None:
    """Move the large tensors that float16 holds exactly out of the files into one beside them, each once."""
    places: dict[bytes, int] = {}
    store = bytearray()
    for path in graphs:
        model = onnx.load(path)
        widened = []
        for tensor in model.graph.initializer:
            half = exact_half(tensor)
            if half is None:
                continue
            data = half.tobytes()
            if data not in places:
                store.extend(bytes(-len(store) % ALIGNMENT))
                places[data] = len(store)
                store.extend(data)
            if tensor.data_type == TensorProto.FLOAT:
                narrow = f"{tensor.name}_half"
                widened.append(
                    helper.make_node("Cast", [narrow], [tensor.name], f"{tensor.name}_widened", to=TensorProto.FLOAT)
                )
                tensor.name = narrow
            point_to(tensor, half, places[data])
        nodes = [*widened, *model.graph.node]
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        path.write_bytes(model.SerializeToString())
    (next(iter(graphs)).parent / WEIGHTS).write_bytes(store)
    for path in graphs:
        onnx.checker.check_model(str(path))


def exact_half(tensor: TensorProto) -> np.ndarray | None:
    """The values in float16, where they are many and it holds them exactly."""
    if np.prod(tensor.dims) < LARGE or tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        return None
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half, values) else None


def point_to(tensor: TensorProto, half: np.ndarray, offset: int) -> None:
    """Make `tensor` one of float16 whose values lie in WEIGHTS."""
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    set_external_data(tensor, WEIGHTS, offset, half.nbytes)
    tensor.ClearField("raw_data")
