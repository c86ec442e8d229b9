"""Meta-HMR's own checkpoints: the same keys, the same shapes, the same answers.

Their repository has no licence, so none of it is here. `meta_hmr_outputs.npz` was recorded by running their model classes (commit
d7df13a), built for `bbox_type='rect'`, filled with the weights of `published_weights.seeded` and put to eval: for each network the
rotations, betas, camera and full-image translation of two crops, and the sha256 of its sorted "key shape" lines.
"""

import hashlib
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("safetensors", reason="needs safetensors")

from published_weights import seeded  # noqa: E402

from hmr_ros.smpl_file import load_body  # noqa: E402
from training import checkpoint  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.image.backbones import BACKBONES, Bottleneck, ResNet  # noqa: E402
from training.image.config import ImageModelConfig  # noqa: E402
from training.image.head import published_transl  # noqa: E402
from training.image.model import ImageMetaHmr  # noqa: E402
from training.import_meta_hmr import (  # noqa: E402
    CheckpointError,
    ImportConfig,
    config_of,
    import_meta_hmr,
    load_published,
    published_key,
)

NETWORKS = ("model", "model_aux")
BBOX_INFO = torch.tensor([[0.1, -0.05, 0.4], [-0.2, 0.1, 0.9]])


def recorded(name: str) -> np.ndarray:
    with np.load(Path(__file__).with_name("meta_hmr_outputs.npz")) as arrays:
        return arrays[name]


def their_shapes(model: ImageMetaHmr) -> dict[str, dict[str, tuple[int, ...]]]:
    """Keys and shapes of their two state dicts, as our importer expects them."""
    shapes = {network: {} for network in NETWORKS}
    for ours, value in model.state_dict().items():
        if place := published_key(ours, model.image.backbone):
            shapes[place[0]][place[1]] = tuple(value.shape)
    if model.image.backbone == "hrnet_w48":  # heatmaps that nothing reads
        shapes["model"] |= {"backbone.final_layer.weight": (24, 48, 1, 1), "backbone.final_layer.bias": (24,)}
    return shapes


@pytest.fixture(scope="module", params=["resnet50/cliff", "resnet50/hmr", "hrnet_w48/cliff"])
def published(request):
    """Name of the architecture, our model without their weights, and their state dicts."""
    backbone, head = request.param.split("/")
    model = ImageMetaHmr(config_of(backbone, head), torch.ones(5)).eval()
    weights = {n: {key: seeded(key, s) for key, s in shapes.items()} for n, shapes in their_shapes(model).items()}
    return request.param, model, weights


def test_keys_shapes_and_outputs_are_theirs(published):
    name, model, weights = published
    for network, tensors in weights.items():
        listing = "\n".join(sorted(f"{key} {tuple(value.shape)}" for key, value in tensors.items()))
        assert hashlib.sha256(listing.encode()).hexdigest() == str(recorded(f"{name}/{network}/keys"))
    report = load_published(model, weights, {})
    assert not (report.missing or report.wrong_shape or report.unmatched)
    assert report.matched + len(report.unused) == sum(map(len, weights.values()))

    size = (64, 64) if "hrnet" in name else (256, 192)
    crop = torch.from_numpy(np.random.RandomState(0).uniform(0, 1, (2, 3, *size)).astype(np.float32))
    with torch.no_grad():
        features = model.encode(crop)
        state, auxiliary = model.regress(features, BBOX_INFO, body := BodyArrays.of(load_body("open")))
        predictions = {"model": model.decode(state, features, BBOX_INFO, body), "model_aux": auxiliary.prediction}
        heads = {"model": model.head, "model_aux": model.auxiliary_head}
        said = {n: heads[n](part, BBOX_INFO) for n, part in zip(NETWORKS, model.encoder.split(features))}
    for network in NETWORKS:
        truth = {k: recorded(f"{name}/{network}/{k}") for k in ("rotmat", "betas", "camera", "transl")}
        np.testing.assert_allclose(predictions[network].rotmat, truth["rotmat"], atol=1e-4)
        np.testing.assert_allclose(predictions[network].betas, truth["betas"], atol=1e-4)
        np.testing.assert_allclose(said[network].camera, truth["camera"], atol=1e-4)
        np.testing.assert_allclose(predictions[network].transl, truth["transl"], atol=1e-4)


@pytest.fixture
def released(tmp_path, monkeypatch):
    """An HMR checkpoint as their trainer saves it, of a ResNet-50 gone thin, with DataParallel's prefix on one network."""
    monkeypatch.setitem(BACKBONES, "resnet50", lambda: ResNet(Bottleneck, (1, 1, 1, 1), width=4))
    weights = {
        network: {key: torch.zeros(shape) for key, shape in shapes.items()}
        for network, shapes in their_shapes(ImageMetaHmr(config_of("resnet50", "hmr"), torch.ones(5))).items()
    }
    weights["model_aux"] = {f"module.{key}": value for key, value in weights["model_aux"].items()}
    path = tmp_path / "hmr_resnet_3dpw.pt"

    def save(changed=weights, **more):
        torch.save({**changed, "epoch": 3, "dataset_perm": None, **more}, path)
        return ImportConfig(path, tmp_path / "out", "resnet50", "hmr", mean_params=tmp_path / "smpl_mean_params.npz")

    return weights, save


def test_imported_checkpoint_is_ours_to_load(released, tmp_path):
    weights, save = released
    path, report = import_meta_hmr(save())
    assert f"matched: {report.matched}" in str(report) and report.matched == len(weights["model"]) * 2
    saved = checkpoint.load(path)
    model = ImageMetaHmr(ImageModelConfig(**saved.run["config"]["model"]), torch.ones(5))
    model.load_state_dict(saved.model)
    assert saved.run["shape_space"] == "smpl_neutral"
    file = tmp_path / "hmr_resnet_3dpw.pt"
    assert saved.run["data"] == {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
    assert not model.curvature.any() and not model.head.fc1.weight.any()


def test_what_does_not_fit_is_named(released):
    weights, save = released
    main = dict(weights["model"])
    del main["layer2.0.conv2.weight"]
    main["fc1.weight"] = torch.zeros(1024, 288)  # CLIFF's, which is told the box
    with pytest.raises(CheckpointError) as error:
        import_meta_hmr(save({**weights, "model": main}))
    assert "layer2.0.conv2.weight" in str(error.value)
    assert "model: fc1.weight is (1024, 288), expected (1024, 285)" in str(error.value)
    _, report = import_meta_hmr(save({**weights, "model": {**weights["model"], "conv9.weight": torch.zeros(1)}}))
    assert report.unmatched == ["model: conv9.weight"] and "conv9.weight" in str(report)


def test_mean_body_from_the_checkpoint_else_from_the_users_file(released):
    weights, save = released
    bare = {**weights, "model": {k: v for k, v in weights["model"].items() if not k.startswith("init_")}}
    with pytest.raises(CheckpointError, match="--mean-params"):
        import_meta_hmr(save(bare))
    config = save(bare)
    np.savez(config.mean_params, pose=np.arange(144.0), shape=np.ones(10), cam=np.array([0.9, 0, 0]))
    path, report = import_meta_hmr(config)
    assert len(report.from_mean_params) == 3
    written = checkpoint.load(path)
    saved, mean = written.model, hashlib.sha256(config.mean_params.read_bytes()).hexdigest()
    assert written.run["data"]["smpl_mean_params.npz"] == mean and len(written.run["data"]) == 2
    np.testing.assert_array_equal(saved["head.init_pose"][0], np.arange(144))
    assert not saved["auxiliary_head.init_pose"].any()  # the checkpoint's own


def test_code_in_a_checkpoint_is_not_run(released, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path(tmp_path / "ran").touch, ())

    _, save = released
    with pytest.raises(CheckpointError, match="can run code"):
        import_meta_hmr(save(eval_stats=Evil()))
    assert not (tmp_path / "ran").exists()


def test_what_is_no_such_checkpoint_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing.pt"):
        import_meta_hmr(ImportConfig(tmp_path / "nothing.pt", tmp_path))
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="lacks model, model_aux .it holds: state_dict"):
        import_meta_hmr(ImportConfig(tmp_path / "other.pt", tmp_path))
    with pytest.raises(CheckpointError, match="ResNet-50 only"):
        config_of("hrnet_w48", "hmr")


def test_a_camera_behind_comes_before_us_and_keeps_its_gradient():
    camera = torch.tensor([[-3.0, 0, 0], [0.1, 0, 0], [0.2, 0, 0], [1.0, 0, 0]], requires_grad=True)
    z = published_transl(camera, torch.tensor([[0.0, 0, 0.5]]).expand(4, 3))[:, 2]
    assert (z > 0).all() and (z.diff() < 0).all()
    torch.testing.assert_close(z[1:], 4 / camera[1:, 0])
    z.sum().backward()
    assert (camera.grad[:, 0] < 0).all() and torch.isfinite(camera.grad).all()
