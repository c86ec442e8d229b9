"""Image models train with the trainer of keypoints, on the same objective and adaptation."""

import dataclasses
import os
import signal

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tensorboard", reason="needs tensorboard")
pytest.importorskip("safetensors", reason="needs safetensors")

from hmr_ros.rotation import rotvec_to_rotmat  # noqa: E402
from hmr_ros.skeleton import PARENTS  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training import checkpoint  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import LossConfig, MetaConfig, TrainConfig  # noqa: E402
from training.datasets.people import people_of, save  # noqa: E402
from training.image.backbones import BACKBONES, BasicBlock, HrNetClassifier, HrNetPose, ResNet, make_backbone  # noqa: E402
from training.image.config import ImageModelConfig  # noqa: E402
from training.image.data import ImageData, PicturesConfig  # noqa: E402
from training.image.head import IterativeHead, Published, to_prediction  # noqa: E402
from training.image.model import ImageMetaHmr  # noqa: E402
from training.image.train import ImageRun, ImageTrainConfig, train  # noqa: E402
from training.image.weights import load_backbone  # noqa: E402
from training.losses import weights_of  # noqa: E402
from training.train import make_model, outer_loss  # noqa: E402


def thin() -> ResNet:
    return ResNet(BasicBlock, (1, 1, 1, 1), width=4)


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.setitem(BACKBONES, "thin", thin)
    monkeypatch.setattr("training.image.data.VALIDATION", 2)
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        np.savez(tmp_path / f"poses_cmu_{split}.npz", poses=rng.normal(0, 0.2, (30, 24, 3)).astype(np.float16))
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((80, 80, 3), 90, np.uint8))
    return ImageTrainConfig(
        data=tmp_path, out=tmp_path / "run", steps=4, batch=2, checkpoint_every=2, log_every=1,
        model=ImageModelConfig("thin", crop_height=64, crop_width=32), meta=MetaConfig(start=1, max_steps=1, long_share=0),
        pictures=PicturesConfig(tmp_path, tmp_path, workers=0),
    )  # fmt: skip


def test_interrupted_and_resumed_equals_uninterrupted(config, monkeypatch):
    straight = checkpoint.load(train(config))
    learn = ImageRun.learn

    def interrupted(run, sample, take):
        loss = learn(run, sample, take)
        if run.step == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return loss

    halves = dataclasses.replace(config, out=config.data / "halves")
    monkeypatch.setattr(ImageRun, "learn", interrupted)
    assert checkpoint.load(train(halves)).step == 2
    monkeypatch.setattr(ImageRun, "learn", learn)
    resumed = checkpoint.load(train(halves))
    assert resumed.step == straight.step == 4 and resumed.run["config"]["model"]["backbone"] == "thin"
    for name, value in straight.model.items():
        torch.testing.assert_close(resumed.model[name], value, rtol=0, atol=0, msg=name)


@pytest.fixture
def photographs(config):
    """The same settings for photographs alone, on a body as a user has it: a file named as SMPL's, which cannot be dressed."""
    folder, body, count = config.data, load_body("open"), 41
    np.savez(
        folder / "SMPL_NEUTRAL.npz", v_template=body.v_template, shapedirs=body.shapedirs, weights=body.weights,
        J_regressor=body.J_regressor, f=body.faces, kintree_table=np.array([[-1, *PARENTS[1:]], range(24)]),
    )  # fmt: skip
    poses, transl = np.zeros((count, 24, 3)), np.tile([0, 0, 4.0], (count, 1))
    poses[:, 0, 0] = np.pi
    xyz = body.keypoints(rotvec_to_rotmat(poses), np.zeros((count, 10)), transl)
    names = [f"{i}.png" for i in range(count)]
    people = people_of(
        count, image=np.array(names), image_size=(64, 64), K=np.array([[50.0, 0, 32], [0, 50, 32], [0, 0, 1]]), poses=poses,
        betas=np.zeros((count, 10)), shape_space="smpl_neutral", transl=transl, detected_2d=32 + 50 * xyz[..., :2] / xyz[..., 2:],
    )  # fmt: skip
    for i, name in enumerate(names):
        cv2.imwrite(str(folder / name), np.full((64, 64, 3), i, np.uint8))
    save(folder / "people.npz", people)
    pictures = PicturesConfig(folder / "nowhere", folder / "nowhere", 0, folder / "people.npz", folder, 1.0)
    return dataclasses.replace(
        config, body=str(folder / "SMPL_NEUTRAL.npz"), data=folder / "nowhere", pictures=pictures
    )


def test_photographs_alone_train_any_body(photographs):
    """With neither motion capture nor backgrounds; those that validate are never learned from."""
    saved = checkpoint.load(train(photographs))
    assert saved.step == 4 and list(saved.run["data"]) == ["people.npz"]
    data = ImageData(
        photographs.data, photographs.body, photographs.noise, photographs.pictures,
        dataclasses.replace(photographs.augment, colour=0, grey=0, occlusion=0), photographs.model.crop_px,
    )  # fmt: skip

    def shown(sample) -> set[int]:
        return {int(level) for level in (255 * sample.crop[:, :, 32, 16]).round().unique()}

    assert len(data.photographs) == 38 and len(data.held_out) == 3
    learned = shown(data(200, torch.Generator().manual_seed(0)))
    validated = shown(data.validation(9))
    assert len(learned) > 30 and len(validated) == 2 and not learned & validated


def test_a_body_that_cannot_be_dressed_is_not_drawn(photographs):
    for share in (0.5, 0.0):
        pictures = dataclasses.replace(photographs.pictures, photographs_share=share)
        with pytest.raises(ValueError, match="'smpl_neutral'.*--pictures.photographs-share 1"):
            train(dataclasses.replace(photographs, pictures=pictures))


def test_steps_learned_alone_change_nothing_of_the_networks(config, monkeypatch):
    """Neither weights nor batch statistics, across validations, and nothing drops out."""
    first = train(dataclasses.replace(config, steps=1))
    drop_out = torch.nn.functional.dropout
    dropped = []
    monkeypatch.setattr(
        "torch.nn.functional.dropout",
        lambda x, p, training, *a: dropped.append(training) or drop_out(x, p, training, *a),
    )
    meta = dataclasses.replace(config.meta, start=0, steps_only=True)
    after = checkpoint.load(train(dataclasses.replace(config, out=config.data / "steps", init=first, meta=meta))).model
    before = checkpoint.load(first).model
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert {"log_inner_lr", "curvature"} <= changed
    assert not any(name.startswith(("encoder.", "head.", "auxiliary_head.")) for name in changed), changed
    assert dropped and not any(dropped)


def test_auxiliary_learns_through_the_inner_step(config):
    """Its loss of its own left out, the auxiliary network's backbone and head still get a gradient: second derivatives."""
    model = ImageMetaHmr(dataclasses.replace(config.model, auxiliary_backbone="thin"), weights_of(LossConfig()))
    body = BodyArrays.of(load_body("open"))
    sample = ImageData(
        config.data, "open", config.noise, config.pictures, config.augment, config.model.crop_px
    ).validation(2)
    settings = TrainConfig(meta=MetaConfig(auxiliary_weight=0))
    for second_order in (True, False):
        meta = dataclasses.replace(settings.meta, first_order=not second_order)
        model.zero_grad()
        outer_loss(model, sample, 1, dataclasses.replace(settings, meta=meta), body).backward()
        for part in (model.encoder.auxiliary_backbone.conv1.weight, model.auxiliary_head.decpose.weight):
            assert (part.grad is not None and part.grad.abs().max() > 0) == second_order
        assert model.encoder.backbone.conv1.weight.grad.abs().max() > 0


def test_learns_a_few_pictures_by_heart(config):
    model = make_model(config, ImageMetaHmr)
    body = BodyArrays.of(load_body("open"))
    sample = ImageData(
        config.data, "open", config.noise, config.pictures, config.augment, config.model.crop_px
    ).validation(2)  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(40):
        loss = outer_loss(model, sample, 0, config, body)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.5 * losses[0]


def test_hmr_is_not_told_the_box_and_cliff_is():
    features, boxes = torch.randn(2, 8), torch.tensor([[0.1, 0.2, 0.5], [-0.3, 0.1, 0.9]])
    for kind, same in (("hmr", True), ("cliff", False)):
        head = IterativeHead(8, kind, 3).eval()
        torch.nn.init.normal_(head.decpose.weight, std=0.1)
        answers = [head(features, boxes[[i, i]]).pose for i in range(2)]
        assert torch.allclose(*answers) == same


def test_mean_body_stands_upright_before_the_camera(config):
    """Before any training: in the middle of the box, which it fills about as people do."""
    model = ImageMetaHmr(config.model, weights_of(LossConfig())).eval()
    for head in (model.head, model.auxiliary_head):
        for layer in (head.decpose, head.decshape, head.deccam):
            torch.nn.init.zeros_(layer.weight)
    body = BodyArrays.of(load_body("open"))
    boxes = torch.tensor([[0.0, 0, 0.3], [0.4, -0.2, 0.8]])
    vector = to_prediction(model.head(torch.zeros(2, model.encoder.backbone.channels), boxes), boxes, body)
    prediction = model.unpack(vector, boxes, body)
    assert (prediction.joints[:, 15, 1] < prediction.joints[:, 7, 1]).all()  # the head above the ankle
    assert (prediction.keypoints_2d.abs() < 1.2).all() and (prediction.keypoints_2d[..., 1].abs().amax(1) > 0.5).all()


def test_length_of_the_published_columns_means_nothing():
    """Networks leave it to chance, and a step of adaptation would be the smaller the longer they are."""
    body, boxes = BodyArrays.of(load_body("open")), torch.tensor([[0.1, 0, 0.5]]).expand(4, 3)
    said = Published(torch.randn(4, 144), torch.randn(4, 10), torch.tensor([[0.9, 0.1, 0]]).expand(4, 3))
    vector = to_prediction(said, boxes, body)
    torch.testing.assert_close(to_prediction(said._replace(pose=7 * said.pose), boxes, body), vector, atol=1e-5, rtol=0)
    columns = vector[:, :144].unflatten(1, (24, 2, 3))
    torch.testing.assert_close(columns @ columns.transpose(-1, -2), torch.eye(2).expand(4, 24, 2, 2), atol=1e-5, rtol=0)


def test_backbones_have_the_channels_they_claim():
    x = torch.zeros(1, 3, 64, 32)
    for network in (thin(), HrNetPose(width=4), HrNetClassifier(width=4)):
        with torch.no_grad():
            assert network.eval()(x).shape == (1, network.channels)
    with pytest.raises(ValueError, match="resnet50.*timm"):
        make_backbone("resnet51")


def test_public_weights_load_under_their_own_names(tmp_path):
    weights = {f"backbone.{name}": value + 1 for name, value in thin().state_dict().items()}
    torch.save({"state_dict": {**weights, "head.weight": torch.zeros(1)}}, tmp_path / "w.pth")
    network = thin()
    loaded = load_backbone(network, tmp_path / "w.pth")
    assert not loaded.missing and loaded.unmatched == ["head.weight"]
    torch.testing.assert_close(network.conv1.weight, weights["backbone.conv1.weight"])
    torch.save({"fc.weight": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="another network"):
        load_backbone(thin(), tmp_path / "w.pth")
    with pytest.raises(FileNotFoundError, match="none.pth"):
        load_backbone(thin(), tmp_path / "none.pth")
