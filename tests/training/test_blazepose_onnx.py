"""BlazePose as ONNX says what LiteRT says, and runs as engines: on a simulated GPU, and, marked `gpu`, on a real one."""

import shutil
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="needs onnx")
onnxruntime = pytest.importorskip("onnxruntime", reason="needs onnxruntime")
pytest.importorskip("tyro", reason="needs tyro")
pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")

sys.path.insert(0, str(Path(__file__).parents[1]))
from simulated_gpu import REAL, VERSIONS, SimulatedGpu, set_up  # noqa: E402

from hmr_ros.backends.graph import BackendError  # noqa: E402
from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.config import KeypointsConfig, ModelConfig  # noqa: E402
from hmr_ros.factory import make_source  # noqa: E402
from hmr_ros.keypoints.blazepose_landmarks import UNWANTED  # noqa: E402
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models  # noqa: E402
from hmr_ros.keypoints.litert import LiteRtModel  # noqa: E402
from hmr_ros.types import Frame  # noqa: E402
from training.blazepose_onnx import convert  # noqa: E402

MEDIA = Path(__file__).resolve().parents[3] / "shared" / "media"
UNWANTED_OF = {"pose_detection": (), "pose_landmark_full": UNWANTED}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The networks, and what became of them."""
    made = tmp_path_factory.mktemp("blazepose")
    try:
        networks = find_models()
    except KeypointModelError as error:
        pytest.skip(str(error))
    for network in networks:
        convert(Path(shutil.copy(network, made)), UNWANTED_OF[network.stem])
    return made


@pytest.fixture(scope="module")
def frames():
    path = MEDIA / "sam2_juggle.mp4"
    if not path.is_file():
        pytest.skip(f"{path} is missing: shared/ is not beside this checkout")
    video = cv2.VideoCapture(str(path))
    images = [np.ascontiguousarray(video.read()[1][..., ::-1]) for _ in range(4)]
    return [Frame(image, Camera.guess(*image.shape[1::-1]), i * 33_000_000) for i, image in enumerate(images)]


def on_gpu(folder, cache):
    return make_source(KeypointsConfig(backend="tensorrt", model_dir=str(folder)), ModelConfig(engine_cache=str(cache)))


@pytest.mark.parametrize("name", UNWANTED_OF)
def test_every_output_is_the_same(folder, frames, name):
    network = folder / f"{name}.tflite"
    lite = LiteRtModel(network, UNWANTED_OF[name])
    session = onnxruntime.InferenceSession(str(network.with_suffix(".onnx")), providers=["CPUExecutionProvider"])
    crop = cv2.resize(frames[0].image, (lite.side, lite.side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    two = session.run(None, {"image": np.stack([crop, crop[:, ::-1]])})
    for i, picture in enumerate((crop, crop[:, ::-1])):
        expected = list(lite(np.ascontiguousarray(picture)).values())
        assert [value.shape[1:] for value in two] == [value.shape for value in expected]
        for value, truth in zip(two, expected):
            assert np.abs(value[i] - truth).max() <= 1e-4 * max(np.abs(truth).max(), 1)


@pytest.mark.parametrize("machine", [*VERSIONS, pytest.param(REAL, marks=pytest.mark.gpu)])
def test_engines_see_what_litert_sees(machine, folder, frames, tmp_path, monkeypatch):
    set_up(machine, monkeypatch)
    engines = on_gpu(folder, tmp_path)
    litert = make_source(KeypointsConfig(model_dir=str(folder)), ModelConfig())
    for frame in frames:
        ours, theirs = engines.detect(frame), litert.detect(frame)
        assert len(ours) == len(theirs) == 1
        # What one frame rounds moves the next crop, and where a landmark lies between two cells of its heat map, that decides.
        for name, mostly, at_most in (("uv", 0.5, 5.0), ("xyz", 1e-3, 0.02), ("confidence", 1e-3, 0.05)):
            difference = np.abs(getattr(ours, name) - getattr(theirs, name))
            assert np.nanmedian(difference) < mostly and np.nanmax(difference) < at_most, name
    assert sorted(path.name.split("-")[0] for path in tmp_path.glob("*.plan")) == sorted(UNWANTED_OF)


def test_an_engine_that_is_wrong_is_refused(folder, tmp_path, monkeypatch):
    gpu = SimulatedGpu().install(monkeypatch)
    gpu.error = {1: 0.02}
    with pytest.raises(KeypointModelError, match="computed wrongly.*off by 2 %.*litert"):
        on_gpu(folder, tmp_path)


def test_without_the_converted_networks_it_says_how_to_get_them(folder, tmp_path, monkeypatch):
    SimulatedGpu().install(monkeypatch)
    for network in folder.glob("*.tflite"):
        shutil.copy(network, tmp_path)
    with pytest.raises(KeypointModelError, match=r"no pose_detection.onnx.*training.blazepose_onnx"):
        on_gpu(tmp_path, tmp_path / "engines")


def test_without_a_gpu_it_says_so(folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda", None)
    with pytest.raises(BackendError, match="cuda|CUDA|NVIDIA"):
        on_gpu(folder, tmp_path)
