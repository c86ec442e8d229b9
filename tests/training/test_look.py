"""The graph that cuts crops on the device, against OpenCV's, and as a GPU runs it."""

import gc
import hashlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
onnx = pytest.importorskip("onnx", reason="needs onnx")
from onnx import TensorProto, helper  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from simulated_gpu import REAL, VERSIONS, SimulatedGpu, set_up  # noqa: E402

from hmr_ros.backends.engine_cache import EngineCache  # noqa: E402
from hmr_ros.backends.engines import Engines  # noqa: E402
from hmr_ros.backends.graph import BackendError  # noqa: E402
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph  # noqa: E402
from hmr_ros.bundle import BODY_INPUTS, ENCODERS, Bundle, inputs_of  # noqa: E402
from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.crop import LARGEST_PICTURE, SAMPLES, crop_people, look_inputs  # noqa: E402
from hmr_ros.encoders import make_encoder  # noqa: E402
from hmr_ros.factory import no_progress  # noqa: E402
from hmr_ros.media import open_media  # noqa: E402
from hmr_ros.regressor import Observation  # noqa: E402
from hmr_ros.types import Frame  # noqa: E402
from training.half import write_half  # noqa: E402
from training.look import cut, example_picture, write_look  # noqa: E402

CROP = (64, 48)
LENS = np.array([-0.25, 0.08, 0, 0, 0])
UNDERSTOOD = {
    "Abs", "Add", "AveragePool", "Cast", "Concat", "Div", "GridSample", "Identity", "MatMul", "Mul", "ReduceMean", "Relu",
    "Reshape", "Sub", "Transpose",
}  # fmt: skip
"""Operators in the tests' graphs; TensorRT 8.6's parser has them all (docs/operators.md of onnx-tensorrt 8.6-GA)."""


@pytest.fixture(scope="module")
def picture():
    """A street with somebody in it, (H, W, 3) uint8."""
    clip = Path(__file__).parents[2] / "hmr_ros" / "assets" / "demo" / "walk.mp4"
    return next(iter(open_media(str(clip))))[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """Encoders that give their crop as it is: one reads it alone, the other keypoints too, which it adds up."""
    folder = tmp_path_factory.mktemp("bundle")
    write_encoder(folder / "encode.onnx")
    write_half(folder / "encode.onnx", folder / "encode_fp16.onnx")
    for precision in ("", "_fp16"):
        write_look(folder / f"encode{precision}.onnx", folder / f"look{precision}.onnx", CROP)
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    return Bundle(folder, {"encoder": "fused", "crop_px": [*CROP], "sha256": digests})


def write_encoder(path):
    shapes = {
        "crop": [3, *CROP],
        "keypoints": [23, 2],
        "confidence": [23],
        "keypoints_3d": [23, 3],
        "confidence_3d": [23],
    }
    shapes["bbox_info"] = [3]
    inputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["people", *shapes[name]]) for name in ENCODERS["fused"]
    ]
    nodes = [
        helper.make_node("ReduceMean", [name], [f"{name}_mean"], axes=[*range(1, 1 + len(shapes[name]))], keepdims=0)
        for name in ENCODERS["fused"][1:]
    ]
    wide = helper.make_node("Reshape", ["crop", "flat"], ["pixels"])
    sums = [
        helper.make_node("Reshape", [f"{name}_mean", "column"], [f"{name}_column"]) for name in ENCODERS["fused"][1:]
    ]
    joined = helper.make_node("Concat", ["pixels", *(node.output[0] for node in sums)], ["features"], axis=1)
    constants = [
        helper.make_tensor("flat", TensorProto.INT64, [2], [-1, 3 * CROP[0] * CROP[1]]),
        helper.make_tensor("column", TensorProto.INT64, [2], [-1, 1]),
    ]
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["people", 3 * CROP[0] * CROP[1] + 5])
    graph = helper.make_graph([*nodes, wide, *sums, joined], "encode", inputs, [output], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)


def camera_of(picture, lens=None):
    height, width = picture.shape[:2]
    return Camera(np.array([[width, 0, width / 2], [0, width, height / 2], [0, 0, 1.0]]), width, height, lens)


def people(sizes_px, width):
    """Boxes so high, side by side from the picture's left border on. Returns an Observation."""
    count = len(sizes_px)
    bbox_info = np.column_stack([np.linspace(-0.5, 0.2, count), np.full(count, 0.05), np.divide(sizes_px, width)])
    rng = np.random.default_rng(0)
    seen = [rng.normal(size=(count, 23, *rest)).astype(np.float32) for rest in ((2,), (), (3,), ())]
    return Observation(*seen, bbox_info.astype(np.float32))


@pytest.mark.parametrize("lens", [None, LENS])
@pytest.mark.parametrize("size, off", [(0.4, 0.3), (1.0, 0.4), (1.7, 0.3), (2.6, 0.8), (5.0, 1.0)])
def test_crops_are_those_of_opencv(bundle, picture, lens, size, off):
    """size: of the people, over their crop's height. off: what may differ on average, of 255; rounding to 8 bits alone is 0.25."""
    camera, seen = camera_of(picture, lens), people([size * CROP[0]] * 3, picture.shape[1])
    look = OnnxRuntimeGraph(bundle.graph_path("look"))
    features = look(**look_inputs(picture, camera, seen.bbox_info, CROP), **vars(seen))["features"]
    ours = features[:, :-5].reshape(3, 3, *CROP)
    expected = crop_people(picture, camera, seen.bbox_info, CROP)
    assert expected.std() > 0.05
    assert 255 * np.abs(ours - expected).mean() < off
    if size <= SAMPLES:  # as many samples, at the same places: what is left is OpenCV's rounding
        assert 255 * np.abs(ours - expected).max() < 5


def test_onnx_is_torch(bundle):
    example = example_picture(3, CROP, 96, 128)
    assert sorted(example["spread"].ravel()) == [0, 1, 1]
    truth = cut(*(torch.from_numpy(example[name]) for name in ("image", "nodes", "spread")), CROP).numpy()
    features = OnnxRuntimeGraph(bundle.graph_path("look"))(**example, **vars(people([1] * 3, 128)))["features"]
    np.testing.assert_allclose(features[:, :-5].reshape(truth.shape), truth, atol=1e-4)


def test_what_tensorrt_8_6_reads(bundle):
    for name in ("look", "look_fp16"):
        model = onnx.load(bundle.graph_path(name))
        assert [entry.version for entry in model.opset_import] == [
            17
        ]  # from 20 on, TensorRT takes GridSample's "linear" for nearest
        assert {node.op_type for node in model.graph.node} <= UNDERSTOOD
        assert [node.op_type for node in model.graph.node if "image" in node.input] == ["Cast"]
        assert tuple(value.name for value in model.graph.input) == inputs_of("look", "fused")


def test_far_outside_is_black_and_nothing_is_nan(bundle):
    camera = Camera(np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), 100, 100, np.array([1e3, 1e6, 0, 0, 0]))
    seen = people([100, 1e6, 100], 100)
    picture = look_inputs(np.full((100, 100, 3), 255, np.uint8), camera, seen.bbox_info + [50, 0, 0], CROP)
    features = OnnxRuntimeGraph(bundle.graph_path("look"))(**picture, **vars(seen))["features"]
    assert (features[:, :-5] == 0).all() and np.isfinite(picture["nodes"]).all()


def test_a_picture_that_is_too_large_is_shrunk():
    height, width = (2 * side for side in LARGEST_PICTURE)
    image = np.broadcast_to(np.uint8(7), (height, width, 3))
    seen = people([CROP[0] * 1.5], width)
    given = look_inputs(image, camera_of(image), seen.bbox_info, CROP)
    assert given["image"].shape == (1, *LARGEST_PICTURE, 3) and given["spread"].item() == 0


@pytest.mark.parametrize("offered", [("encode",), ("look",)])
def test_one_way_through_for_both(bundle, picture, offered):
    graphs = {name: OnnxRuntimeGraph(bundle.graph_path(name)) for name in offered}
    encode, camera, seen = make_encoder(bundle, graphs), camera_of(picture, LENS), people([90, 60], picture.shape[1])
    assert encode.aspect == CROP[1] / CROP[0]
    features = encode(seen, Frame(picture, camera))
    crop = crop_people(picture, camera, seen.bbox_info, CROP).reshape(2, -1)
    others = np.stack([getattr(seen, name).reshape(2, -1).mean(1) for name in ENCODERS["fused"][1:]], -1)
    assert np.abs(features - np.concatenate([crop, others], -1)).mean() < 1 / 255
    with pytest.raises(ValueError, match="needs the frame"):
        encode(seen)


# -- on a simulated GPU --------------------------------------------------------------------------------------------------


def on_gpu(bundle, folder, precision="fp32"):
    return Engines(EngineCache(str(folder)), precision, no_progress).graph(bundle, "look")


def inputs(count, height=96, width=128, seed=0):
    return {**example_picture(count, CROP, height, width, seed), **vars(people([1] * count, width))}


@pytest.fixture(params=[*VERSIONS, pytest.param(REAL, marks=pytest.mark.gpu)])
def machine(request, monkeypatch):
    set_up(request.param, monkeypatch)


def test_any_people_and_any_picture(machine, bundle, tmp_path):
    graph, reference = on_gpu(bundle, tmp_path), OnnxRuntimeGraph(bundle.graph_path("look"))

    def same(given):
        np.testing.assert_allclose(graph(**given)["features"], reference(**given)["features"], atol=1e-3)

    for seed, (count, height, width) in enumerate(
        [(1, 96, 128), (3, 96, 128), (1, 96, 128), (3, 128, 96), (9, 64, 64)]
    ):
        same(inputs(count, height, width, seed))
    with pytest.raises(BackendError, match=r"does not take 'image' of shape \(1, 8, 96, 3\)"):
        graph(**{**inputs(1), "image": np.zeros((1, 8, 96, 3), np.uint8)})
    with pytest.raises(ValueError, match=r"'image' has shape \(1, 96, 128\)"):
        graph(**{**inputs(1), "image": np.zeros((1, 96, 128), np.uint8)})
    same(inputs(2))


def test_half_precision_is_the_encoders_alone(machine, bundle, tmp_path):
    """Places in a large picture in float16 would be half a pixel off; a picture full of edges tells."""
    graph, reference = on_gpu(bundle, tmp_path, "fp16"), OnnxRuntimeGraph(bundle.graph_path("look"))
    given = inputs(2, 720, 1280)
    ours, expected = (run(**given)["features"][:, :-5] for run in (graph, reference))
    assert expected.std() > 0.1
    np.testing.assert_allclose(ours, expected, atol=1e-3)


def test_a_picture_goes_up_in_one_copy_of_bytes_and_its_memory_is_shared(bundle, tmp_path, monkeypatch):
    gpu = SimulatedGpu().install(monkeypatch)
    graph, given = on_gpu(bundle, tmp_path), inputs(2)
    graph.make_ready(3)
    graph(**given)
    before, held = len(gpu.copies), len(gpu.device)
    graph(**inputs(1))
    graph(**inputs(3))
    graph(**given)
    assert [size for kind, size in gpu.copies[before:] if kind == "up"][::2] == [96 * 128 * 3] * 3
    assert len(gpu.device) == held  # 1 to 3 people were ready with the first picture
    graph(**inputs(1, 64, 64))
    assert len(gpu.device) == held and [m.span for m in gpu.device.values()].count(96 * 128 * 3) == 0
    del graph
    gc.collect()
    assert not gpu.device and not gpu.pinned


def test_tensorrt_8_is_held_to_float32_where_places_are_computed(bundle, tmp_path, monkeypatch):
    for version, precision in (("8.6.1", "fp16"), ("8.6.1", "fp32"), ("10.3.0", "fp16")):
        SimulatedGpu().install(monkeypatch, version)
        on_gpu(bundle, tmp_path / version / precision, precision)
        for plan in (tmp_path / version / precision).glob("*.plan"):
            held = json.loads(plan.read_bytes().split(b"\n")[1])["float32"]
            assert (held != []) == (version == "8.6.1" and precision == "fp16")
            assert not held or {"exact/rows", "exact/planes", "exact/grid", "exact/samples"} <= set(held)


def test_names_of_inputs():
    assert inputs_of("look", "image") == ("image", "nodes", "spread")
    assert inputs_of("encode", "keypoints") == ENCODERS["keypoints"]
    assert set(BODY_INPUTS) < set(inputs_of("regress", "image"))
