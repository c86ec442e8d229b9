"""Converts CameraInfo to a Camera, and replaces what cannot be trusted. Messages are read by attribute, so this file needs no ROS."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmr_ros.camera import DISTORTION_MODELS, Camera

_COEFFICIENTS = {"plumb_bob": (4, 5), "rational_polynomial": (8, 12, 14), "equidistant": (4,)}
_ASPECT_TOLERANCE = 0.01
_FOCAL = (0.05, 100.0)
"""Plausible focal lengths, in units of the image's longer side: from 169 degrees of view down to half a degree."""
_MAX_OFFSET = 100.0
"""Largest plausible distance of the principal point from the image's corner, in units of the image's longer side."""
_UNDISTORTED = 0.05
"""Error allowed when distortion is undone and applied again in the inner half of the image, in units of its longer side."""


@dataclass(frozen=True)
class CameraReading:
    camera: Camera
    warning: str = ""
    """Why the camera is assumed or its distortion ignored; empty when all is well."""


def read_camera(
    info, width: int, height: int, *, rectified: bool = False, vertical_fov_deg: float = 0.0
) -> CameraReading:
    """The camera of an image of width x height pixels.

    info: sensor_msgs/CameraInfo, or None if none has arrived. ROI, binning and a resized image are accounted for. An implausible
    camera is replaced by `Camera.guess`, and the warning says why.
    """
    try:
        if info is None:
            raise _Unusable("no CameraInfo received")
        K = _intrinsics(info.p if rectified else info.k, rectified)
        K = _as_image(K, info, width, height)
        _check_plausible(K, max(width, height))
    except _Unusable as reason:
        camera = Camera.guess(width, height, vertical_fov_deg or None)
        return CameraReading(camera, f"{reason}; assuming a focal length of {camera.focal[0]:.0f} px")
    if rectified:
        return CameraReading(Camera(K, width, height))
    plain = Camera(K, width, height)
    D, warning = _distortion(info)
    if D is None:
        return CameraReading(plain, warning)
    camera = Camera(K, width, height, D, info.distortion_model)
    if not _undoes(camera):
        what = f"distortion {info.distortion_model} {np.round(D, 4).tolist()} cannot be undone in the image"
        return CameraReading(plain, f"{what}: distortion ignored")
    return CameraReading(camera)


class _Unusable(ValueError):
    pass


def _intrinsics(values, rectified: bool) -> np.ndarray:
    """K (9 numbers) or P (12 numbers) to a checked (3, 3) float64, full-resolution pixels."""
    K = np.array(values, float).reshape(3, -1)[:, :3]
    name = "P" if rectified else "K"
    if not np.any(K):
        raise _Unusable(f"CameraInfo's {name} is zero: the camera is not calibrated")
    if not np.all(np.isfinite(K)):
        raise _Unusable(f"CameraInfo's {name} holds NaN or infinite values and cannot be right")
    return K


def _as_image(K: np.ndarray, info, width: int, height: int) -> np.ndarray:
    """K of the full sensor image to K of the received image: region of interest, then binning, then resizing."""
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


def _check_plausible(K: np.ndarray, side: int) -> None:
    """K: of the received image, whose longer side is `side` pixels."""
    fx, fy = K[0, 0], K[1, 1]
    low, high = (bound * side for bound in _FOCAL)
    if not (low <= fx <= high and low <= fy <= high):
        raise _Unusable(f"CameraInfo has focal lengths {fx:g}, {fy:g} for {side} pixels and cannot be right")
    if not np.all(np.abs(K[:2, 2]) <= _MAX_OFFSET * side):
        raise _Unusable(f"CameraInfo has its principal point at {K[0, 2]:g}, {K[1, 2]:g} and cannot be right")


def _scaled(K: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Pixel centres are at whole numbers, so the point that stays in place is the image's corner, at -0.5."""
    K = K.copy()
    K[:2] *= scale[:, None]
    K[:2, 2] += (scale - 1) / 2
    return K


def _distortion(info) -> tuple[np.ndarray | None, str]:
    D, model = np.array(info.d, float), info.distortion_model[:40]  # a received name may have any length
    if not np.any(D):  # NaN counts as non-zero
        return None, ""
    if model not in DISTORTION_MODELS:
        return None, f"distortion model {model!r} is not one of {', '.join(DISTORTION_MODELS)}: distortion ignored"
    if len(D) not in _COEFFICIENTS[model] or not np.all(np.isfinite(D)):
        return None, f"{len(D)} coefficients {D[:14].tolist()} do not fit distortion model {model}: distortion ignored"
    return D, ""


def _undoes(camera: Camera) -> bool:
    """Whether `normalise`, then `project` return the same pixels, in the inner half of the image: a fisheye's corners may see nothing."""
    size = np.array([camera.width, camera.height])
    uv = (np.mgrid[:5, :5].reshape(2, -1).T / 8 + 0.25) * size
    with np.errstate(all="ignore"):
        xy = camera.normalise(uv)
        again = camera.project(np.concatenate([xy, np.ones_like(xy[:, :1])], axis=1))
    return bool(np.all(np.abs(again - uv) <= _UNDISTORTED * size.max()))  # False for NaN
