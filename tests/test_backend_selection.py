"""Which backend is chosen and what is said about it: the order, the reasons, and that the robot comes up whatever fails."""

import re

import numpy as np
import onnxruntime
import pytest
from simulated_gpu import SimulatedGpu

from hmr_ros.backends.cuda import Cuda
from hmr_ros.backends.graph import BackendError
from hmr_ros.backends.onnx_runtime import CUDA, OnnxRuntimeGraph
from hmr_ros.backends.selection import Loaded, first_that_works, unless_slower
from hmr_ros.bundle import BundleError, load_bundle
from hmr_ros.config import ModelConfig, PipelineConfig, replace
from hmr_ros.factory import build_pipeline, load_graphs, load_weights


class NoDetector:
    config = None


@pytest.fixture(scope="module")
def weights():
    return load_weights(ModelConfig())


@pytest.fixture
def gpu(monkeypatch):
    return SimulatedGpu().install(monkeypatch)


@pytest.fixture
def onnxruntime_gpu(monkeypatch):
    """An onnxruntime that has a CUDA provider, as far as its answers tell; it computes on the CPU."""
    real = onnxruntime.InferenceSession

    class Session:
        def __init__(self, path, options, providers):
            self.session, self.asked = real(path, options, providers=["CPUExecutionProvider"]), providers
            asked.append(providers)

        def get_providers(self):
            return [p if isinstance(p, str) else p[0] for p in self.asked]

        def __getattr__(self, name):
            return getattr(self.session, name)

    asked: list = []
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime, "InferenceSession", Session)
    return asked


def test_this_machine_says_in_one_line_why(weights, caplog):
    caplog.set_level("INFO", "hmr_ros")
    loaded = load_graphs(ModelConfig(), *weights)
    assert "\n" not in loaded.reason and f"graphs run on {loaded.name}: {loaded.reason}" in caplog.text
    try:
        Cuda()
    except BackendError as error:
        assert loaded.name.startswith("onnxruntime") and f"not tensorrt: {error}" in loaded.reason


def test_the_pipeline_says_so_too(weights):
    facts = build_pipeline(PipelineConfig(), source=NoDetector()).describe()
    loaded = load_graphs(ModelConfig(), *weights)
    assert (facts["backend"], facts["backend_reason"]) == (loaded.name, loaded.reason)


def test_a_detector_of_ones_own_is_not_taken_for_blazepose(weights):
    facts = build_pipeline(PipelineConfig(), source=NoDetector()).describe()
    assert (facts["keypoints"], facts["keypoints_backend"]) == ("NoDetector", "")
    facts = build_pipeline(replace(PipelineConfig(), {"keypoints.source": "topic"})).describe()
    assert (facts["keypoints"], facts["keypoints_backend"]) == ("topic", "")


def test_tensorrt_first(weights, gpu, onnxruntime_gpu, tmp_path):
    loaded = load_graphs(ModelConfig(engine_cache=str(tmp_path)), *weights)
    assert loaded.name == "TensorRT 10.3.0 (Simulated Orin, encoder fp32)"
    assert loaded.reason == "the first choice works"


def test_then_onnx_runtime_on_the_gpu_without_tf32(weights, onnxruntime_gpu, monkeypatch):
    monkeypatch.setattr("hmr_ros.backends.selection._median_ms", lambda work, repeats: work() or 1.0)
    loaded = load_graphs(ModelConfig(), *weights)
    assert loaded.name == "onnxruntime (CUDA)"
    assert re.match(r"not tensorrt: .+", loaded.reason)
    assert onnxruntime_gpu[0] == [(CUDA, {"use_tf32": "0"}), "CPUExecutionProvider"]


def test_then_the_cpu_where_the_gpu_is_slower(weights, onnxruntime_gpu, monkeypatch):
    times = iter((3.0, 0.6))
    monkeypatch.setattr("hmr_ros.backends.selection._median_ms", lambda work, repeats: next(times))
    loaded = load_graphs(ModelConfig(), *weights)
    assert loaded.name == "onnxruntime (CPU)"
    assert "not onnxruntime_cuda: slower here, 3.0 ms for a frame's graphs against 0.6 ms" in loaded.reason


def test_a_gpu_that_computes_something_else_is_left_for_the_cpu(weights, gpu, tmp_path):
    gpu.error = {1: 0.01}
    loaded = load_graphs(ModelConfig(engine_cache=str(tmp_path)), *weights)
    assert loaded.name == "onnxruntime (CPU)"
    assert "TensorRT computes 'encode'" in loaded.reason and "golden pair" in loaded.reason


def test_whatever_a_gpu_library_throws_the_robot_comes_up(weights, gpu, tmp_path, monkeypatch, caplog):
    monkeypatch.delattr("tensorrt.OnnxParser")  # as if a new version had renamed it
    loaded = load_graphs(ModelConfig(engine_cache=str(tmp_path)), *weights)
    assert loaded.name == "onnxruntime (CPU)"
    assert "not tensorrt: AttributeError" in loaded.reason and "please report" in caplog.text


@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime_cuda"])
def test_who_names_a_backend_gets_it_or_an_error(weights, gpu, tmp_path, monkeypatch, backend):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BackendError):
        load_graphs(ModelConfig(backend=backend, engine_cache=str(tmp_path)), *weights)


def test_the_cpu_by_name(weights, gpu):
    loaded = load_graphs(ModelConfig(backend="onnxruntime"), *weights)
    assert (loaded.name, loaded.reason) == ("onnxruntime (CPU)", "model.backend is onnxruntime")
    assert not gpu.builds


def test_a_provider_that_does_not_start_is_noticed(monkeypatch):
    """ONNX Runtime itself only warns, and computes on the CPU."""
    if CUDA in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has the provider")
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, "CPUExecutionProvider"])
    with pytest.warns(UserWarning), pytest.raises(BackendError, match="cannot start its CUDAExecutionProvider"):
        OnnxRuntimeGraph(load_bundle("default").graph_path("readout"), provider=CUDA)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["tensorrt", "onnxruntime_cuda"])
def test_on_a_real_gpu_both_pass_their_check(weights, backend):
    try:
        loaded = load_graphs(ModelConfig(backend=backend), *weights)  # the engines that `build_engine` has built
    except BackendError as error:
        pytest.skip(f"not here: {error}")
    assert loaded.reason == f"model.backend is {backend}"


# -- the rule itself -----------------------------------------------------------------------------------------------------


def refuse(error):
    def make():
        raise error

    return make


def test_the_first_that_works_and_all_reasons_before_it():
    candidates = {
        "a": refuse(BackendError("no a\nat all")),
        "b": refuse(BundleError("wrong b")),
        "c": lambda: Loaded({}, "see"),
        "d": refuse(AssertionError("never asked")),
    }
    assert first_that_works(candidates) == Loaded({}, "see", "not a: no a at all; not b: wrong b")


def test_the_last_ones_error_is_the_callers():
    with pytest.raises(BundleError, match="broken"):
        first_that_works({"a": refuse(BackendError("no a")), "b": refuse(BundleError("the bundle is broken"))})


@pytest.mark.parametrize("work, plain_work, works", [(1, 1000, True), (1000, 1, False)])
def test_slower_than_the_plain_way_is_refused(work, plain_work, works):
    def frame(loaded):
        np.ones((200, 200)).dot(np.ones((200, loaded.graphs["size"])))

    make = unless_slower(lambda: Loaded({"size": work}, "new"), lambda: Loaded({"size": plain_work}, "plain"), frame)
    if works:
        assert make().name == "new"
    else:
        with pytest.raises(BackendError, match="slower here"):
            make()
