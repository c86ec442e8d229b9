"""Training pictures: the same for the same seed whoever makes them, each with a truth that fits what is to be seen."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch")


from hmr_ros import skeleton  # noqa: E402
from training.config import NoiseConfig  # noqa: E402
from training.image.augment import AugmentConfig  # noqa: E402
from training.image.data import ImageData, ImageSample, PicturesConfig, batches  # noqa: E402

CROP_PX = (96, 64)
EXACT = NoiseConfig(sigma=0, outliers=0, swaps=0, dropout=0, occlusion=0)
STILL = AugmentConfig(flip=0, roll=0, scale=0, shift=0, colour=0, grey=0, occlusion=0)


def data(folder, noise=NoiseConfig(), augment=AugmentConfig(), patterns=None) -> ImageData:
    return ImageData(folder, "open", noise, PicturesConfig(folder, patterns, 0), augment, CROP_PX)


def assert_equal(a: ImageSample, b: ImageSample) -> None:
    for x, y in zip([*a[:-2], *a.truth, a.transl], [*b[:-2], *b.truth, b.transl]):
        torch.testing.assert_close(x, y, rtol=0, atol=0)


def test_workers_and_resuming_change_nothing(green_folder):
    source = data(green_folder, patterns=green_folder)
    alone = list(batches(source, 1, seed=5, steps=range(3)))
    for step, sample in enumerate(batches(source, 1, seed=5, steps=range(3), workers=2)):
        assert_equal(sample, alone[step])
    assert_equal(next(batches(source, 1, seed=5, steps=range(2, 3))), alone[2])
    other_seed, other_rank = (
        next(batches(source, 1, steps=range(1), **k)) for k in ({"seed": 6}, {"seed": 5, "rank": 1})
    )
    assert not torch.equal(other_seed.crop, alone[0].crop) and not torch.equal(other_rank.crop, alone[0].crop)


def test_people_are_where_the_truth_says(green_folder):
    """Before green, with nothing else changed, shoulders, hips and knees lie on somebody who is not; and detections are the truth."""
    sample = data(green_folder, EXACT, STILL).validation(12)
    height, width = CROP_PX
    at = (sample.truth.keypoints_2d * height / 2 + torch.tensor([width / 2, height / 2]) - 0.5).round().long()
    on_body, total = 0, 0
    thick = [i for i, name in enumerate(skeleton.KEYPOINT_NAMES) if name.endswith(("shoulder", "hip", "knee"))]
    for crop, points in zip(sample.crop, at[:, thick]):
        inside = ((points >= 1) & (points < torch.tensor([width - 1, height - 1]))).all(-1)
        u, v = points[inside].T
        shown = (crop.sum(0) > 0)[v, u]  # black: beyond the picture's border
        green = (crop[1] > crop[0] + 0.3) & (crop[1] > crop[2] + 0.3)
        on_body, total = on_body + int((~green[v, u] & shown).sum()), total + int(shown.sum())
    assert total > 50 and on_body > 0.9 * total
    seen = sample.confidence > 0
    torch.testing.assert_close(sample.keypoints[seen], sample.truth.keypoints_2d[seen], atol=1e-4, rtol=0)
    assert (sample.keypoints[seen].abs() <= 1 / 1.2 + 1e-4).all()  # inside the box, less its margin


def test_augmented_detections_still_fit_the_augmented_truth(green_folder):
    still = AugmentConfig(flip=0)  # bodies are a little lopsided
    sample = next(batches(data(green_folder, EXACT, still), 4, seed=0, steps=range(1)))
    seen = sample.confidence > 0
    torch.testing.assert_close(sample.keypoints[seen], sample.truth.keypoints_2d[seen], atol=1e-4, rtol=0)
    assert sample.crop.shape == (4, 3, *CROP_PX) and sample.truth.rotmat.shape == (4, 24, 3, 3)


def test_missing_pictures_say_where_we_looked(green_folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        ImageData(
            green_folder, "open", EXACT, PicturesConfig(tmp_path / "nowhere", None), STILL, CROP_PX
        )  # fmt: skip
