"""The graph `look`: `encode` preceded by cutting the crops out of the whole picture, on the device.

It does what `hmr_ros.crop.crop_people` does with OpenCV, in operators that TensorRT 8.6 to 11 and ONNX Runtime have, all people in one pass:
each box's nodes are interpolated to a grid (two small matrix products), the picture is sampled there, and samples that belong to one
pixel are averaged. The grids of all people are stacked into one tall grid, because there is only one picture.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, compose, helper, numpy_helper
from torch import Tensor
from torch.nn import functional

from hmr_ros.bundle import EXACT, PICTURE_INPUTS
from hmr_ros.camera import Camera
from hmr_ros.crop import NODES, SAMPLES, look_inputs


def cut(image: Tensor, nodes: Tensor, spread: Tensor, crop_px: tuple[int, int]) -> Tensor:
    """Crops as `crop_people` makes them, (N, 3, *crop_px) in [0, 1]. Other arguments: see `hmr_ros.crop.look_inputs`."""
    height, width = crop_px
    down, across = (_weights(count, spread) for count in crop_px)
    grid = (down @ nodes @ across.mT).permute(0, 2, 3, 1).reshape(1, -1, SAMPLES * width, 2)
    picture = image.permute(0, 3, 1, 2).to(nodes.dtype)
    sampled = functional.grid_sample(picture, grid, align_corners=False)
    crops = functional.avg_pool2d(sampled, SAMPLES).reshape(3, -1, height, width)
    return crops.transpose(0, 1) / 255


def _weights(count: int, spread: Tensor) -> Tensor:
    """(N, 1, SAMPLES * count, NODES): each node's interpolation weight for each sample along a side of `count` pixels."""
    center, offset = (torch.from_numpy(values).to(spread)[:, None] for values in _places(count))
    nodes = torch.arange(NODES, dtype=spread.dtype, device=spread.device)
    return torch.relu(1 - torch.abs(center + spread * offset - nodes))


def _places(count: int) -> tuple[np.ndarray, np.ndarray]:
    """For each sample along a side of `count` pixels: its pixel's centre, and its offset from there. (SAMPLES * count,) float32, in node spacings."""
    pixel, sample = np.divmod(np.arange(SAMPLES * count), SAMPLES)
    scale = (NODES - 1) / count
    return (
        (scale * (pixel + 0.5)).astype(np.float32),
        (scale * ((sample + 0.5) / SAMPLES - 0.5)).astype(np.float32),
    )


def write_look(encode: Path, look: Path, crop_px: tuple[int, int]) -> None:
    """Put the cropping, always in float32, before the graph in `encode`, and write both as one graph to `look`."""
    encoder = onnx.load(encode)
    cutter = _cutter(crop_px, encoder)
    joined = compose.merge_models(cutter, encoder, io_map=[("crop", "crop")], producer_name=encoder.producer_name)
    del joined.opset_import[len(encoder.opset_import) :]  # merging named each twice
    onnx.checker.check_model(joined, full_check=True)
    onnx.save(joined, look)


def _cutter(crop_px: tuple[int, int], encoder: onnx.ModelProto) -> onnx.ModelProto:
    """`cut` as a graph from image, nodes and spread to crop, in the encoder's own opset."""
    height, width = crop_px
    constants = {
        "one": np.float32(1),
        "white": np.float32(255),
        "tall": np.array([1, -1, SAMPLES * width, 2]),
        "colours": np.array([3, -1, height, width]),
        **_constants_of_weights("down", height, (-1, 1)),
        **_constants_of_weights("across", width, (1, -1)),
    }
    nodes = [
        *_weights_nodes("down"),
        *_weights_nodes("across"),
        _node("MatMul", "down_weights nodes", "rows"),
        _node("MatMul", "rows across_weights", "planes"),
        _node("Transpose", "planes", "points", perm=[0, 2, 3, 1]),
        _node("Reshape", "points tall", "grid"),
        _node("Cast", "image", "floats", to=TensorProto.FLOAT),  # first of all: TensorRT can do nothing else with uint8
        _node("Transpose", "floats", "picture", perm=[0, 3, 1, 2]),
        # Needs an opset below 20: from then on, "bilinear" is called "linear", and TensorRT takes that for nearest.
        _node("GridSample", "picture grid", "samples", mode="bilinear", padding_mode="zeros", align_corners=0),
        _node("AveragePool", "samples", "pixels", kernel_shape=[SAMPLES] * 2, strides=[SAMPLES] * 2),
        _node("Reshape", "pixels colours", "by_colour"),
        _node("Transpose", "by_colour", "by_person", perm=[1, 0, 2, 3]),
        _node("Div", "by_person white", "crop"),
    ]
    graph = helper.make_graph(
        nodes,
        "cut",
        [
            helper.make_tensor_value_info("image", TensorProto.UINT8, [1, "height", "width", 3]),
            helper.make_tensor_value_info("nodes", TensorProto.FLOAT, ["people", 2, NODES, NODES]),
            helper.make_tensor_value_info("spread", TensorProto.FLOAT, ["people", 1, 1, 1]),
        ],
        [helper.make_tensor_value_info("crop", TensorProto.FLOAT, ["people", 3, height, width])],
        [numpy_helper.from_array(np.asarray(value), EXACT + name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=encoder.opset_import, ir_version=encoder.ir_version)


def _node(operator: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    """inputs: names separated by spaces. All names except those of the graph's own inputs and its output get the prefix EXACT."""
    outside = (*PICTURE_INPUTS, "crop")
    names = [name if name in outside else EXACT + name for name in (*inputs.split(), output)]
    return helper.make_node(operator, names[:-1], names[-1:], EXACT + output, **attributes)


def _weights_nodes(side: str) -> list[onnx.NodeProto]:
    """`_weights` of one side, ready for the matrix product: those of "across" with the last two axes exchanged."""
    return [
        _node("Mul", f"spread {side}_offset", f"{side}_moved"),
        _node("Add", f"{side}_moved {side}_center", f"{side}_at"),
        _node("Sub", f"{side}_at {side}_nodes", f"{side}_from"),
        _node("Abs", f"{side}_from", f"{side}_far"),
        _node("Sub", f"one {side}_far", f"{side}_near"),
        _node("Relu", f"{side}_near", f"{side}_weights"),
    ]


def _constants_of_weights(side: str, count: int, samples: tuple[int, int]) -> dict[str, np.ndarray]:
    """samples: shape of the samples, as a column or a row; nodes lie along the other axis."""
    center, offset = (values.reshape(1, 1, *samples) for values in _places(count))
    nodes = np.arange(NODES, dtype=np.float32).reshape(1, 1, *samples[::-1])
    return {f"{side}_center": center, f"{side}_offset": offset, f"{side}_nodes": nodes}


def example_picture(
    people: int, crop_px: tuple[int, int], height: int, width: int, seed: int = 0
) -> dict[str, np.ndarray]:
    """Picture inputs of `look`: people small and large, within the picture and across its border, through a lens with distortion."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8)
    image = np.kron(coarse, np.ones((16, 16, 1), np.uint8))
    focal = float(max(height, width))
    K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    camera = Camera(K, width, height, np.array([-0.1, 0.02, 0, 0, 0]))
    center = rng.uniform(-0.3, 0.3, (people, 2))
    size_px = crop_px[0] * np.resize([0.5, 1.8, 3.0], people)
    return look_inputs(image, camera, np.column_stack([center, size_px / focal]), crop_px)
