"""Square regions of an image, turned so that a person stands upright in them.

A region is (2, 2) float: its centre, and the vector from the centre to the middle of the upper edge; both in pixels with the
first pixel's centre at (0, 0). Functions take any leading batch shape unless they say otherwise.
"""

from __future__ import annotations

import cv2
import numpy as np

REGION_MARGIN = 1.25
"""BlazePose's two alignment points are the hips' centre and a point on the circle around the whole body; the region's half
side is their distance times this (Bazarevsky et al. 2020, and mediapipe's graph)."""


def region_from_alignment(center: np.ndarray, rim: np.ndarray) -> np.ndarray:
    """Both points (..., 2), pixels; `rim`: where the person's up direction meets the circle around the body. Returns (..., 2, 2)."""
    return np.stack([center, REGION_MARGIN * (rim - center)], axis=-2)


def region_from_box(box: np.ndarray) -> np.ndarray:
    """A first guess for an upright person, from a box around the whole body. box: (..., 4) left, top, right, bottom. Returns (..., 2, 2)."""
    low, high = box[..., :2], box[..., 2:]
    reach = (high - low).max(axis=-1, keepdims=True) / 2
    rim = (low + high) / 2 + np.concatenate([np.zeros_like(reach), -reach], axis=-1)
    return region_from_alignment((low + high) / 2, rim)


def region_axes(region: np.ndarray) -> np.ndarray:
    """(..., 2, 2): rows right and down, from the centre to the edges' middles, pixels."""
    up = region[..., 1, :]
    right = np.stack([-up[..., 1], up[..., 0]], axis=-1)
    return np.stack([right, -up], axis=-2)


def region_size(region: np.ndarray) -> np.ndarray:
    """(...,): length of a side, pixels."""
    return 2 * np.linalg.norm(region[..., 1, :], axis=-1)


def region_to_image(points: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Points in the region's own coordinates, (0, 0) its upper left and (1, 1) its lower right corner, to pixels.

    points: (..., K, 2); region: (..., 2, 2). Returns (..., K, 2).
    """
    return region[..., :1, :] + (2 * points - 1) @ region_axes(region)


def crop_region(image: np.ndarray, region: np.ndarray, side: int) -> np.ndarray:
    """Cut one region out, black beyond the image's edges. image: (H, W, 3) uint8. Returns (side, side, 3) uint8."""
    axes = region_axes(region)
    # The centre of output pixel (i, j) lies at ((i + 0.5) / side, (j + 0.5) / side) in the region.
    matrix = np.empty((2, 3))
    matrix[:, :2] = 2 / side * axes.T
    matrix[:, 2] = region[0] + (1 / side - 1) * axes.sum(axis=0)
    return cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


def crop_square(image: np.ndarray, corner: np.ndarray, size: float, side: int) -> np.ndarray:
    """Shrink or enlarge one upright square, averaging over pixels, black beyond the image's edges.

    corner: (2,) upper left corner, pixels from the image's corner; size: its side, pixels. Returns (side, side, 3) uint8.
    """
    height, width = image.shape[:2]
    low = np.clip(np.floor(corner), 0, (width, height)).astype(int)
    high = np.clip(np.ceil(corner + size), 0, (width, height)).astype(int)
    out = np.zeros((side, side, 3), np.uint8)
    if (high <= low).any():
        return out
    scale = side / size
    first = np.clip(np.round((low - corner) * scale), 0, side - 1).astype(int)
    last = np.clip(np.round((high - corner) * scale), first + 1, side).astype(int)
    pixels = image[low[1] : high[1], low[0] : high[0]]
    smaller = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    out[first[1] : last[1], first[0] : last[0]] = cv2.resize(
        pixels, tuple(map(int, last - first)), interpolation=smaller
    )
    return out
