"""Laws of the TensorRT backend: on a simulated GPU behind three versions of its API, and, marked `gpu`, on a real one.

`python -m pytest -m gpu tests/test_tensorrt.py` runs those that prove it on a machine with a GPU.
"""

import dataclasses
import gc
import json
import shutil

import numpy as np
import pytest
from simulated_gpu import REAL, VERSIONS, CudaError, SimulatedGpu, set_up

from hmr_ros.backends.cuda import Cuda
from hmr_ros.backends.device_graph import DeviceGraph
from hmr_ros.backends.engine_cache import EngineCache
from hmr_ros.backends.engines import Engines
from hmr_ros.backends.graph import BackendError, check_golden
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph
from hmr_ros.backends.tensorrt import PEOPLE
from hmr_ros.bundle import BODY_INPUTS, GRAPHS, BundleError, load_bundle
from hmr_ros.camera import Camera
from hmr_ros.config import ModelConfig, PipelineConfig, TtoConfig, WarmStartConfig
from hmr_ros.factory import build_pipeline, load_graphs, load_model, load_weights, make_regressor, no_progress
from hmr_ros.regressor import Observation
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.tto import Optimiser
from hmr_ros.types import Frame, Keypoints


@pytest.fixture(params=[*VERSIONS, pytest.param(REAL, marks=pytest.mark.gpu)])
def machine(request, monkeypatch):
    set_up(request.param, monkeypatch)


@pytest.fixture
def gpu(monkeypatch):
    return SimulatedGpu().install(monkeypatch)


@pytest.fixture(scope="module")
def weights():
    return load_weights(ModelConfig())


def engines(folder, precision="fp32"):
    return Engines(EngineCache(str(folder)), precision, no_progress)


def observation(people, seed=0):
    rng = np.random.default_rng(seed)
    return Observation(
        rng.uniform(-0.8, 0.8, (people, 23, 2)).astype(np.float32),
        rng.uniform(0.5, 1, (people, 23)).astype(np.float32),
        rng.normal(0, 0.4, (people, 23, 3)).astype(np.float32),
        np.ones((people, 23), np.float32),
        np.concatenate([rng.normal(0, 0.2, (people, 2)), rng.uniform(0.2, 1, (people, 1))], 1).astype(np.float32),
    )


# -- on every machine ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_equals_its_golden_pair(machine, name, tmp_path):
    bundle = load_bundle("default")
    check_golden(engines(tmp_path).graph(bundle, name), name, bundle, "TensorRT")


def test_frames_are_those_of_the_reference_whatever_the_number_of_people(machine, weights, tmp_path):
    body, bundle = weights
    config = ModelConfig(backend="tensorrt", precision="fp32", engine_cache=str(tmp_path))
    reference, ours = (load_graphs(c, body, bundle).graphs for c in (ModelConfig(backend="onnxruntime"), config))
    for number, people in enumerate((1, 4, 2, 9, 1)):
        fits = []
        for graphs in (reference, ours):
            start = make_regressor(bundle, graphs)(observation(people, number))
            fits.append(Optimiser(graphs["adapt"], graphs["readout"])(start, TtoConfig(max_steps=7)))
        expected, fit = fits
        assert (fit.report.steps, fit.report.stop) == (expected.report.steps, expected.report.stop)
        np.testing.assert_allclose(fit.report.loss_after, expected.report.loss_after, rtol=5e-3)
        np.testing.assert_allclose(fit.pose.rotmat, expected.pose.rotmat, atol=5e-3)


def test_more_people_than_the_engine_takes(machine, tmp_path):
    bundle = load_bundle("default")
    with pytest.raises(BackendError, match="33 people: the engine takes 1 to 32"):
        engines(tmp_path).graph(bundle, "encode")(**vars(observation(33)))


def test_a_graph_that_tensorrt_cannot_read(machine, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(load_bundle("default").path, copy)
    bundle = load_bundle(str(copy))
    (copy / "adapt.onnx").write_bytes(b"not a graph")
    with pytest.raises(BackendError, match=r"TensorRT \S+ cannot read .*adapt.onnx.*onnxruntime"):
        engines(tmp_path / "cache").graph(bundle, "adapt")


def test_wrong_inputs_are_named(machine, tmp_path):
    graph = engines(tmp_path).graph(load_bundle("default"), "encode")
    inputs = vars(observation(2))
    with pytest.raises(ValueError, match="the graph also takes bbox_info"):
        graph(**{n: a for n, a in inputs.items() if n != "bbox_info"})
    with pytest.raises(ValueError, match=r"'keypoints' has shape \(2, 22, 2\)"):
        graph(**{**inputs, "keypoints": inputs["keypoints"][:, 1:]})


# -- buffers -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def adapt(gpu, tmp_path):
    bundle = load_bundle("default")
    inputs = {n: a.copy() for n, a in bundle.golden("adapt")[0].items()}
    graph = engines(tmp_path).graph(bundle, "adapt").bind({n: inputs[n] for n in BODY_INPUTS})
    return (
        graph,
        {n: a for n, a in inputs.items() if n not in BODY_INPUTS},
        OnnxRuntimeGraph(bundle.graph_path("adapt")),
    )


def uploads(gpu, call):
    """Numbers of bytes that `call` sends up, copy by copy."""
    before = len(gpu.copies)
    call()
    return [size for kind, size in gpu.copies[before:] if kind == "up"]


def test_the_state_stays_on_the_gpu_and_a_step_is_one_launch_and_one_wait(adapt, gpu):
    graph, inputs, reference = adapt
    for array in inputs.values():
        array.flags.writeable = False
    body, _ = load_bundle("default").golden("adapt")
    ours, state = graph(**inputs), reference(**body)["new_state"]
    before = (gpu.launches, gpu.waits, len(gpu.copies))
    for _ in range(5):
        ours = graph(**{**inputs, "state": ours["new_state"]})
        state = reference(**{**body, "state": state})["new_state"]
    assert (gpu.launches, gpu.waits) == (before[0] + 5, before[1] + 5)
    assert [kind for kind, _ in gpu.copies[before[2] :]] == ["down"] * 5
    np.testing.assert_array_equal(ours["new_state"], state)


def test_the_loop_sends_nothing_up_after_its_first_step(gpu, weights, tmp_path):
    body, bundle = weights
    graphs = load_graphs(ModelConfig(backend="tensorrt", engine_cache=str(tmp_path)), body, bundle).graphs
    regressor, optimiser = (
        make_regressor(bundle, graphs),
        Optimiser(graphs["adapt"], graphs["readout"]),
    )

    def frame(steps):
        return uploads(gpu, lambda: optimiser(regressor(observation(1)), TtoConfig(max_steps=steps, tolerance=0.0)))

    frame(2)
    few, many = frame(3), frame(10)
    again = few[-1:] if len(many) > len(few) else []  # an earlier state was better, and goes up to be read out
    assert many == few + again


def test_another_state_goes_up(adapt, gpu):
    graph, inputs, reference = adapt
    body, _ = load_bundle("default").golden("adapt")
    first = graph(**inputs)
    elsewhere = first["new_state"] + np.float32(0.1)
    for state in (elsewhere, inputs["state"], first["new_state"], elsewhere):  # the third is no longer the latest
        expected = reference(**{**body, "state": state})
        answer = graph(**{**inputs, "state": state})
        np.testing.assert_array_equal(answer["new_state"], expected["new_state"])
        np.testing.assert_array_equal(answer["loss"], expected["loss"])


def test_what_was_changed_in_place_is_seen(adapt):
    graph, inputs, _ = adapt
    before = graph(**inputs)["loss"]
    inputs["keypoints"] += 0.1
    assert np.all(graph(**inputs)["loss"] != before)


def test_a_read_only_window_on_what_changes_is_not_trusted(adapt):
    graph, inputs, _ = adapt
    window = inputs["keypoints"].view()
    window.flags.writeable = False
    before = graph(**{**inputs, "keypoints": window})["loss"]
    inputs["keypoints"] += 0.1
    assert np.all(graph(**{**inputs, "keypoints": window})["loss"] != before)


def test_answers_are_the_callers_own(adapt):
    graph, inputs, _ = adapt
    first = graph(**inputs)
    kept = {name: value.copy() for name, value in first.items()}
    graph(**{**inputs, "state": inputs["state"] + 1})
    for name, value in first.items():
        np.testing.assert_array_equal(value, kept[name])


def test_bound_arrays_may_change_afterwards(gpu, tmp_path):
    bundle = load_bundle("default")
    inputs, expected = bundle.golden("regress")
    body = {n: inputs[n].copy() for n in BODY_INPUTS}
    graph = engines(tmp_path).graph(bundle, "regress").bind(body)
    for array in body.values():
        array[...] = np.nan
    answer = graph(features=inputs["features"], bbox_info=inputs["bbox_info"])
    np.testing.assert_allclose(answer["state"], expected["state"], rtol=1e-3, atol=1e-4)


def test_an_error_on_the_gpu_is_raised_and_what_was_going_up_is_sent_again(adapt, gpu):
    graph, inputs, _ = adapt
    for array in inputs.values():
        array.flags.writeable = False
    expected = graph(**inputs)
    other = {**inputs, "keypoints": inputs["keypoints"] + 1}
    gpu.launch, working = lambda graph: (CudaError.cudaErrorIllegalAddress,), gpu.launch
    with pytest.raises(BackendError, match="cudaErrorIllegalAddress.*restart"):
        graph(**other)
    gpu.launch = working
    np.testing.assert_array_equal(graph(**inputs)["loss"], expected["loss"])


def test_everything_is_given_back(gpu, weights, tmp_path):
    body, bundle = weights
    loaded = load_graphs(ModelConfig(backend="tensorrt", engine_cache=str(tmp_path)), body, bundle, people=3)
    assert gpu.device and gpu.pinned
    del loaded
    gc.collect()
    assert not gpu.device and not gpu.pinned


def test_numbers_of_people_are_made_ready_at_load(gpu, weights, tmp_path):
    body, bundle = weights
    graphs = load_graphs(ModelConfig(backend="tensorrt", engine_cache=str(tmp_path)), body, bundle, people=4).graphs
    before = len(gpu.device)
    for people in (1, 2, 3, 4):
        graphs["encode"](**vars(observation(people)))
    assert len(gpu.device) == before


# -- engines -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_no_tf32_and_types_as_in_the_file(version, monkeypatch, tmp_path):
    SimulatedGpu().install(monkeypatch, version)
    bundle = with_half_encoder(tmp_path / "bundle")
    found = {}
    for name in ("encode", "adapt"):
        engines(tmp_path, "fp16").graph(bundle, name)
        for plan in tmp_path.glob(f"{name}-*.plan"):
            found[name, plan] = json.loads(plan.read_bytes().split(b"\n")[1])
    assert len(found) == 2 * len(PEOPLE) and all(len(about["profiles"]) == 1 for about in found.values())
    assert not any(about["tf32"] for about in found.values())
    assert all(about["strong"] == (version != "8.6.1") for about in found.values())
    assert all(about["half"] == (name == "encode" and version == "8.6.1") for (name, _), about in found.items())


def with_half_encoder(copy):
    """A bundle that brings its encoder in half precision too (here only by name)."""
    shutil.copytree(load_bundle("default").path, copy)
    shutil.copy(copy / "encode.onnx", copy / "encode_fp16.onnx")
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["sha256"]["encode_fp16.onnx"] = manifest["sha256"]["encode.onnx"]
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return load_bundle(str(copy))


@pytest.mark.parametrize("most", [people[-1] for people in PEOPLE])
def test_kernels_that_are_wrong_for_some_numbers_of_people_are_refused(gpu, weights, tmp_path, most):
    body, bundle = weights
    gpu.error = {most: 0.01}
    with pytest.raises(BundleError, match="TensorRT computes 'encode' .* wrongly for .* people"):
        load_graphs(ModelConfig(backend="tensorrt", engine_cache=str(tmp_path)), body, bundle)


def test_engines_are_built_once_and_again_for_another_gpu_version_or_precision(monkeypatch, tmp_path):
    bundle = with_half_encoder(tmp_path / "bundle")

    def builds(version="10.3.0", precision="fp32", **gpu):
        machine = SimulatedGpu(**gpu).install(monkeypatch, version)
        engines(tmp_path / "cache", precision).graph(bundle, "encode")
        return machine.builds

    each = len(PEOPLE)
    assert [builds(), builds()] == [each, 0]
    others = builds(name="Simulated Thor"), builds(capability=(8, 9)), builds("11.1.0"), builds(precision="fp16")
    assert others == (each,) * 4
    assert builds() == builds(name="Simulated Thor") == 0


def test_a_plan_that_tensorrt_refuses_is_built_anew(gpu, tmp_path, monkeypatch):
    bundle = load_bundle("default")
    engines(tmp_path).graph(bundle, "encode")
    gpu.name = "the same by name, but TensorRT knows better"
    assert engines(tmp_path)._tensorrt.version == "10.3.0"
    cuda = Cuda()
    assert cuda.device_name == "Simulated Orin"
    engines(tmp_path).graph(bundle, "encode")
    assert gpu.builds == 2 * len(PEOPLE)


# -- what is missing -----------------------------------------------------------------------------------------------------


def test_no_driver():
    try:
        Cuda()
    except BackendError as error:
        assert str(error)  # the words depend on what this machine lacks
    else:
        pytest.skip("this machine has a GPU")


def test_no_cuda_python(gpu, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "cuda.bindings", None)
    with pytest.raises(BackendError, match="pip install 'cuda-python"):
        Cuda()


@pytest.mark.parametrize(
    "change, words",
    [
        ({"devices": 0}, "sees no GPU.*CUDA_VISIBLE_DEVICES"),
        ({"start_error": CudaError.cudaErrorInsufficientDriver}, "InsufficientDriver.*--gpus all"),
    ],
)
def test_no_gpu(gpu, change, words):
    vars(gpu).update(change)
    with pytest.raises(BackendError, match=words):
        Cuda()


def test_no_tensorrt(gpu, monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "tensorrt", None)
    with pytest.raises(BackendError, match="comes with JetPack"):
        engines(tmp_path)


def test_a_tensorrt_that_is_too_old(monkeypatch, tmp_path):
    SimulatedGpu().install(monkeypatch, "8.5.3")
    with pytest.raises(BackendError, match="TensorRT 8.5.3 is too old"):
        engines(tmp_path)


def test_asking_for_tensorrt_without_it_is_an_error(weights):
    try:
        Cuda()
    except BackendError:
        with pytest.raises(BackendError):
            load_model(ModelConfig(backend="tensorrt"))
    else:
        pytest.skip("this machine has a GPU")


def test_device_graphs_are_graphs(gpu, tmp_path):
    assert isinstance(engines(tmp_path).graph(load_bundle("default"), "encode"), DeviceGraph)


def test_whole_frames_are_those_of_the_reference(gpu, tmp_path):
    """Through tracker, regression, optimisation, warm start and smoothing: nothing writes into what a graph gave."""
    config = PipelineConfig(warm_start=WarmStartConfig(decay=0.9))
    rng = np.random.default_rng(0)
    body, _ = load_weights(config.model)
    poses = 0.2 * rng.normal(size=(2, 24, 3))
    keypoints = body.keypoints(
        rotvec_to_rotmat(poses + [[np.pi, 0, 0]] * (np.arange(24) == 0)[:, None]),
        np.zeros((2, 10)),
        np.array([[-0.6, 0, 4], [0.6, 0, 5]]),
    )
    camera = Camera.guess(640, 480)
    seen = Keypoints(camera.project(keypoints), np.ones((2, 23)), np.ones(2))

    class Source:
        config = None

        def detect(self, frame):
            return seen

        def reset(self):
            pass

    results = []
    for backend in ("onnxruntime", "tensorrt"):
        model = ModelConfig(backend=backend, engine_cache=str(tmp_path))
        pipeline = build_pipeline(dataclasses.replace(config, model=model), source=Source())
        image = np.zeros((480, 640, 3), np.uint8)
        results.append([pipeline(Frame(image, camera, stamp * 33_000_000)) for stamp in range(1, 5)])
    for expected, ours in zip(*results):
        assert len(ours.people) == len(expected.people) == 2
        for a, b in zip(expected.people, ours.people):
            np.testing.assert_allclose(b.joints, a.joints, atol=1e-3)
            assert (b.id, b.steps) == (a.id, a.steps)
