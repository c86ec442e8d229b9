"""People divided among threads in the encoder: the same features, whoever computes them."""

import threading

import numpy as np
import pytest

from hmr_ros.backends.divided import DividedGraph
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph
from hmr_ros.bundle import load_bundle
from hmr_ros.worker_pool import WorkerPool


@pytest.mark.parametrize("people", [1, 2, 3, 8])
def test_features_are_those_of_one_thread(people):
    bundle = load_bundle("default")
    graph = OnnxRuntimeGraph(bundle.graph_path("encode"))
    inputs, expected = bundle.golden("encode")
    rows = np.arange(people) % 3
    found = DividedGraph(graph, WorkerPool(3))(**{name: array[rows] for name, array in inputs.items()})
    np.testing.assert_allclose(found["features"], expected["features"][rows], atol=1e-4)


def test_every_thread_has_a_share_and_nobody_is_left_out():
    seen, together = [], threading.Barrier(2)

    class Graph:
        def __call__(self, number):
            together.wait(30)  # or it breaks: both are at it at once
            seen.append(len(number))
            return {"double": 2 * number}

        def bind(self, inputs):
            return self

    divided = DividedGraph(Graph(), WorkerPool(2)).bind({})
    assert divided(number=np.arange(5))["double"].tolist() == [0, 2, 4, 6, 8]
    assert sorted(seen) == [2, 3]
