"""TensorFlow Lite models run by ai-edge-litert on one CPU thread. The only file that imports it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

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


@dataclass(frozen=True)
class Operator:
    kind: str
    """As TensorFlow Lite calls it, such as CONV_2D."""
    inputs: list[int]
    output: int
    options: Any
    """Its settings, under TensorFlow Lite's names."""


@dataclass(frozen=True)
class Parts:
    """What a model consists of; tensors are referred to by number."""

    operators: list[Operator]
    """In the order of computation, without those that only unpack constants."""
    input: int
    outputs: list[int]
    shapes: dict[int, Shape]
    """Shape of each tensor, with its batch axis of 1."""
    constants: dict[int, np.ndarray]


def take_apart(path: Path, unwanted: Collection[Shape] = ()) -> Parts:
    """Read a model's parts, to compute it by other means than LiteRT. unwanted: see `LiteRtModel`."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    model = without(path.read_bytes(), unwanted)
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES  # so that all tensors can be read
    interpreter = Interpreter(
        model_content=model, experimental_op_resolver_type=plain, experimental_preserve_all_tensors=True
    )
    interpreter.allocate_tensors()
    interpreter.invoke()  # unpacks constants: they are stored in float16, some of them as sparse matrices
    described = schema.ModelT.InitFromPackedBuf(bytearray(model), 0)
    (graph,) = described.subgraphs
    kinds = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
    codes = [kinds[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in described.operatorCodes]
    operators: list[Operator] = []
    constants = {i for i, tensor in enumerate(graph.tensors) if described.buffers[tensor.buffer].data is not None}
    for operator in graph.operators:
        if constants.issuperset(operator.inputs):
            constants.update(operator.outputs)
        else:
            (output,) = operator.outputs
            operators.append(
                Operator(codes[operator.opcodeIndex], list(operator.inputs), output, operator.builtinOptions)
            )
    used = {i for operator in operators for i in operator.inputs if i in constants}
    return Parts(
        operators, graph.inputs[0], list(graph.outputs), {i: tuple(map(int, t.shape)) for i, t in enumerate(graph.tensors)},
        {i: interpreter.get_tensor(i) for i in used},
    )  # fmt: skip
