"""A camera projects and normalises consistently, with every distortion model."""

import numpy as np
import pytest

from hmr_ros.camera import DISTORTION_MODELS, Camera
from hmr_ros.regressor import axis_to_ray

K = np.array([[600.0, 0, 320], [0, 610, 240], [0, 0, 1]])
D = {
    "plumb_bob": [-0.2, 0.05, 0.001, -0.002, 0.0],
    "rational_polynomial": [-0.2, 0.05, 0.001, -0.002, 0.0, 0.01, 0.0, 0.0],
    "equidistant": [0.02, -0.01, 0.003, 0.0],
}


@pytest.fixture(params=[None, *DISTORTION_MODELS])
def camera(request):
    model = request.param
    return Camera(K, 640, 480) if model is None else Camera(K, 640, 480, np.array(D[model]), model)


def test_normalise_undoes_project(camera):
    xyz = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 6], (5, 23, 3))
    np.testing.assert_allclose(camera.normalise(camera.project(xyz)), xyz[..., :2] / xyz[..., 2:], atol=2e-4)


def test_no_points_are_no_trouble(camera):
    assert camera.normalise(np.zeros((0, 23, 2))).shape == (0, 23, 2)
    assert camera.project(np.zeros((0, 23, 3))).shape == (0, 23, 2)


def test_plumb_bob_equals_opencv():
    import cv2

    camera = Camera(K, 640, 480, np.array(D["plumb_bob"]))
    xyz = np.random.default_rng(0).uniform([-1, -1, 2], [1, 1, 6], (10, 3))
    expected, _ = cv2.projectPoints(xyz, np.zeros(3), np.zeros(3), K, camera.D)
    np.testing.assert_allclose(camera.project(xyz), expected[:, 0], atol=1e-2)


def test_guess_looks_through_the_centre():
    camera = Camera.guess(641, 481, vertical_fov_deg=60)
    assert camera.assumed
    np.testing.assert_allclose(camera.project(np.array([0.0, 0, 3])), [320, 240], atol=1e-4)
    assert 2 * np.degrees(np.arctan(240.5 / camera.focal[1])) == pytest.approx(60)


def test_axis_to_ray_turns_the_axis_into_the_ray():
    xy = np.array([[0.3, -0.2], [0, 0], [-0.5, 0.1]])
    ray = np.concatenate([xy, np.ones((3, 1))], -1)
    ray /= np.linalg.norm(ray, axis=-1, keepdims=True)
    np.testing.assert_allclose(axis_to_ray(xy) @ np.array([0, 0, 1.0]), ray, atol=1e-9)
