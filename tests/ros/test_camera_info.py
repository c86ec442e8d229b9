"""A CameraInfo, however it was made, puts a 3D point at the pixel where the image shows it; or a warning says why not."""

from types import SimpleNamespace

import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.ros.camera_info import read_camera

K = np.array([[500.0, 0, 310.0], [0, 510.0, 250.0], [0, 0, 1]])
POINTS = np.random.default_rng(0).uniform((-1, -1, 2), (1, 1, 5), (50, 3))


def info(**changes):
    roi = changes.pop("roi", (0, 0, 0, 0))
    values = {
        "width": 640, "height": 480, "k": K.ravel(), "d": np.zeros(5), "distortion_model": "plumb_bob",
        "p": np.c_[K, np.zeros(3)].ravel(), "binning_x": 0, "binning_y": 0,
        "roi": SimpleNamespace(x_offset=roi[0], y_offset=roi[1], width=roi[2], height=roi[3]),
    }  # fmt: skip
    return SimpleNamespace(**{**values, **changes})


def test_plain():
    reading = read_camera(info(), 640, 480)
    np.testing.assert_array_equal(reading.camera.K, K)
    assert not reading.warning and not reading.camera.assumed and reading.camera.D is None


@pytest.mark.parametrize(
    "changes, size, scale, offset",
    [
        ({"binning_x": 2, "binning_y": 2}, (320, 240), 0.5, (0, 0)),
        ({"roi": (100, 40, 320, 240)}, (320, 240), 1.0, (100, 40)),
        ({"roi": (100, 40, 320, 240), "binning_x": 2, "binning_y": 2}, (160, 120), 0.5, (100, 40)),
        ({}, (1280, 960), 2.0, (0, 0)),
        ({}, (321, 241), 0.5, (0, 0)),
        ({"binning_x": 2, "binning_y": 2}, (640, 480), 1.0, (0, 0)),
        ({"width": 0, "height": 0}, (640, 480), 1.0, (0, 0)),
    ],
)
def test_crops_binning_and_resizing_are_followed(changes, size, scale, offset):
    """Pixel areas: the corner (-0.5, -0.5) of the region stays the corner of the image."""
    reading = read_camera(info(**changes), *size)
    full = Camera(K, 640, 480).project(POINTS)
    expected = (full - offset + 0.5) * scale - 0.5
    assert not reading.warning
    assert (reading.camera.width, reading.camera.height) == size
    np.testing.assert_allclose(reading.camera.project(POINTS), expected, atol=2.0 if size == (321, 241) else 1e-3)


@pytest.mark.parametrize(
    "message, reason",
    [
        (None, "no CameraInfo"),
        (info(k=np.zeros(9)), "not calibrated"),
        (info(k=np.diag([np.nan, 500, 1]).ravel()), "NaN or infinite values and cannot be right"),
        (info(k=np.eye(3).ravel()), "focal lengths 1, 1 for 640 pixels and cannot be right"),
        (info(k=np.diag([1e9, 1e9, 1]).ravel()), "cannot be right"),
        (info(k=np.array([500, 0, 1e9, 0, 500, 200, 0, 0, 1])), "principal point at 1e+09, 200"),
        (info(k=np.diag([-500.0, 500, 1]).ravel()), "cannot be right"),
        (info(width=640, height=640), "for 640x640 pixels but the image has 640x480"),
    ],
)
@pytest.mark.parametrize("fov", [0.0, 50.0])
def test_unusable_means_a_stated_guess(message, reason, fov):
    reading = read_camera(message, 640, 480, vertical_fov_deg=fov)
    assert reason in reading.warning and "assuming" in reading.warning
    assert reading.camera.assumed
    np.testing.assert_allclose(reading.camera.K, Camera.guess(640, 480, fov or None).K)


def test_distortion():
    D = [0.1, -0.05, 0.001, 0.002, 0.01]
    camera = read_camera(info(d=D), 640, 480).camera
    np.testing.assert_array_equal(camera.D, D)
    fisheye = read_camera(info(d=D[:4], distortion_model="equidistant"), 640, 480).camera
    assert fisheye.distortion_model == "equidistant"
    for d, model, reason in (
        (D, "spherical", "not one of"), (D[:3], "plumb_bob", "3 coefficients"), ([np.nan] * 5, "plumb_bob", "do not fit"),
        ([1e6] * 5, "plumb_bob", "cannot be undone"), ([-1e6, 0, 0, 0], "equidistant", "cannot be undone"),
    ):  # fmt: skip
        reading = read_camera(info(d=d, distortion_model=model), 640, 480)
        assert reason in reading.warning and reading.camera.D is None and not reading.camera.assumed


def test_rectified_images_use_p_and_no_distortion():
    P = np.c_[np.diag([400.0, 400, 1]), [-40, 0, 0]]
    camera = read_camera(info(p=P.ravel(), d=[0.1] * 5), 640, 480, rectified=True).camera
    np.testing.assert_array_equal(camera.K, P[:, :3])
    assert camera.D is None
    assert read_camera(info(p=np.zeros(12)), 640, 480, rectified=True).camera.assumed
