"""A pinhole camera with lens distortion, as a value.

The networks never see pixels or intrinsics: every point is first turned into *normalised image coordinates* (x/z, y/z of the
undistorted viewing ray), so one set of weights serves every camera.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DISTORTION_MODELS = ("plumb_bob", "rational_polynomial", "equidistant")
ROUND_TRIP = 0.0025
"""Largest error allowed when a pixel is undistorted and distorted again, in focal lengths (1 px at 400 px). Real lenses stay below 0.0007."""
MAX_TANGENT = 2.5
"""Tangent of the largest angle off the optical axis, 68 degrees: beyond it one pixel is a large step in x/z, and nothing was trained there."""

MAX_PX = 1e9
"""Farthest that a point is projected to: beside the camera or behind it a lens model gives numbers that float32 cannot hold."""


@dataclass(frozen=True)
class Camera:
    """Intrinsics of one image, named as in sensor_msgs/CameraInfo."""

    K: np.ndarray
    """(3, 3) float64, pixels."""
    width: int
    height: int
    D: np.ndarray | None = None
    """Distortion coefficients in OpenCV's order, or None for none."""
    distortion_model: str = "plumb_bob"
    assumed: bool = False
    """True when K is a guess (`Camera.guess`), so depth is only as good as that guess."""

    @staticmethod
    def guess(width: int, height: int, vertical_fov_deg: float | None = None) -> Camera:
        """An uncalibrated camera.

        Focal length: from `vertical_fov_deg` if given, else the image's diagonal in pixels (as CLIFF assumes, Li et al.,
        ECCV 2022, section 3.3), principal point in the centre, no distortion.
        """
        focal = (height / 2) / np.tan(np.radians(vertical_fov_deg) / 2) if vertical_fov_deg else np.hypot(width, height)
        K = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
        return Camera(K, width, height, assumed=True)

    @property
    def focal(self) -> np.ndarray:
        """(2,) float64, pixels: fx, fy."""
        return np.array([self.K[0, 0], self.K[1, 1]])

    def normalise(self, uv: np.ndarray) -> np.ndarray:
        """Pixels to normalised image coordinates. uv: (..., 2) pixels. Returns (..., 2) float32."""
        if not self._distorted:
            return ((uv - self.K[:2, 2]) / self.focal).astype(np.float32)
        import cv2

        points = np.ascontiguousarray(uv, np.float64).reshape(-1, 1, 2)
        if not len(points):
            return np.zeros(uv.shape, np.float32)
        if self.distortion_model == "equidistant":
            flat = cv2.fisheye.undistortPoints(points, self.K, self.D)
        else:
            flat = _undistort(points, self.K, self.D)
        return flat.reshape(uv.shape).astype(np.float32)

    def project(self, xyz: np.ndarray) -> np.ndarray:
        """Points in the optical frame to pixels. xyz: (..., 3) metres, z > 0. Returns (..., 2) float32."""
        z = np.maximum(xyz[..., 2:], 1e-6)
        if not self._distorted:
            return (xyz[..., :2] / z * self.focal + self.K[:2, 2]).astype(np.float32)
        import cv2

        points = np.ascontiguousarray(xyz[..., :2] / z, np.float64).reshape(-1, 1, 2)
        if not len(points):
            return np.zeros((*xyz.shape[:-1], 2), np.float32)
        if self.distortion_model == "equidistant":
            flat = cv2.fisheye.distortPoints(points, self.K, self.D)
        else:
            rays = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
            flat, _ = cv2.projectPoints(rays, np.zeros(3), np.zeros(3), self.K, self.D)
        return np.clip(flat.reshape(*xyz.shape[:-1], 2), -MAX_PX, MAX_PX).astype(np.float32)

    def has_ray(self, uv: np.ndarray) -> np.ndarray:
        """Whether `normalise` means something at pixels (..., 2). Returns (...,) bool.

        Past its fold, or from about 80 degrees on, a lens model cannot be inverted, and OpenCV returns an arbitrary finite number.
        """
        if not self._distorted:
            return np.ones(uv.shape[:-1], bool)
        with np.errstate(all="ignore"):
            xy = self.normalise(uv)
            again = self.project(np.concatenate([xy, np.ones_like(xy[..., :1])], axis=-1))
            missed = np.linalg.norm((again - uv) / self.focal, axis=-1)
            return (missed <= ROUND_TRIP) & (np.linalg.norm(xy, axis=-1) <= MAX_TANGENT)  # False for NaN

    @property
    def _distorted(self) -> bool:
        return self.D is not None and bool(np.any(self.D))


def _undistort(points: np.ndarray, K: np.ndarray, D: np.ndarray) -> np.ndarray:
    """OpenCV's iteration, run until it converges: with its default of five steps, wide lenses are off by pixels."""
    import cv2

    until = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 40, 1e-9)
    if hasattr(cv2, "undistortPointsIter"):  # up to OpenCV 4
        return cv2.undistortPointsIter(points, K, D, None, None, until)
    return cv2.undistortPoints(points, K, D, criteria=until)
