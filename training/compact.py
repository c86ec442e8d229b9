"""Store a bundle's large weights only once for all of its graphs, in half precision.

An image encoder is in four graphs, with and without cropping, in float32 and in float16: 70 MB where 12 MB are enough.
So its weights are rounded to float16 before the graphs and the golden pair are made, and stored in one file that all graphs
refer to (ONNX external data). Graphs that compute in float32 cast them back; runtimes fold the cast away when they load the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import set_external_data
from torch import nn

from hmr_ros.bundle import WEIGHTS

LARGE = 1024
"""Tensors with fewer values stay in the graph files."""
ALIGNMENT = 64
"""Of each tensor in the shared file, bytes."""
MAX_CHANGE = 0.01
"""Root mean square of the change of an output, over that of the output. Rounding to float16 alone changes it by about 1e-4."""


@torch.no_grad()
def round_weights(network: nn.Module, outputs: Callable[[], torch.Tensor]) -> None:
    """Fold normalisations into the convolutions before them, then round every matrix and kernel to float16 values.

    outputs: computes the network's outputs for some example. Raises ValueError if they change: a normalisation that is registered after a
    convolution need not follow it when the network computes.
    """
    expected = outputs()
    before: nn.Module | None = None
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
            fold(before, module)
        before = module
    for weights in network.parameters():
        if weights.ndim > 1:
            weights.copy_(weights.half())
    change = float((outputs() - expected).square().mean().sqrt() / expected.square().mean().sqrt())
    if not change <= MAX_CHANGE:
        raise ValueError(
            f"folding normalisations changes this backbone's output by {100 * change:.0f} %: its normalisations do not follow the convolutions "
            "registered before them. Choose another backbone"
        )


def fold(convolution: nn.Conv2d, normalisation: nn.BatchNorm2d) -> None:
    """Move the scaling into `convolution`; `normalisation` keeps only the shift, which an exporter folds without rounding."""
    scale = normalisation.weight / torch.sqrt(normalisation.running_var + normalisation.eps)
    convolution.weight *= scale[:, None, None, None]
    normalisation.bias -= scale * normalisation.running_mean
    if convolution.bias is not None:
        convolution.bias *= scale
    normalisation.weight.fill_(1)
    normalisation.running_mean.zero_()
    normalisation.running_var.fill_(1 - normalisation.eps)


def share_weights(graphs: Collection[Path]) -> None:
    """Move large tensors that float16 represents exactly out of the graphs into one file beside them, each only once."""
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
    """The values in float16, if there are at least LARGE and float16 represents them exactly; else None."""
    if np.prod(tensor.dims) < LARGE or tensor.data_type not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        return None
    values = numpy_helper.to_array(tensor)
    with np.errstate(over="ignore"):
        half = values.astype(np.float16)
    return half if np.array_equal(half, values) else None


def point_to(tensor: TensorProto, half: np.ndarray, offset: int) -> None:
    """Turn `tensor` into a float16 tensor whose values are in the file WEIGHTS."""
    tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    set_external_data(tensor, WEIGHTS, offset, half.nbytes)
    tensor.ClearField("raw_data")
