"""Graphs rewritten for TensorRT still compute the same: in opset 17, and the encoder in half precision."""

import dataclasses

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from hmr_ros.backends.graph import check_golden
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph
from hmr_ros.bundle import GRAPHS, load_bundle
from hmr_ros.config import ModelConfig, TtoConfig
from hmr_ros.encoders import KeypointEncoder
from hmr_ros.factory import load_model
from hmr_ros.regressor import Observation, Regressor
from hmr_ros.tto import Optimiser
from training.half import write_half
from training.opset17 import lower


@pytest.mark.parametrize("name", GRAPHS)
def test_in_opset_17_graphs_compute_the_same(name, tmp_path):
    bundle = load_bundle("default")
    lowered = lower(onnx.load(bundle.graph_path(name)))
    assert lowered.opset_import[0].version == 17
    assert not [n for n in lowered.graph.node if n.op_type == "ReduceMean" and len(n.input) > 1]
    assert not [n for n in lowered.graph.node if n.op_type == "Shape" and n.attribute]
    onnx.save(lowered, tmp_path / "graph.onnx")
    check_golden(OnnxRuntimeGraph(tmp_path / "graph.onnx"), name, bundle, "opset 17", tolerance=1e-4)


def graph_of(nodes, initializers=(), opset=18, rank=3):
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}{i}" for i in range(n)])
        for name, n in {"x": 3, "y": rank}.items()
    )
    graph = helper.make_graph(nodes, "graph", [x], [y], initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("axes, keepdims", [([1], 1), ([-1], 0), ([0, 2], 1)])
@pytest.mark.parametrize("start, end", [(0, 1), (1, None), (-2, -1), (None, 2)])
def test_means_and_parts_of_shapes(axes, keepdims, start, end, tmp_path):
    bounds = {k: v for k, v in {"start": start, "end": end}.items() if v is not None}
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=keepdims),
        helper.make_node("Shape", ["x"], ["part"], **bounds),
        helper.make_node("Cast", ["part"], ["sizes"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["sizes"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["mean", "sum"], ["y"]),
    ]
    model = graph_of(nodes, [helper.make_tensor("axes", TensorProto.INT64, [len(axes)], axes)], rank=2 + keepdims)
    x = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    onnx.save(lower(model), tmp_path / "graph.onnx")
    answer = OnnxRuntimeGraph(tmp_path / "graph.onnx")(x=x)["y"]
    expected = x.mean(axis=tuple(axes), keepdims=bool(keepdims)) * sum(x.shape[slice(start, end)])
    np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


def test_what_opset_17_cannot_say_stays_as_it_is(caplog):
    newer = graph_of([helper.make_node("Mish", ["x"], ["y"])])
    assert lower(newer) == newer and newer.opset_import[0].version == 18
    assert "TensorRT 8.6" in caplog.text


def test_an_encoder_in_half_precision_moves_nobody_by_a_millimetre(tmp_path):
    body, bundle, graphs = load_model(ModelConfig(backend="onnxruntime"))
    write_half(bundle.graph_path("encode"), tmp_path / "encode_fp16.onnx")
    half = OnnxRuntimeGraph(tmp_path / "encode_fp16.onnx")
    check_golden(half, "encode", bundle, "half precision", tolerance=1e-2)
    joints = []
    for encode in (graphs["encode"], half):
        regressor = Regressor(KeypointEncoder(encode), graphs["regress"], bundle.loss_weights)
        fit = Optimiser(graphs["adapt"], graphs["readout"])(regressor(people(200)), TtoConfig(tolerance=0.0))
        joints.append(body.joints(fit.pose.rotmat, fit.pose.betas, np.zeros((200, 3), np.float32))[0])
    moved_mm = 1000 * np.linalg.norm(joints[1] - joints[0], axis=-1).mean(axis=1)
    assert np.median(moved_mm) < 1.0


def people(count):
    """Golden people, seen a little differently each."""
    inputs, _ = load_bundle("default").golden("encode")
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, 3, count)
    seen = Observation(**{name: value[chosen] for name, value in inputs.items()})
    noise = rng.normal(0, 0.02, seen.keypoints.shape).astype(np.float32)
    return dataclasses.replace(seen, keypoints=seen.keypoints + noise)
