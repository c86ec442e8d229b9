"""CameraInfo to a Camera, and what to do when it cannot be trusted. Messages are read by attribute: no ROS here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmr_ros.camera import DISTORTION_MODELS, Camera

_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_ASPECT_TOLERANCE = 0.01


@dataclass(frozen=True)
class CameraReading:
    camera: Camera
    warning: str = ""
    """Why the camera is assumed or its distortion ignored; empty when all is well."""


def read_camera(
    info, width: int, height: int, *, rectified: bool = False, vertical_fov_deg: float = 0.0
) -> CameraReading:
    """The camera of an image of width x height pixels.

    info: sensor_msgs/CameraInfo, or None if none came. ROI, binning and a resized image are followed; whatever cannot be
    right is replaced by `Camera.guess`, and the reading says why.
    """
    try:
        if info is None:
            raise _Unusable("no CameraInfo received")
        K = _intrinsics(info.p if rectified else info.k, rectified)
        K = _as_image(K, info, width, height)
    except _Unusable as reason:
        camera = Camera.guess(width, height, vertical_fov_deg or None)
        return CameraReading(camera, f"{reason}; assuming a focal length of {camera.focal[0]:.0f} px")
    if rectified:
        return CameraReading(Camera(K, width, height))
    D, warning = _distortion(info)
    model = info.distortion_model if D is not None else "plumb_bob"
    return CameraReading(Camera(K, width, height, D, model), warning)


class _Unusable(ValueError):
    pass


def _intrinsics(values, rectified: bool) -> np.ndarray:
    """K (9 numbers) or P (12 numbers) to a checked (3, 3) float64, full-resolution pixels."""
    K = np.array(values, float).reshape(3, -1)[:, :3]
    name = "P" if rectified else "K"
    if not np.any(K):
        raise _Unusable(f"CameraInfo's {name} is zero: the camera is not calibrated")
    if not np.all(np.isfinite(K)) or K[0, 0] <= 0 or K[1, 1] <= 0:
        raise _Unusable(f"CameraInfo's {name} has focal lengths {K[0, 0]:g}, {K[1, 1]:g} and cannot be right")
    return K


def _as_image(K: np.ndarray, info, width: int, height: int) -> np.ndarray:
    """K of the full sensor image to K of the image that arrived: region of interest, then binning, then resizing."""
    roi = info.roi
    size = np.array([roi.width or info.width, roi.height or info.height], float)
    binning = np.array([max(info.binning_x, 1), max(info.binning_y, 1)], float)
    K = K.copy()
    K[:2, 2] -= (roi.x_offset, roi.y_offset)
    if not size.all():  # A CameraInfo without a size: nothing to compare with.
        return _scaled(K, 1 / binning)
    scale = np.array([width, height]) / size
    exact = np.all(np.abs(size / binning - (width, height)) < 1)
    if not exact and abs(scale[0] / scale[1] - 1) > _ASPECT_TOLERANCE:
        seen = "x".join(f"{v:g}" for v in size / binning)
        raise _Unusable(f"CameraInfo is for {seen} pixels but the image has {width}x{height}")
    return _scaled(K, 1 / binning if exact else scale)


def _scaled(K: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Pixel centres are at whole numbers, so the image's corner, at -0.5, is what stays in place."""
    K = K.copy()
    K[:2] *= scale[:, None]
    K[:2, 2] += (scale - 1) / 2
    return K


def _distortion(info) -> tuple[np.ndarray | None, str]:
    D, model = np.array(info.d, float), info.distortion_model
    if not np.any(D):
        return None, ""
    if model not in DISTORTION_MODELS:
        return None, f"distortion model {model!r} is not one of {', '.join(DISTORTION_MODELS)}: distortion ignored"
    if len(D) not in _COEFFICIENTS[model] or not np.all(np.isfinite(D)):
        return None, f"{len(D)} coefficients {D.tolist()} do not fit distortion model {model}: distortion ignored"
    return D, ""
