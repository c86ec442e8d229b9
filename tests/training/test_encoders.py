"""Encoders of keypoints: what is hidden must not be seen, and both kinds must learn and export alike."""

import pytest

torch = pytest.importorskip("torch")

from training.config import ModelConfig  # noqa: E402
from training.encoders import make_encoder  # noqa: E402

KINDS = ("mlp", "transformer")


def encoder(kind):
    torch.manual_seed(0)
    return make_encoder(ModelConfig(encoder=kind, width=32, blocks=2, token_width=24, attention_heads=3)).eval()


@pytest.fixture
def seen():
    rng = torch.Generator().manual_seed(0)
    keypoints, points = torch.randn(4, 23, 2, generator=rng), torch.randn(4, 23, 3, generator=rng)
    confidence = (torch.rand(4, 23, generator=rng) > 0.3).float()
    known = (torch.rand(4, 23, generator=rng) > 0.3).float()
    return keypoints, confidence, points, known, torch.rand(4, 3, generator=rng)


@pytest.mark.parametrize("kind", KINDS)
def test_features_of_everyone(kind, seen):
    assert encoder(kind)(*seen).shape == (4, 32)


@pytest.mark.parametrize("kind", KINDS)
def test_hidden_keypoints_change_nothing(kind, seen):
    keypoints, confidence, points, known, box = seen
    moved = torch.where(confidence[..., None] > 0, keypoints, keypoints + 5)
    elsewhere = torch.where(known[..., None] > 0, points, points - 3)
    model = encoder(kind)
    torch.testing.assert_close(model(moved, confidence, elsewhere, known, box), model(*seen))


@pytest.mark.parametrize("kind", KINDS)
def test_seen_keypoints_confidence_and_box_matter(kind, seen):
    model, (keypoints, confidence, points, known, box) = encoder(kind), seen
    plain = model(*seen)
    for other in (
        (keypoints + 0.1, confidence, points, known, box),
        (keypoints, 0.5 * confidence, points, known, box),
        (keypoints, confidence, points + 0.1, known, box),
        (keypoints, confidence, points, known, box + 0.1),
    ):
        assert (model(*other) - plain).abs().max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_people_do_not_see_each_other(kind, seen):
    model = encoder(kind)
    one = model(*(x[2:3] for x in seen))
    torch.testing.assert_close(model(*seen)[2:3], one)


def test_mixed_precision_stays_near(seen):
    model = encoder("transformer")
    plain = model(*seen)
    model.mixed_precision = True
    mixed = model(*seen)
    assert mixed.dtype == torch.float32
    assert 0 < (mixed - plain).abs().max() < 0.1
