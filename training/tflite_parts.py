"""Read the parts of a TensorFlow Lite model, to compute it by other means than LiteRT."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hmr_ros.keypoints.litert import Shape, without


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
    """The parts of the model in a file. unwanted: see `LiteRtModel`."""
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
