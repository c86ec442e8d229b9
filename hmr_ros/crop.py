"""The box around a person, from keypoints, and the picture inside it, for encoders that read images."""

from __future__ import annotations

import numpy as np

from hmr_ros.camera import Camera

BOX_MARGIN = 1.2
"""Box side over the longer side of the keypoints' own extent. Keypoints stop at wrists, ankles and eyes; a fifth more
holds hands, feet and the crown of the head. Training and runtime must agree on it, so it is no setting."""
MAX_SUPERSAMPLING = 4
"""Samples a crop's pixel takes along each side, at most: people close by are larger than their crop."""
NODES = 17
"""The camera's projection is computed on so many by so many points of a crop, and interpolated: exact without distortion, and well
below a pixel off with a wide lens's."""


def keypoint_box(uv: np.ndarray, confidence: np.ndarray, aspect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Box around the keypoints whose confidence is above 0, `aspect` as wide as it is high.

    uv: (..., J, 2), pixels or normalised image coordinates; confidence: (..., J).
    Returns centre (..., 2) and height (...,), in the unit and type of uv. Rows without any such keypoint give zeros.
    """
    seen = (confidence > 0)[..., None]
    low = np.where(seen, uv, np.inf).min(axis=-2)
    high = np.where(seen, uv, -np.inf).max(axis=-2)
    nobody = ~seen.any(axis=-2)
    low, high = np.where(nobody, 0, low), np.where(nobody, 0, high)
    center = (low + high) / 2
    size = BOX_MARGIN * ((high - low) / [aspect, 1]).max(axis=-1)
    return center.astype(uv.dtype), size.astype(uv.dtype)


def crop_people(image: np.ndarray, camera: Camera, bbox_info: np.ndarray, crop_px: tuple[int, int]) -> np.ndarray:
    """Everyone's box as a picture without the lens's distortion; black beyond the image's border.

    image: (H, W, 3) uint8 RGB; bbox_info: (N, 3) centre x, y and height of each box, in normalised image coordinates; crop_px: height
    and width, which also give the boxes their shape. Returns (N, 3, height, width) float32 in [0, 1].
    """
    import cv2

    image = np.ascontiguousarray(image)
    height, width = crop_px
    crops = np.empty((len(bbox_info), 3, height, width), np.float32)
    down, across = np.meshgrid(*(np.linspace(-0.5, 0.5, NODES),) * 2, indexing="ij")
    for i, (x, y, size) in enumerate(np.asarray(bbox_info, np.float64)):
        nodes = np.stack([x + across * size * width / height, y + down * size, np.ones_like(down)], axis=-1)
        uv = camera.project(nodes)
        length_px = np.abs(uv[-1] - uv[0]).max()
        fine = int(np.clip(np.ceil(length_px / height), 1, MAX_SUPERSAMPLING))
        rows, columns = _interpolation(fine * height), _interpolation(fine * width)
        sampled = np.stack([rows @ uv[..., k] @ columns.T for k in range(2)], axis=-1)
        picture = cv2.remap(image, sampled, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        if fine > 1:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        crops[i] = picture.transpose(2, 0, 1)
    return crops / np.float32(255)


def _interpolation(count: int) -> np.ndarray:
    """(count, NODES) float32: what each pixel centre along a side takes linearly from nodes at its ends and between."""
    at = (np.arange(count) + 0.5) / count * (NODES - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(NODES))).astype(np.float32)
