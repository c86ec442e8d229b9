"""Laws of the TensorRT backend: on a simulated GPU behind three versions of its API, and, marked `gpu`, on a real one.

`python -m pytest -m gpu tests/test_tensorrt.py` runs those that prove it on a machine with a GPU.
"""

import ctypes
import dataclasses
import gc
import json
import shutil
import types

import numpy as np
import pytest
from simulated_gpu import REAL, SCRATCH, VERSIONS, CudaError, SimulatedGpu, set_up

from hmr_ros.backends.cuda import Cuda
from hmr_ros.backends.device_graph import DeviceGraph
from hmr_ros.backends.engine_cache import EngineCache
from hmr_ros.backends.engines import Engines
from hmr_ros.backends.graph import BackendError, check_golden
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph
from hmr_ros.backends.tensorrt import PEOPLE
from hmr_ros.bundle import BODY_INPUTS, GRAPHS, BundleError, load_bundle
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig, ModelConfig, PipelineConfig, TtoConfig, WarmStartConfig
from hmr_ros.factory import build_pipeline, load_graphs, load_model, load_weights, make_regressor, no_progress
from hmr_ros.regressor import Observation
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.tto import Optimiser
from hmr_ros.types import Frame, Keypoints


@pytest.fixture(params=[*VERSIONS, pytest.param(REAL, marks=pytest.mark.gpu)])
def folder(request, monkeypatch, tmp_path):
    """Where engines are kept. On a real machine where `build_engine` keeps them, for building takes minutes."""
    set_up(request.param, monkeypatch)
    return "" if request.param == REAL else str(tmp_path / "engines")


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
def test_every_graph_equals_its_golden_pair(folder, name):
    bundle = load_bundle("default")
    check_golden(engines(folder).graph(bundle, name), name, bundle, "TensorRT")


def test_frames_are_those_of_the_reference_whatever_the_number_of_people(folder, weights):
    body, bundle = weights
    config = ModelConfig(backend="tensorrt", precision="fp32", engine_cache=folder)
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


def test_more_people_than_the_engine_takes(folder):
    bundle = load_bundle("default")
    with pytest.raises(BackendError, match="33 people: the engine takes 1 to 32"):
        engines(folder).graph(bundle, "encode")(**vars(observation(33)))


def test_a_graph_that_tensorrt_cannot_read(folder, tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(load_bundle("default").path, copy)
    bundle = load_bundle(str(copy))
    (copy / "adapt.onnx").write_bytes(b"not a graph")
    with pytest.raises(BackendError, match=r"TensorRT \S+ cannot read .*adapt.onnx.*onnxruntime"):
        engines(folder).graph(bundle, "adapt")


def test_wrong_inputs_are_named(folder):
    graph = engines(folder).graph(load_bundle("default"), "encode")
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


def test_after_a_launch_that_failed_the_same_call_gives_the_right_state(adapt, gpu):
    graph, inputs, reference = adapt
    state = graph(**inputs)["new_state"]
    expected = reference(**{**load_bundle("default").golden("adapt")[0], "state": state})
    gpu.launch, working = lambda graph: (CudaError.cudaErrorInvalidValue,), gpu.launch
    with pytest.raises(BackendError):
        graph(**{**inputs, "state": state})
    gpu.launch = working
    for name, value in graph(**{**inputs, "state": state}).items():
        np.testing.assert_array_equal(value, expected[name])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what", ["capture", "end of capture", "graph"])
def test_what_cannot_be_captured_runs_without_and_that_is_said_once(
    version, what, weights, monkeypatch, tmp_path, caplog
):
    gpu = SimulatedGpu().install(monkeypatch, version)
    gpu.refuses = {what}
    body, bundle = weights
    config = ModelConfig(backend="tensorrt", engine_cache=str(tmp_path))
    graphs = load_graphs(config, body, bundle, people=2).graphs
    start = make_regressor(bundle, graphs)(observation(2))
    fit = Optimiser(graphs["adapt"], graphs["readout"])(start, TtoConfig(max_steps=3, tolerance=0.0))
    assert fit.report.steps == 3 and (fit.report.loss_after < fit.report.loss_before).all()
    assert not gpu.launches and not gpu.graphs and not gpu.last_error
    assert caplog.text.count("no CUDA graphs here") == 1


def test_everything_is_given_back(gpu, weights, tmp_path):
    body, bundle = weights
    loaded = load_graphs(ModelConfig(backend="tensorrt", engine_cache=str(tmp_path)), body, bundle, people=3)
    assert gpu.device and gpu.pinned and gpu.graphs
    del loaded
    gc.collect()
    assert not gpu.device and not gpu.pinned and not gpu.graphs


def scratch_memory(gpu):
    """Bytes of each piece there is."""
    return [memory.span for memory in gpu.device.values() if memory.span % 256]


@pytest.mark.parametrize("version", ["8.6.1", "10.3.0"])
def test_all_engines_share_one_piece_of_scratch_memory(version, weights, monkeypatch, tmp_path):
    gpu = SimulatedGpu().install(monkeypatch, version)
    body, bundle = weights
    loaded = load_graphs(ModelConfig(backend="tensorrt", engine_cache=str(tmp_path)), body, bundle, people=3)
    assert len(loaded.graphs) == len(GRAPHS) and scratch_memory(gpu) == [SCRATCH * PEOPLE[-1][-1]]


def test_a_larger_engine_that_comes_later_leaves_those_before_their_memory(gpu, tmp_path):
    bundle, shared = load_bundle("default"), engines(tmp_path)
    reference = OnnxRuntimeGraph(bundle.graph_path("encode"))
    graphs = {}
    for count, ranges in ((1, PEOPLE[:1]), (8, PEOPLE[:2])):
        graphs[count] = shared.graph_in(
            bundle.graph_path("encode"), "encode", bundle.graph_sha256("encode"), ranges=ranges
        )
        for people, graph in graphs.items():
            given = vars(observation(people))
            np.testing.assert_array_equal(graph(**given)["features"], reference(**given)["features"])
    assert sorted(scratch_memory(gpu)) == [SCRATCH, 8 * SCRATCH]
    del graphs[1], graph
    gc.collect()
    assert scratch_memory(gpu) == [8 * SCRATCH]


class Onlooker:
    """An engine that computes nothing, and keeps what the first run finds in its inputs."""

    inputs = {"image": (1, -1, -1, 3), "x": (-1, 8), "state": (-1, 8)}
    outputs = {"new_state": (-1, 8)}
    max_people = 1

    def __init__(self, gpu, inputs):
        self.gpu, self.found = gpu, None
        self.inputs = {name: self.inputs[name] for name in inputs}

    def prepare(self, shapes, addresses):
        def look():
            if self.found is None:
                self.found = {name: ctypes.string_at(addresses[name], 32) for name in self.inputs}

        return lambda: self.gpu.enqueue(look)


def test_the_first_run_reads_nothing_that_was_not_written(gpu):
    engine = Onlooker(gpu, ("image", "x", "state"))
    graph = DeviceGraph(engine, Cuda())
    graph.make_ready(1)
    graph(image=np.full((1, 4, 4, 3), 7, np.uint8), x=np.ones((1, 8), np.float32), state=np.ones((1, 8), np.float32))
    assert engine.found == {"image": bytes([7] * 32), "x": bytes(32), "state": bytes(32)}


def test_no_memory_for_pictures_where_none_are_seen(gpu):
    graph = DeviceGraph(Onlooker(gpu, ("x", "state")), Cuda())
    assert not gpu.device and not gpu.pinned
    graph(x=np.ones((1, 8), np.float32), state=np.ones((1, 8), np.float32))
    assert len(gpu.device) == len(gpu.pinned) == 3  # inputs, and outputs in turns


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
    assert builds(multiprocessors=8) == each  # another module or power mode
    monkeypatch.setattr("hmr_ros.backends.engines.RECIPE", 99)
    assert builds() == each
    monkeypatch.undo()
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


def test_what_was_measured_for_one_engine_is_not_measured_again(monkeypatch, tmp_path):
    bundle = load_bundle("default")

    def measured(graph, version="10.3.0", **gpu):
        machine = SimulatedGpu(**gpu).install(monkeypatch, version)
        for plan in tmp_path.glob("*.plan"):
            plan.unlink()
        engines(tmp_path).graph(bundle, graph)
        assert machine.builds == len(PEOPLE)
        return machine.measured

    assert [measured("encode"), measured("encode"), measured("adapt"), measured("encode")] == [1, 0, 1, 0]
    assert [measured("encode", "8.6.1"), measured("encode", multiprocessors=8)] == [1, 1]
    for file in tmp_path.glob("*.timings"):
        file.write_bytes(file.read_bytes()[:-1])
    assert [measured("encode"), measured("encode")] == [1, 0]


def test_what_was_measured_elsewhere_is_left(gpu, tmp_path):
    path, silent = load_bundle("default").graph_path("encode"), lambda share: None
    _, timings = engines(tmp_path)._tensorrt.build(path, False, PEOPLE[0], silent)
    gpu.name = "another to TensorRT"
    _, again = engines(tmp_path)._tensorrt.build(path, False, PEOPLE[0], silent, timings)
    assert gpu.measured == 2 and json.loads(again)["of"] == ["10.3.0", "another to TensorRT"]


def test_a_good_plan_that_does_not_fit_into_memory_is_kept(gpu, tmp_path):
    bundle = load_bundle("default")
    engines(tmp_path).graph(bundle, "encode")
    gpu.refuses = {"loading"}
    with pytest.raises(BackendError, match="cannot load the plan: .*out of memory"):
        engines(tmp_path).graph(bundle, "encode")
    assert gpu.builds == len(PEOPLE)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("what, words", [("profile", "optimization profile"), ("shapes", "infer_shapes error")])
def test_errors_of_the_bindings_are_ours(version, what, words, monkeypatch, tmp_path):
    gpu = SimulatedGpu().install(monkeypatch, version)
    gpu.refuses = {what}
    with pytest.raises(BackendError, match=f"refused .*{words}"):
        engines(tmp_path).graph(load_bundle("default"), "encode")(**vars(observation(1)))


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
    with pytest.raises(BackendError, match="python3-libnvinfer.*tensorrt-cu12"):
        engines(tmp_path)


@pytest.mark.parametrize("what", ["runtime", "builder"])
def test_a_tensorrt_for_another_cuda_than_the_drivers(gpu, tmp_path, what):
    gpu.refuses = {what}
    with pytest.raises(BackendError, match="error: 35.*major version of CUDA.*tensorrt-cu12"):
        engines(tmp_path).graph(load_bundle("default"), "encode")


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


def test_graphs_and_detector_share_one_stream_and_its_memory(gpu, tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr("hmr_ros.factory.Engines", lambda *arguments: made.append(Engines(*arguments)) or made[-1])
    monkeypatch.setattr("hmr_ros.factory.BlazePose", lambda config, load: types.SimpleNamespace(config=config))
    model = ModelConfig(backend="tensorrt", engine_cache=str(tmp_path))
    build_pipeline(PipelineConfig(model=model, keypoints=KeypointsConfig(backend="tensorrt")))
    assert len(made) == 1


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
