"""A bundle whose encoder reads images, from checkpoint to people in a picture."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
onnx = pytest.importorskip("onnx", reason="needs onnx")
pytest.importorskip("onnxscript", reason="needs onnxscript")
pytest.importorskip("safetensors", reason="needs safetensors")

from dataclasses import asdict, replace  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[1]))
from simulated_gpu import SimulatedGpu  # noqa: E402

from hmr_ros.backends.graph import check_golden  # noqa: E402
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph  # noqa: E402
from hmr_ros.bundle import GRAPHS, LOOK, WEIGHTS, Bundle, BundleError, load_bundle  # noqa: E402
from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.config import ModelConfig, PipelineConfig  # noqa: E402
from hmr_ros.crop import crop_people, look_inputs  # noqa: E402
from hmr_ros.factory import build_pipeline, load_model, make_regressor  # noqa: E402
from hmr_ros.media import write_image  # noqa: E402
from hmr_ros.metrics import mpjpe  # noqa: E402
from hmr_ros.rotation import rotvec_to_rotmat  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from hmr_ros.types import Frame, Keypoints  # noqa: E402
from training import checkpoint  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.compact import LARGE, round_weights  # noqa: E402
from training.config import LossConfig, MetaConfig  # noqa: E402
from training.config import ModelConfig as PointsConfig  # noqa: E402
from training.datasets.cameras import camera_of  # noqa: E402
from training.datasets.detect import load_image  # noqa: E402
from training.datasets.people import DatasetError, people_of, save  # noqa: E402
from training.evaluate import EvaluateConfig, main, rows  # noqa: E402
from training.evaluate_benchmark import observation  # noqa: E402
from training.export import MODULES, ExportConfig, example_inputs, export, inputs_of, load_checkpoint  # noqa: E402
from training.image.backbones import BACKBONES, BasicBlock, ResNet  # noqa: E402
from training.image.config import ImageModelConfig  # noqa: E402
from training.image.fused import FusedMetaHmr  # noqa: E402
from training.image.model import ImageMetaHmr  # noqa: E402
from training.losses import weights_of  # noqa: E402


def exported_untrained(run: Path, config: ImageModelConfig, model) -> tuple:
    """A bundle with these weights, and its torch self, rounded like it."""
    described = {"config": {"model": asdict(config), "meta": asdict(MetaConfig())}, "history": []}
    checkpoint.Checkpoint(model.state_dict(), {}, 0, described).save(run / "checkpoint.safetensors")
    folder = export(ExportConfig(checkpoint=run / "checkpoint.safetensors", out=run / "bundle", name="thin"))
    model = load_checkpoint(run / "checkpoint.safetensors")[0]
    seen = example_inputs(model, BodyArrays.of(load_body("open")), weights_of(LossConfig()), 2)["encode"]
    round_weights(model.encoder, lambda: model.encode(*seen.values()))
    return load_bundle(str(folder)), model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A thin CLIFF with an auxiliary backbone of its own, untrained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "thin", lambda: ResNet(BasicBlock, (1, 1, 1, 1), width=8))
        config = ImageModelConfig(backbone="thin", auxiliary_backbone="thin", crop_height=64, crop_width=32)
        torch.manual_seed(0)
        model = ImageMetaHmr(config, weights_of(LossConfig()))
        for head in (model.head, model.auxiliary_head):
            torch.nn.init.normal_(head.decpose.weight, std=0.02)
        return exported_untrained(tmp_path_factory.mktemp("image"), config, model)


@pytest.fixture(scope="module")
def exported_fused(tmp_path_factory):
    """A transformer on keypoints with a thin backbone grown onto it, untrained: pictures change its answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BACKBONES, "thin", lambda: ResNet(BasicBlock, (1, 1, 1, 1), width=8))
        points = PointsConfig(encoder="transformer", width=32, blocks=1, token_width=24, attention_heads=2)
        config = ImageModelConfig("thin", head="fused", crop_height=64, crop_width=64, points=points)
        torch.manual_seed(0)
        model = FusedMetaHmr(config, weights_of(LossConfig()))
        for layer in (model.head.out, model.auxiliary_head.out):
            torch.nn.init.normal_(layer.weight, std=0.02)
        torch.nn.init.normal_(model.encoder.correct[-1].weight)  # so that the picture counts
        return exported_untrained(tmp_path_factory.mktemp("fused"), config, model)


@pytest.mark.parametrize(
    "bundle_and_model, described",
    [("exported", ("image", (64, 32))), ("exported_fused", ("fused", (64, 64)))],
    ids=["image", "fused"],
)
def test_every_graph_is_torch_for_any_number_of_people(bundle_and_model, described, request):
    bundle, model = request.getfixturevalue(bundle_and_model)
    assert (bundle.encoder, bundle.crop_px) == described
    body = load_body("open")
    _, _, graphs = load_model(
        ModelConfig(bundle=str(bundle.path), backend="onnxruntime")
    )  # checks the golden pair, too
    for people in (1, 4):
        inputs = example_inputs(model, BodyArrays.of(body), weights_of(LossConfig()), people, seed=people)
        for name in GRAPHS:
            given = {n: inputs[name][n] for n in inputs_of(name, model)}
            answer = graphs[name](**{n: v.numpy() for n, v in given.items()})
            truth = MODULES[name](model)(*given.values())
            for output, expected in zip(GRAPHS[name][1], truth if isinstance(truth, tuple) else (truth,)):
                expected = expected.detach().numpy()
                assert np.abs(answer[output] - expected).max() <= 1e-4 * np.abs(expected).max(), (name, output)


def test_a_fused_encoder_reads_keypoints_and_picture(exported_fused):
    bundle, _ = exported_fused
    look = OnnxRuntimeGraph(bundle.graph_path("look"))
    check_golden(look, LOOK, bundle, "ONNX Runtime", 1e-3)
    rng = np.random.default_rng(0)
    uv = rng.uniform([100, 80], [180, 300], (1, 23, 2)).astype(np.float32)
    image, camera = rng.integers(0, 255, (360, 640, 3), np.uint8), Camera.guess(640, 360)
    settings = PipelineConfig(model=ModelConfig(bundle=str(bundle.path), backend="onnxruntime"))

    def seen(picture: np.ndarray, points: np.ndarray) -> np.ndarray:
        return build_pipeline(settings, Pointing(points))(Frame(picture, camera)).people[0].reprojection_px_before

    plain = seen(image, uv)
    moved = uv.copy()
    moved[:, :4] += 15
    assert np.abs(seen(255 - image, uv) - plain).max() > 1e-2
    assert np.abs(seen(image, moved) - plain)[4:].max() > 1e-2


def test_large_weights_lie_in_one_file_once(exported):
    bundle, model = exported
    large = {weights.data_ptr(): weights.numel() for weights in model.encoder.parameters() if weights.numel() >= LARGE}
    size = bundle.path.joinpath(WEIGHTS).stat().st_size
    assert 2 * sum(large.values()) <= size < 1.1 * 2 * sum(large.values())
    for graph in ("encode", "encode_fp16", "look", "look_fp16"):
        inside = onnx.load(bundle.graph_path(graph), load_external_data=False).graph.initializer
        kept = [tensor.name for tensor in inside if np.prod(tensor.dims) >= LARGE and not tensor.external_data]
        assert not kept, (graph, kept)


def test_rounding_weights_changes_little():
    torch.manual_seed(0)
    network = ResNet(BasicBlock, (1, 1, 1, 1), width=8).eval()
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for values in (module.running_var, module.weight):
                values.data.uniform_(0.5, 2)
            module.running_mean.normal_()
    crop = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = network(crop)
        round_weights(network, lambda: network(crop))
        assert 0 < (network(crop) - before).abs().max() < 2e-3 * before.abs().max()


def test_a_backbone_whose_normalisations_come_first_is_refused():
    """Each is registered after a convolution that another branch follows, as in pre-activation networks."""

    class PreActivation(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm, self.second = (
                torch.nn.Conv2d(3, 8, 3),
                torch.nn.BatchNorm2d(8),
                torch.nn.Conv2d(8, 8, 1),
            )

        def forward(self, x):
            x = self.first(x)
            return x + self.second(self.norm(x).relu())

    torch.manual_seed(0)
    network, crop = PreActivation().eval(), torch.randn(2, 3, 16, 16)
    network.norm.running_var.uniform_(0.05, 0.2)
    with torch.no_grad(), pytest.raises(ValueError, match="Choose another backbone"):
        round_weights(network, lambda: network(crop))


def test_an_engine_is_of_the_weights_too(exported):
    bundle, _ = exported
    manifest = json.loads((bundle.path / "manifest.json").read_text())
    other = Bundle(bundle.path, {**manifest, "sha256": {**manifest["sha256"], WEIGHTS: "0" * 64}})
    assert other.graph_sha256("look") != bundle.graph_sha256("look") != bundle.graph_sha256("encode")


@pytest.mark.parametrize("precision, tolerance", [("", 1e-3), ("_fp16", 1e-2)])
def test_looking_at_the_picture_is_encoding_its_crops(exported, precision, tolerance):
    bundle, _ = exported
    assert bundle.graphs == (LOOK, *GRAPHS)
    look = OnnxRuntimeGraph(bundle.graph_path(f"look{precision}"))
    check_golden(look, LOOK, bundle, "ONNX Runtime", tolerance)
    rng = np.random.default_rng(0)
    image = np.kron(rng.integers(0, 255, (24, 40, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    camera = Camera.guess(400, 240)
    boxes = np.array([[0.1, 0.0, 0.1], [-0.2, 0.1, 0.2], [0.3, -0.2, 0.26]], np.float32)  # up to SAMPLES times the crop
    seen = look(**look_inputs(image, camera, boxes, bundle.crop_px))["features"]
    encode = OnnxRuntimeGraph(bundle.graph_path("encode"))
    expected = encode(crop=crop_people(image, camera, boxes, bundle.crop_px))["features"]
    assert np.abs(seen - expected).max() < 5 * tolerance * np.abs(expected).max()


def test_a_gpu_gets_the_picture_and_a_cpu_the_crops(exported, tmp_path, monkeypatch):
    bundle, _ = exported
    SimulatedGpu().install(monkeypatch)
    rng = np.random.default_rng(0)
    uv = rng.uniform([100, 80], [180, 300], (2, 23, 2)).astype(np.float32) + [[[0, 0]], [[300, 0]]]
    image = np.kron(rng.integers(0, 255, (36, 64, 3), np.uint8), np.ones((10, 10, 1), np.uint8))
    found = []
    for backend, graph in (("onnxruntime", "encode"), ("tensorrt", LOOK)):
        model = ModelConfig(bundle=str(bundle.path), backend=backend, engine_cache=str(tmp_path), precision="fp32")
        assert next(iter(load_model(model)[2])) == graph
        found.append(build_pipeline(PipelineConfig(model=model), Pointing(uv))(Frame(image, Camera.guess(640, 360))))
    for ours, expected in zip(*(result.people for result in found)):
        np.testing.assert_allclose(ours.joints, expected.joints, atol=1e-2)


def test_a_bundle_from_before_goes_on_working(exported, tmp_path):
    folder = shutil.copytree(exported[0].path, tmp_path / "bundle")
    manifest = json.loads((folder / "manifest.json").read_text())
    for name in ("look.onnx", "look_fp16.onnx"):
        (folder / name).unlink()
        del manifest["sha256"][name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert load_bundle(str(folder)).graphs == tuple(GRAPHS)


class Pointing:
    """Keypoints as somebody pointed them out."""

    config = None

    def __init__(self, uv: np.ndarray):
        self.people = Keypoints(uv, np.ones(uv.shape[:2], np.float32), np.ones(len(uv), np.float32))

    def detect(self, frame: Frame) -> Keypoints:
        return self.people

    def reset(self) -> None:
        pass


def test_pipeline_shows_the_encoder_what_is_in_the_picture(exported):
    """Two people, the second before a bright wall: adaptation explains the keypoints of both, and paint over the first changes
    the first one's regression alone."""
    bundle, _ = exported
    rng = np.random.default_rng(0)
    uv = rng.uniform([100, 80], [180, 300], (2, 23, 2)).astype(np.float32)
    uv[1, :, 0] += 300
    image = rng.integers(0, 255, (360, 640, 3), np.uint8)
    image[:, 380:] = 250
    settings = PipelineConfig(model=ModelConfig(bundle=str(bundle.path), backend="onnxruntime"))
    pipeline = build_pipeline(settings, Pointing(uv))

    def look(picture: np.ndarray):
        pipeline.reset()
        return pipeline(Frame(picture, Camera.guess(640, 360)))

    seen = look(image)
    assert seen.fit.steps > 0 and (seen.fit.loss_after < seen.fit.loss_before).all()
    painted = image.copy()
    painted[:, :250] = 0
    change = [
        np.abs(a.reprojection_px_before - b.reprojection_px_before).max()
        for a, b in zip(seen.people, look(painted).people)
    ]
    assert change[0] > 1e-2 and change[1] < 1e-4


@pytest.fixture
def benchmark(tmp_path):
    """Three people as a prepared file has them, each with a picture; of the last one nothing was detected."""
    body, rng, count = load_body("open"), np.random.default_rng(0), 3
    poses, transl = rng.normal(size=(count, 24, 3)) * 0.2, rng.uniform([-0.3, -0.3, 3], [0.3, 0.3, 4], (count, 3))
    rotmat, betas, K = rotvec_to_rotmat(poses), np.zeros((count, 10)), np.array([[90.0, 0, 47], [0, 90, 31], [0, 0, 1]])
    xyz = body.keypoints(rotmat, betas, transl)
    uv = xyz[..., :2] / xyz[..., 2:] * 90 + K[:2, 2]
    for i in range(count):
        write_image(tmp_path / f"{i}.png", rng.integers(0, 255, (64, 96, 3), np.uint8))
    people = people_of(
        count, image=np.array([f"{i}.png" for i in range(count)]), image_size=(96, 64), K=K, box=np.tile([47, 31, 50], (count, 1)),
        detected_2d=uv, confidence_detected=np.arange(count)[:, None] < 2, joints=body.joints(rotmat, betas, transl)[0],
    )  # fmt: skip
    save(tmp_path / "3dpw_test.npz", people)
    return people, tmp_path


def test_a_benchmark_shows_the_encoder_everybody_in_their_own_picture(exported, benchmark):
    bundle, _ = exported
    people, folder = benchmark
    config = EvaluateConfig("3dpw-joints", bundle=str(bundle.path), root=folder / "3dpw_test.npz", images=folder)
    result = main(config)
    assert (
        result["frames"] == 3
        and result["answered_from_the_box_alone"] == 1
        and set(result["milliseconds"]) == set(result["steps"])
    )
    seen = observation(people, np.array([True, True, False]), False, 0.5)
    _, _, graphs = load_model(ModelConfig(bundle=str(bundle.path), backend="onnxruntime"))
    regressor, body = make_regressor(bundle, graphs), load_body("open")
    off = []
    for i in range(3):
        frame = Frame(load_image(people, i, folder), camera_of(people, i))
        found = Keypoints(people.detected_2d[[i]], people.confidence_detected[[i]], np.ones(1, np.float32))
        alone = regressor.look(found, frame) if i < 2 else regressor(rows(seen, slice(2, 3)), frame)
        before = graphs["readout"](state=alone.state, **alone.fit_inputs)
        off += [mpjpe(body.joints(before["rotmat"], before["betas"], before["transl"])[0], people.joints[[i]])[0]]
    assert result["steps"]["0"]["mpjpe_mm"] == pytest.approx(np.mean(off), abs=0.02)
    with pytest.raises(DatasetError, match="'thin' looks at pictures.*--images"):
        main(replace(config, images=None))
    (folder / "1.png").unlink()
    with pytest.raises(DatasetError, match="1.png: not a readable image"):
        main(config)


def test_manifest_must_say_how_large_a_crop_is(exported, tmp_path):
    folder = tmp_path / "bundle"
    shutil.copytree(exported[0].path, folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    for change, message in (({"crop_px": None}, "crop_px"), ({"encoder": "lidar"}, "unknown encoder 'lidar'")):
        (folder / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(BundleError, match=message):
            load_bundle(str(folder))


def test_weights_of_one_body_are_not_exported_for_another(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "thin", lambda: ResNet(BasicBlock, (1, 1, 1, 1), width=8))
    config = ImageModelConfig(backbone="thin")
    described = {"config": {"model": asdict(config), "meta": asdict(MetaConfig())}, "shape_space": "smpl_neutral"}
    model = ImageMetaHmr(config, weights_of(LossConfig()))
    checkpoint.Checkpoint(model.state_dict(), {}, 0, {**described, "history": []}).save(tmp_path / "c.safetensors")
    with pytest.raises(ValueError, match="speaks the shape space 'smpl_neutral', --body open"):
        export(ExportConfig(checkpoint=tmp_path / "c.safetensors", out=tmp_path / "bundle"))
