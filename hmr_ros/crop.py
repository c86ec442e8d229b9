"""The box around a person, from keypoints, and the picture inside it, for encoders that read images."""

from __future__ import annotations

import numpy as np

from hmr_ros.camera import Camera

BOX_MARGIN = 1.2
"""Box side over the longer side of the keypoints' own extent. Keypoints stop at wrists, ankles and eyes; a fifth more
holds hands, feet and the crown of the head. Training and runtime must agree on it, so it is not a setting."""
MAX_SUPERSAMPLING = 4
"""Most samples per crop pixel along each side: people close to the camera are larger in the image than their crop."""
NODES = 17
"""The camera's projection is computed at NODES x NODES points of a crop and interpolated between them: exact without distortion, and
off by well below a pixel with a wide lens."""
SAMPLES = 2
"""Samples that the graph `look` takes along each side of a crop's pixel. `crop_people` takes up to MAX_SUPERSAMPLING, at a cost that
depends on the image; for people more than twice as high as their crop the two differ by about 0.4 / 255."""
LARGEST_PICTURE = 2160, 3840
"""Height and width, pixels, of the largest image that `look` is prepared for. Larger ones are shrunk first."""
FAR = 1e6
"""Pixels: as good as infinitely far outside, and safe to multiply with."""


def keypoint_box(uv: np.ndarray, confidence: np.ndarray, aspect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Box around the keypoints whose confidence is above 0, `aspect` times as wide as it is high.

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
    """The part of the image in each person's box, without lens distortion; black beyond the image's border.

    image: (H, W, 3) uint8 RGB; bbox_info: (N, 3) centre x, y and height of each box, in normalised image coordinates; crop_px: height
    and width, which also set the boxes' aspect ratio. Returns (N, 3, height, width) float32 in [0, 1].
    """
    import cv2

    image = np.ascontiguousarray(image)
    height, width = crop_px
    crops = np.empty((len(bbox_info), 3, height, width), np.float32)
    for i, uv in enumerate(_project_nodes(camera, bbox_info, width / height)):
        fine = int(np.clip(np.ceil(_length_px(uv) / height), 1, MAX_SUPERSAMPLING))
        rows, columns = _interpolation(fine * height), _interpolation(fine * width)
        sampled = np.stack([rows @ uv[..., k] @ columns.T for k in range(2)], axis=-1)
        picture = cv2.remap(image, sampled, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
        if fine > 1:
            picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        crops[i] = picture.transpose(2, 0, 1)
    return crops / np.float32(255)


def look_inputs(
    image: np.ndarray, camera: Camera, bbox_info: np.ndarray, crop_px: tuple[int, int]
) -> dict[str, np.ndarray]:
    """What the graph `look` takes instead of crops: the whole image, and where in it each crop lies. Arguments as for `crop_people`.

    image: (1, H, W, 3) uint8. nodes: (N, 2, NODES, NODES) float32, x and y of points across each box, -1 to 1 from edge to edge of the
    image. spread: (N, 1, 1, 1) float32, 1 where a crop's pixel is larger than the image's and its SAMPLES x SAMPLES samples are spread
    over it, 0 where all of them are taken at its centre.
    """
    height, width = crop_px
    uv = np.nan_to_num(_project_nodes(camera, bbox_info, width / height), nan=FAR).clip(-FAR, FAR)
    size = np.array(image.shape[1::-1])
    image = _shrunk(image)
    length_px = _length_px(uv) * image.shape[0] / size[1]
    nodes = (2 * uv + 1) / size - 1
    return {
        "image": np.ascontiguousarray(image)[None],
        "nodes": np.ascontiguousarray(nodes.transpose(0, 3, 1, 2), np.float32),
        "spread": (length_px > height).astype(np.float32)[:, None, None, None],
    }


def _project_nodes(camera: Camera, bbox_info: np.ndarray, aspect: float) -> np.ndarray:
    """Where the camera sees NODES x NODES points across each box. bbox_info: (N, 3). Returns (N, NODES, NODES, 2) float32, pixels."""
    down, across = np.meshgrid(*(np.linspace(-0.5, 0.5, NODES),) * 2, indexing="ij")
    x, y, size = np.asarray(bbox_info, np.float64).reshape(-1, 3).T[:, :, None, None]
    points = np.stack([x + across * size * aspect, y + down * size, np.ones_like(x + down)], axis=-1)
    return camera.project(points)


def _length_px(uv: np.ndarray) -> np.ndarray:
    """The largest distance in the image between a box's upper and lower edge. uv: (..., NODES, NODES, 2) pixels. Returns (...,)."""
    return np.abs(uv[..., -1, :, :] - uv[..., 0, :, :]).max(axis=(-2, -1))


def _shrunk(image: np.ndarray) -> np.ndarray:
    """The image, shrunk if it is larger than LARGEST_PICTURE."""
    scale = min(most / side for most, side in zip(LARGEST_PICTURE, image.shape[:2]))
    if scale >= 1:
        return image
    import cv2

    width, height = (max(1, int(side * scale)) for side in image.shape[1::-1])
    return cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=cv2.INTER_AREA)


def _interpolation(count: int) -> np.ndarray:
    """(count, NODES) float32: linear interpolation weights of evenly spaced nodes for each pixel centre along a side."""
    at = (np.arange(count) + 0.5) / count * (NODES - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(NODES))).astype(np.float32)
