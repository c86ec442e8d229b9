"""TensorFlow Lite models run by ai-edge-litert on one CPU thread. The only file of the runtime that imports it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np

from hmr_ros.keypoints.blazepose_models import KeypointModelError

Shape = tuple[int, ...]
"""Shape of an output, without its batch axis."""


class Network(Protocol):
    """One of BlazePose's models, on any backend."""

    @property
    def side(self) -> int:
        """Height and width of the input image, pixels."""
        ...

    def __call__(self, image: np.ndarray) -> dict[Shape, np.ndarray]:
        """image: (side, side, 3) float32. Returns the outputs by shape, without their batch axis.

        By shape because both models' outputs are named Identity_1, Identity_2..., and no two of one model share a shape.
        """
        ...


class LiteRtModel:
    """A model with one image input, as a function from that image to its output tensors.

    unwanted: outputs that are not computed; neither is anything that only they need.
    """

    def __init__(self, path: Path, unwanted: Collection[Shape] = ()):
        try:
            from ai_edge_litert.interpreter import Interpreter

            model = path.read_bytes()
            model = without(model, unwanted) if unwanted else model
        except ImportError as error:
            raise KeypointModelError(
                f"ai-edge-litert, which runs {path.name}, does not import ({error}): `pip install 'ai-edge-litert>=1.4'`"
            ) from error
        # One thread: more threads make models this small slower, and the rest of the robot needs the cores.
        self._interpreter = Interpreter(model_content=model, num_threads=1)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = self._interpreter.get_output_details()

    @property
    def side(self) -> int:
        """Height and width of the input image, pixels."""
        return int(self._input["shape"][1])

    def __call__(self, image: np.ndarray) -> dict[Shape, np.ndarray]:
        """See `Network`. The outputs are copies."""
        self._interpreter.set_tensor(self._input["index"], image[None])
        self._interpreter.invoke()
        return {tuple(out["shape"][1:]): self._interpreter.get_tensor(out["index"])[0] for out in self._outputs}


def without(model: bytes, unwanted: Collection[Shape]) -> bytes:
    """The same model without these outputs and the operators that only they need."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    parts = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    (graph,) = parts.subgraphs
    graph.outputs = [i for i in graph.outputs if tuple(graph.tensors[i].shape[1:]) not in unwanted]
    needed, operators = set(graph.outputs), []
    for operator in reversed(graph.operators):  # they are in the order of computation
        if needed.intersection(operator.outputs):
            operators.append(operator)
            needed.update(operator.inputs)
    graph.operators = operators[::-1]
    parts.signatureDefs = None  # they name the outputs
    builder = flatbuffers.Builder(len(model))
    builder.Finish(parts.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())
