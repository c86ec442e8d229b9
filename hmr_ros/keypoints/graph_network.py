"""BlazePose's networks on a GPU, from ONNX files that `training.blazepose_onnx` wrote, with LiteRT's outputs for one image to compare with."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.keypoints.blazepose_models import KeypointModelError
from hmr_ros.keypoints.litert import Shape

COMMAND = "python -m training.blazepose_onnx"
TOLERANCE = 1e-3
"""Largest difference from LiteRT allowed, relative to each output's largest value."""


def onnx_of(network: Path) -> Path:
    """Path of the same network as ONNX, beside it. Raises KeypointModelError if that or LiteRT's outputs are missing."""
    file = network.with_suffix(".onnx")
    if not (file.is_file() and network.with_suffix(".npz").is_file()):
        raise KeypointModelError(
            f"no {file.name} and {file.stem}.npz in {file.parent}: write them with `{COMMAND}` (pip install '.[training]'), here or on any "
            "other machine, and copy both; or set `keypoints.backend` to litert"
        )
    return file


class GraphNetwork:
    """Like `LiteRtModel`, computed by a graph with the input `image`. Raises KeypointModelError if that computes something else."""

    def __init__(self, graph: Graph, network: Path):
        """network: the TensorFlow Lite file, as given to `onnx_of`."""
        self._graph = graph
        with np.load(network.with_suffix(".npz")) as said:
            image = said["image"]
            expected = {said[name].shape: said[name] for name in said.files if name != "image"}
        self.side = len(image)
        for shape, values in self(image).items():
            error = np.abs(values - expected[shape]).max() / max(np.abs(expected[shape]).max(), 1.0)
            if not error <= TOLERANCE:
                raise KeypointModelError(
                    f"{network.stem} is computed wrongly: its output of shape {shape} is off by {100 * error:.2g} % from LiteRT's (allowed "
                    f"{100 * TOLERANCE:.2g} %). Set `keypoints.backend` to litert, and please report this"
                )

    def __call__(self, image: np.ndarray) -> dict[Shape, np.ndarray]:
        """image: (side, side, 3) float32. Returns the outputs by shape, without their batch axis."""
        return {value.shape[1:]: value[0] for value in self._graph(image=image[None]).values()}
