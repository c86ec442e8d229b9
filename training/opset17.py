"""Rewrite an ONNX graph for TensorRT 8.6, whose parser supports ONNX up to opset 17.

PyTorch writes opset 18 and newer. TensorRT 8.6 silently misreads two of the operators used there: `ReduceMean` with its axes as an
input (it averages over all axes), and `Shape` of some of the axes (it returns all of them). Newer parsers read both forms.
"""

from __future__ import annotations

import logging

import onnx
from onnx import helper, numpy_helper

OPSET = 17


def lower(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in opset 17. If it uses features of newer opsets that are not rewritten here, warn and return it unchanged."""
    lowered = _rewrite(model)
    try:
        onnx.checker.check_model(lowered, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        logging.getLogger(__name__).warning(
            "this graph cannot be expressed in opset %d, so it stays as it is and is not for TensorRT 8.6: %s",
            OPSET,
            error,
        )
        return model
    return lowered


def _rewrite(original: onnx.ModelProto) -> onnx.ModelProto:
    model = onnx.ModelProto()
    model.CopyFrom(original)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type == "ReduceMean" and len(node.input) == 2:
            nodes.append(_mean_with_axes(node, constants))
        elif node.op_type == "Shape" and node.attribute:
            nodes += _slice_of_shape(node)
        else:
            nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    for entry in model.opset_import:
        if not entry.domain:
            entry.version = OPSET
    return model


def _mean_with_axes(node: onnx.NodeProto, constants: dict) -> onnx.NodeProto:
    keepdims = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
    axes = constants[node.input[1]].tolist()
    return helper.make_node("ReduceMean", node.input[:1], node.output, node.name, axes=axes, keepdims=keepdims)


def _slice_of_shape(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    wanted = {a.name: a.i for a in node.attribute}
    name, output = node.name or node.output[0], node.output[0]
    bounds = [
        helper.make_node(
            "Constant", [], [f"{output}_{bound}"], f"{name}_{bound}",
            value=helper.make_tensor(bound, onnx.TensorProto.INT64, [1], [wanted.get(bound, default)]),
        )
        for bound, default in (("start", 0), ("end", 2**31 - 1))
    ]  # fmt: skip
    return [
        *bounds,
        helper.make_node("Shape", node.input, [f"{output}_all"], f"{name}_all"),
        helper.make_node("Slice", [f"{output}_all", f"{output}_start", f"{output}_end"], [output], name),
    ]
