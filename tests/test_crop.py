import numpy as np
import pytest

from hmr_ros.crop import BOX_MARGIN, keypoint_box


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
