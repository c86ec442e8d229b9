"""Keypoints and picture together: what it starts from, who sees what, and that both can be learned from."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from hmr_ros.smpl_file import load_body  # noqa: E402
from training.architecture import model_of  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import ModelConfig, TrainConfig  # noqa: E402
from training.image.config import ImageModelConfig  # noqa: E402
from training.image.fused import FusedMetaHmr  # noqa: E402
from training.losses import weights_of  # noqa: E402
from training.model import MetaHmr  # noqa: E402

POINTS = ModelConfig(width=32, blocks=1)
CONFIG = ImageModelConfig("resnet18_thin", head="fused", crop_height=64, crop_width=64, points=POINTS)
WEIGHTS = weights_of(TrainConfig().loss)


@pytest.fixture(scope="module")
def body():
    return BodyArrays.of(load_body("open"))


@pytest.fixture
def seen():
    rng = torch.Generator().manual_seed(0)
    keypoints, points = torch.randn(3, 23, 2, generator=rng), torch.randn(3, 23, 3, generator=rng)
    return keypoints, torch.ones(3, 23), points, torch.ones(3, 23), torch.rand(3, 3, generator=rng) + 0.2


def fused() -> FusedMetaHmr:
    torch.manual_seed(0)
    return FusedMetaHmr(CONFIG, WEIGHTS).eval()


def test_it_starts_as_the_keypoint_model_it_grows_from(body, seen):
    torch.manual_seed(1)
    points = MetaHmr(POINTS, WEIGHTS).eval()
    model = fused()
    model.load_matching(points.state_dict())
    expected, _ = points.regress(points.encode(*seen), seen[-1], body)
    state, _ = model.regress(model.encode(torch.rand(3, 3, 64, 64), *seen), seen[-1], body)
    torch.testing.assert_close(state, expected)


def test_weights_of_another_width_are_refused():
    other = MetaHmr(dataclasses.replace(POINTS, width=16), WEIGHTS)
    with pytest.raises(ValueError, match="model.points"):
        fused().load_matching(other.state_dict())


def test_its_own_weights_load(body, seen):
    one, two = fused(), FusedMetaHmr(CONFIG, WEIGHTS).eval()
    two.load_matching(one.state_dict())
    crop = torch.rand(3, 3, 64, 64)
    torch.testing.assert_close(one.encode(crop, *seen), two.encode(crop, *seen))


def test_the_auxiliary_network_sees_the_picture_alone(body, seen):
    model = fused()
    torch.nn.init.normal_(model.auxiliary_head.out.weight)
    crop = torch.rand(3, 3, 64, 64)
    guesses = []
    for keypoints in (seen[0], seen[0] + 1):
        _, auxiliary = model.regress(model.encode(crop, keypoints, *seen[1:]), seen[-1], body)
        guesses.append(auxiliary.prediction.rotmat)
    torch.testing.assert_close(*guesses)
    _, other = model.regress(model.encode(1 - crop, *seen), seen[-1], body)
    assert (other.prediction.rotmat - guesses[0]).abs().max() > 1e-4


def test_both_halves_receive_gradients(body, seen):
    model = fused().train()
    torch.nn.init.normal_(model.encoder.correct[-1].weight)
    torch.nn.init.normal_(model.head.out.weight)
    state, _ = model.regress(model.encode(torch.rand(3, 3, 64, 64), *seen), seen[-1], body)
    model.decode(state, state, seen[-1], body).joints.square().sum().backward()
    assert model.encoder.points.embed.weight.grad.abs().max() > 0
    assert model.encoder.picture.backbone.conv1.weight.grad.abs().max() > 0


def test_a_checkpoint_tells_what_it_is():
    model = model_of(dataclasses.asdict(CONFIG))
    assert isinstance(model, FusedMetaHmr) and model.image == CONFIG
    model.load_state_dict(fused().state_dict())


@pytest.mark.parametrize(
    "change", [{"auxiliary_backbone": "resnet18_thin"}, {"points": dataclasses.replace(POINTS, scope="head")}]
)
def test_settings_that_it_cannot_have_are_refused(change):
    with pytest.raises(ValueError, match="scope latent"):
        FusedMetaHmr(dataclasses.replace(CONFIG, **change), WEIGHTS)
