"""BlazePose's landmark model: one person's region in, 33 landmarks and the region for the next frame out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmr_ros.keypoints.litert import Network
from hmr_ros.keypoints.region import crop_region, region_axes, region_from_alignment, region_to_image

NUM_LANDMARKS = 33
UNWANTED = ((256, 256, 1),)
"""Outputs that `LandmarkModel` does not read: a segmentation mask of the person, which takes a third of the network's time."""
VISIBLE = 0.5
"""Landmarks of at least this confidence are used when people are compared."""
MIRRORED = [0, 4, 5, 6, 1, 2, 3, 8, 7, 10, 9, *(11 + (i ^ 1) for i in range(22)), 33, 34]
"""For each landmark, the row of its counterpart on the other side; the two alignment points keep theirs."""
HEATMAP_RADIUS = 3
"""Heat map cells on each side that take part in refining a landmark's position."""
HEATMAP_MIN_PEAK = 0.5
"""If no heat map cell near a landmark reaches this, the landmark stays where the regression put it."""


@dataclass(frozen=True)
class Landmarks:
    """What the model sees in one region."""

    uv: np.ndarray
    """(33, 2) float32, pixels."""
    confidence: np.ndarray
    """(33,) float32 in [0, 1]."""
    world: np.ndarray
    """(33, 3) float32, metres, from the hips' centre; x right, y down, z along the ray to the person."""
    score: float
    """In [0, 1]: whether there is a person in the region at all."""
    next_region: np.ndarray
    """(2, 2) float32, pixels: where to look in the next frame."""


class LandmarkModel:
    """Finds the landmarks of one person; keeps nothing between calls."""

    def __init__(self, model: Network):
        self._model = model

    def __call__(self, image: np.ndarray, region: np.ndarray, mirrored: bool = False) -> Landmarks:
        """image: (H, W, 3) uint8; region: (2, 2), pixels (see region.py); mirrored: flip the crop left to right. The
        results are flipped back, so that both ways give the same except for the model's asymmetry between left and right."""
        side = self._model.side
        crop = crop_region(image, region, side)
        if mirrored:
            crop = crop[:, ::-1]
        outputs = self._model(crop.astype(np.float32) * (1 / 255))
        raw = outputs[(195,)].reshape(39, 5)
        # 33 landmarks, then the two alignment points of the next region; the last four rows are not documented.
        in_region = refine(raw[:35, :2] / side, outputs[64, 64, 39][..., :35])
        world = outputs[(117,)].reshape(39, 3)[:NUM_LANDMARKS].copy()
        if mirrored:
            raw, in_region = raw[MIRRORED], np.array((1, 0)) + in_region[MIRRORED] * (-1, 1)
            world = world[MIRRORED[:NUM_LANDMARKS]] * (-1, 1, 1)
        uv = region_to_image(in_region, region).astype(np.float32)
        axes = region_axes(region)
        world[:, :2] = world[:, :2] @ (axes / np.linalg.norm(axes[0]))
        # Two logits, visible and inside the region: both must hold, so the smaller counts.
        confidence = 1 / (1 + np.exp(-np.clip(raw[:NUM_LANDMARKS, 3:5].min(axis=1), -80, 80)))
        return Landmarks(
            uv[:NUM_LANDMARKS], confidence, world, float(outputs[(1,)][0]), region_from_alignment(uv[33], uv[34])
        )


def refine(points: np.ndarray, heatmap: np.ndarray) -> np.ndarray:
    """Move points to the centre of mass of the heat map around them, where it has a peak.

    points: (K, 2), fractions of the region; heatmap: (H, W, K) logits. Returns (K, 2).
    """
    height, width, count = heatmap.shape
    size = np.array([width, height])
    cell = np.floor(points * size).astype(int)
    offsets = np.arange(-HEATMAP_RADIUS, HEATMAP_RADIUS + 1)
    x, y = cell[:, 0, None, None] + offsets, cell[:, 1, None, None] + offsets[:, None]
    x, y = np.broadcast_arrays(x, y)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    logits = heatmap[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1), np.arange(count)[:, None, None]]
    weight = np.where(inside, 1 / (1 + np.exp(-np.clip(logits, -80, 80))), 0)
    total = weight.sum(axis=(1, 2))
    mass = np.stack([(weight * x).sum(axis=(1, 2)), (weight * y).sum(axis=(1, 2))], axis=1)
    refined = mass / np.maximum(total, 1e-9)[:, None] / size
    peaked = weight.max(axis=(1, 2)) >= HEATMAP_MIN_PEAK
    return np.where(peaked[:, None], refined, points)
