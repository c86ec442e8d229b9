"""Convert BlazePose's networks to ONNX, for GPUs: `python -m training.blazepose_onnx`.

TensorRT does not read TensorFlow Lite. These networks consist of ten operators that ONNX has too; only their channels come last. The output is written
beside the networks: `pose_landmark_full.onnx`, and `pose_landmark_full.npz` with a picture and LiteRT's outputs for it, against which every
machine checks its own results.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tyro
from onnx import TensorProto, helper, numpy_helper

from hmr_ros.keypoints.blazepose_landmarks import UNWANTED
from hmr_ros.keypoints.blazepose_models import find_models
from hmr_ros.keypoints.litert import LiteRtModel
from training.command import errors_in_one_line
from training.tflite_parts import Operator, Parts, take_apart

OPSET = 17
"""The newest that TensorRT 8.6 reads."""
CHANNELS_FIRST, CHANNELS_LAST = (0, 3, 1, 2), (0, 2, 3, 1)
SAME = 0
"""TensorFlow Lite's code for padding with output size = input size / stride."""
NOTHING, RELU6 = 0, 3
"""TensorFlow Lite's codes for an operator's fused activation."""


@dataclass(frozen=True)
class ConvertConfig:
    landmarks: str = "full"
    """lite, full or heavy."""
    model_dir: str = ""
    """Folder with the BlazePose models; empty: the user's cache."""


class Writer:
    """Writes one network as ONNX. Feature maps become channels-first; other tensors keep their layout."""

    def __init__(self, network: Parts):
        self.network = network
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}

    def model(self) -> onnx.ModelProto:
        network = self.network
        self.node("Transpose", ["image"], f"value{network.input}", perm=CHANNELS_FIRST)
        for operator in network.operators:
            getattr(self, operator.kind.lower())(operator, f"value{operator.output}")
        for value in network.outputs:
            last = {"perm": CHANNELS_LAST} if len(network.shapes[value]) == 4 else {}
            self.node("Transpose" if last else "Identity", [f"value{value}"], f"output{value}", **last)
        graph = helper.make_graph(
            self.nodes, "blazepose", [self._outside("image", network.input)],
            [self._outside(f"output{value}", value) for value in network.outputs],
            [numpy_helper.from_array(value, name) for name, value in self.constants.items()],
        )  # fmt: skip
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
        onnx.checker.check_model(model, full_check=True)
        return model

    def pad(self, operator: Operator, name: str) -> None:
        before, after = self.network.constants[operator.inputs[1]].T[:, CHANNELS_FIRST]
        pads = self.constant(f"{name}_pads", np.r_[before, after].astype(np.int64))
        self.node("Pad", [self.values(operator)[0], pads], name)

    def conv_2d(self, operator: Operator, name: str) -> None:
        self._convolve(operator, name, (0, 3, 1, 2), groups=1)  # from (out, height, width, in)

    def depthwise_conv_2d(self, operator: Operator, name: str) -> None:
        self._convolve(operator, name, (3, 0, 1, 2), groups=self.network.shapes[operator.output][3])

    def _convolve(self, operator: Operator, name: str, order: tuple[int, ...], groups: int) -> None:
        image, kernel, bias = operator.inputs
        weights = np.ascontiguousarray(self.network.constants[kernel].transpose(order))
        inputs = [
            f"value{image}", self.constant(f"{name}_weights", weights), self.constant(f"{name}_bias", self.network.constants[bias]),
        ]  # fmt: skip
        window = self._window(operator, weights.shape[2:], operator.options.strideH)
        self.activated("Conv", inputs, name, operator, group=groups, **window)

    def max_pool_2d(self, operator: Operator, name: str) -> None:
        sides = operator.options.filterHeight, operator.options.filterWidth
        window = self._window(operator, sides, operator.options.strideH)
        self.activated("MaxPool", self.values(operator), name, operator, **window)

    def add(self, operator: Operator, name: str) -> None:
        self.activated("Add", self.values(operator), name, operator)

    def resize_bilinear(self, operator: Operator, name: str) -> None:
        (_, height, width, _), (_, new_height, new_width, _) = (
            self.network.shapes[value] for value in (operator.inputs[0], operator.output)
        )
        scales = self.constant(f"{name}_scales", np.float32([1, 1, new_height / height, new_width / width]))
        half_pixel = {"coordinate_transformation_mode": "half_pixel", "mode": "linear"}
        self.node("Resize", [self.values(operator)[0], "", scales], name, **half_pixel)

    def depth_to_space(self, operator: Operator, name: str) -> None:
        self.node("DepthToSpace", self.values(operator), name, blocksize=operator.options.blockSize, mode="DCR")

    def reshape(self, operator: Operator, name: str) -> None:
        """Reshape a feature map with channels last, as TensorFlow does."""
        self.node("Transpose", self.values(operator)[:1], f"{name}_last", perm=CHANNELS_LAST)
        shape = np.array([0, *self.network.shapes[operator.output][1:]], np.int64)  # 0: keep the number of people
        self.node("Reshape", [f"{name}_last", self.constant(f"{name}_shape", shape)], name)

    def concatenation(self, operator: Operator, name: str) -> None:
        self.node("Concat", self.values(operator), name, axis=operator.options.axis)

    def logistic(self, operator: Operator, name: str) -> None:
        self.node("Sigmoid", self.values(operator), name)

    def activated(self, kind: str, inputs: list[str], name: str, operator: Operator, **attributes: Any) -> None:
        """Add a node, then the operator's fused activation."""
        if operator.options.fusedActivationFunction == NOTHING:
            return self.node(kind, inputs, name, **attributes)
        assert operator.options.fusedActivationFunction == RELU6
        self.node(kind, inputs, f"{name}_raw", **attributes)
        bounds = [self.constant("zero", np.float32(0)), self.constant("six", np.float32(6))]
        self.node("Clip", [f"{name}_raw", *bounds], name)

    def _window(self, operator: Operator, sides: tuple[int, ...], stride: int) -> dict[str, Any]:
        """ONNX attributes of a sliding window. If the padding is odd, TensorFlow pads one more after than before."""
        size = self.network.shapes[operator.inputs[0]][1]
        missing = max((-(-size // stride) - 1) * stride + sides[0] - size, 0) if operator.options.padding == SAME else 0
        pads = [missing // 2] * 2 + [missing - missing // 2] * 2
        return {"kernel_shape": sides, "strides": [stride] * 2, "pads": pads}

    def values(self, operator: Operator) -> list[str]:
        return [f"value{value}" for value in operator.inputs]

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = value
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))

    def _outside(self, name: str, value: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["people", *self.network.shapes[value][1:]])


def convert(network: Path, unwanted: tuple[tuple[int, ...], ...] = ()) -> Path:
    """Write `network` as ONNX beside it, with a picture and LiteRT's outputs for it. unwanted: outputs to leave out, by shape."""
    target = network.with_suffix(".onnx")
    onnx.save(Writer(take_apart(network, unwanted)).model(), target)
    lite = LiteRtModel(network, unwanted)
    image = example_picture(lite.side)
    np.savez_compressed(
        network.with_suffix(".npz"), image=image, **{str(i): value for i, value in enumerate(lite(image).values())}
    )
    return target


def example_picture(side: int) -> np.ndarray:
    """A random picture with edges, (side, side, 3) float32 in [0, 1]: blocks of several sizes."""
    rng = np.random.default_rng(0)
    layers = [
        np.kron(rng.uniform(0, 1, (size, size, 3)), np.ones((side // size, side // size, 1)))
        for size in (2, 4, 8, 16, 32)
    ]
    return np.mean(layers, axis=0).astype(np.float32)


def main(config: ConvertConfig) -> None:
    detector, landmarks = find_models(config.model_dir, config.landmarks)
    for network, unwanted in ((detector, ()), (landmarks, UNWANTED)):
        print(f"written: {convert(network, unwanted)}")


if __name__ == "__main__":
    with errors_in_one_line():
        main(tyro.cli(ConvertConfig))
