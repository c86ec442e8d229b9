import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.crop import BOX_MARGIN, crop_people, keypoint_box


def test_box_of_known_points():
    uv = np.array([[10.0, 20.0], [30.0, 120.0], [999.0, 999.0]])
    center, size = keypoint_box(uv, np.array([0.9, 0.1, 0.0]))
    np.testing.assert_allclose(center, [20, 70])
    assert size == pytest.approx(100 * BOX_MARGIN)


def test_any_batch_shape_agrees_with_one_by_one():
    rng = np.random.default_rng(0)
    uv, confidence = rng.normal(size=(3, 4, 23, 2)), rng.uniform(-0.3, 1, (3, 4, 23)).clip(0)
    center, size = keypoint_box(uv, confidence)
    assert center.shape == (3, 4, 2) and size.shape == (3, 4)
    for i in np.ndindex(3, 4):
        one = uv[i][confidence[i] > 0]
        np.testing.assert_allclose(center[i], (one.min(0) + one.max(0)) / 2)
        np.testing.assert_allclose(size[i], BOX_MARGIN * np.ptp(one, axis=0).max())


def test_follows_shift_and_scale():
    rng = np.random.default_rng(1)
    uv, confidence = rng.normal(size=(5, 23, 2)), rng.uniform(size=(5, 23))
    center, size = keypoint_box(uv, confidence)
    moved, grown = keypoint_box(3 * uv + [7, -2], confidence)
    np.testing.assert_allclose(moved, 3 * center + [7, -2])
    np.testing.assert_allclose(grown, 3 * size)


def test_nobody_gives_zeros_and_no_warning():
    uv = np.full((2, 23, 2), np.nan, np.float32)
    uv[1] = 5
    with np.errstate(all="raise"):
        center, size = keypoint_box(uv, np.stack([np.zeros(23), np.ones(23)]))
    np.testing.assert_array_equal(center, [[0, 0], [5, 5]])
    np.testing.assert_array_equal(size, [0, 0])
    assert center.dtype == size.dtype == np.float32
    assert keypoint_box(np.zeros((0, 23, 2)), np.zeros((0, 23)))[1].shape == (0,)


def test_a_narrow_box_holds_people_who_are_wider():
    uv = np.array([[0.0, 0.0], [90.0, 20.0]])
    _, size = keypoint_box(uv, np.ones(2), aspect=0.75)
    assert size == pytest.approx(120 * BOX_MARGIN)
    np.testing.assert_allclose(keypoint_box(uv[:, ::-1], np.ones(2), aspect=0.75)[1], 90 * BOX_MARGIN)


def ramp(width: int, height: int) -> np.ndarray:
    """A picture whose red says the column and green the row."""
    rows, columns = np.mgrid[:height, :width]
    return np.stack([columns * 255 / width, rows * 255 / height, np.zeros_like(rows)], axis=-1).round().astype(np.uint8)


@pytest.mark.parametrize("distortion", [None, np.array([-0.25, 0.08, 0, 0, 0])])
def test_every_pixel_of_a_crop_is_where_the_camera_says(distortion):
    camera = Camera(np.array([[300.0, 0, 180], [0, 310, 120], [0, 0, 1]]), 360, 240, distortion)
    box = np.array([0.1, -0.05, 0.3])
    (crop,) = crop_people(ramp(360, 240), camera, box[None], (48, 32))
    rows, columns = np.mgrid[:48, :32]
    across, down = (columns + 0.5 - 16) / 48 * box[2] + box[0], (rows + 0.5 - 24) / 48 * box[2] + box[1]
    uv = camera.project(np.stack([across, down, np.ones_like(down)], axis=-1))
    np.testing.assert_allclose(crop[0] * 360, uv[..., 0], atol=2)
    np.testing.assert_allclose(crop[1] * 240, uv[..., 1], atol=2)


def test_everybody_at_once_is_one_by_one_and_large_people_are_averaged():
    camera = Camera(np.array([[500.0, 0, 320], [0, 500, 240], [0, 0, 1]]), 640, 480)
    image = np.random.default_rng(0).integers(0, 255, (480, 640, 3), np.uint8)
    boxes = np.array([[0, 0, 0.05], [0.1, 0.1, 0.4], [-0.2, 0, 0.9]], np.float32)
    crops = crop_people(image, camera, boxes, (64, 48))
    assert crops.shape == (3, 3, 64, 48) and crops.dtype == np.float32 and 0 <= crops.min() <= crops.max() <= 1
    for crop, box in zip(crops, boxes):
        np.testing.assert_array_equal(crop_people(image, camera, box[None], (64, 48))[0], crop)
    assert crops[2, :, 20:40].std() < 0.5 * crops[0].std()  # noise that is finer than the crop is gone
    assert crop_people(image, camera, np.zeros((0, 3)), (64, 48)).shape == (0, 3, 64, 48)


def test_beyond_the_border_is_black():
    camera = Camera(np.array([[100.0, 0, 50], [0, 100, 50], [0, 0, 1]]), 100, 100)
    (crop,) = crop_people(np.full((100, 100, 3), 255, np.uint8), camera, np.array([[-0.5, 0, 0.8]]), (32, 32))
    assert (crop[:, :, :14] == 0).all() and (crop[:, :, 18:] == 1).all()
