"""Counting against counts made by hand, and the roofline's laws."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from hmr_ros.bundle import GRAPHS, load_bundle
from training.graph_cost import Cost, count, layers


def graph(tmp_path, nodes, inputs, outputs, **weights):
    def describe(tensors):
        return [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in tensors.items()]

    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    made = helper.make_graph(nodes, "graph", describe(inputs), describe(outputs), constants)
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "g.onnx")
    return tmp_path / "g.onnx"


def test_a_linear_layer(tmp_path):
    w, b = np.zeros((20, 30), np.float32), np.zeros(30, np.float32)
    nodes = [helper.make_node("Gemm", ["x", "w", "b"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    path = graph(tmp_path, nodes, {"x": ["n", 20]}, {"y": ["n", 30]}, w=w, b=b)
    assert count(path, 7) == Cost(2 * 7 * 20 * 30 + 7 * 30, 4 * (7 * 20 + 7 * 30 + 20 * 30 + 30))


@pytest.mark.parametrize("groups", [1, 4])
def test_a_convolution(tmp_path, groups):
    w = np.zeros((16, 8 // groups, 3, 3), np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2], pads=[1, 1, 1, 1], group=groups)
    path = graph(tmp_path, [node], {"x": ["n", 8, 32, 24]}, {"y": ["n", 16, 16, 12]}, w=w)
    assert count(path, 2).flops == 2 * (2 * 16 * 16 * 12) * (8 // groups * 9)


def test_weights_in_half_precision_are_half_the_traffic(tmp_path):
    nodes = [
        helper.make_node("Cast", ["x"], ["x16"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["x16", "w"], ["y16"]),
        helper.make_node("Cast", ["y16"], ["y"], to=TensorProto.FLOAT),
    ]
    path = graph(tmp_path, nodes, {"x": ["n", 20]}, {"y": ["n", 30]}, w=np.zeros((20, 30), np.float16))
    assert count(path, 1) == Cost(2 * 20 * 30, 4 * (20 + 30) + 2 * 600)


@pytest.mark.parametrize("name", GRAPHS)
def test_arithmetic_grows_with_people_and_weights_do_not(name):
    path = load_bundle("default").graph_path(name)
    one, two, three = (count(path, people) for people in (1, 2, 3))
    assert one.flops < two.flops < three.flops and one.bytes < two.bytes
    assert three.bytes - two.bytes == two.bytes - one.bytes
    weights = sum(numpy_helper.to_array(t).nbytes for t in onnx.load(path).graph.initializer)
    assert one.bytes > weights


def test_the_roofline_is_the_slower_of_the_two():
    cost = Cost(flops=2e9, bytes=1e6)
    assert cost.least_ms(flops_per_s=1e12, bytes_per_s=1e12) == pytest.approx(2.0)
    assert cost.least_ms(flops_per_s=1e15, bytes_per_s=1e8) == pytest.approx(10.0)


def test_layers_move_what_lies_between_them(tmp_path):
    first, second = np.zeros((20, 30), np.float32), np.zeros((30, 30), np.float32)
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["h"]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("MatMul", ["a", "second"], ["b"]),
        helper.make_node("Add", ["b", "a"], ["y"]),
    ]
    path = graph(tmp_path, nodes, {"x": ["n", 20]}, {"y": ["n", 30]}, first=first, second=second)
    assert layers(path, 7) == [
        Cost(2 * 7 * 20 * 30, 4 * (7 * 20 + 20 * 30 + 7 * 30)),
        Cost(2 * 7 * 30 * 30, 4 * (7 * 30 + 30 * 30 + 7 * 30)),
        Cost(0, 4 * 7 * 30),
    ]
