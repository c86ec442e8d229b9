"""BlazePose's person detector: one square window of the image in, candidate regions out.

The model is a single-shot detector (Liu et al. 2016) over 2,254 anchors. For each it gives a score, a box around the face
and four points, of which two are used: the hips' centre, and a point on the circle around the whole body, in the direction
of the head.
"""

from __future__ import annotations

import numpy as np

from hmr_ros.keypoints.litert import Network
from hmr_ros.keypoints.region import crop_square, region_from_alignment

ANCHOR_GRIDS = ((28, 2), (14, 2), (7, 6))
"""Cells along a side, and anchors per cell, of each of the model's feature maps."""
OVERLAP = 0.3
"""Boxes in one window that overlap more than this (intersection over union) are of the same person and are averaged."""


class PersonDetector:
    """Finds people in one window at a time; keeps nothing between calls."""

    def __init__(self, model: Network):
        self._model = model
        self._anchors = make_anchors()

    def __call__(self, image: np.ndarray, corner: np.ndarray, size: float, min_score: float):
        """People in a square window.

        image: (H, W, 3) uint8; corner: (2,) and size: the window, pixels from the image's corner; it may reach beyond the image.
        Returns regions (M, 2, 2) in pixels (see region.py) and scores (M,), best first.
        """
        crop = crop_square(image, corner, size, self._model.side)
        outputs = self._model(crop.astype(np.float32) * (2 / 255) - 1)
        count = len(self._anchors)
        boxes, points, scores = decode(
            outputs[count, 12], outputs[count, 1], self._anchors, self._model.side, min_score
        )
        points, scores = merge_overlapping(boxes, points, scores)
        points = corner + points * size - 0.5
        return region_from_alignment(points[:, 0], points[:, 1]), scores


def make_anchors() -> np.ndarray:
    """(2254, 2) float32: x, y of each anchor's centre as fractions of the window, in the model's order."""
    centers = []
    for cells, per_cell in ANCHOR_GRIDS:
        y, x = np.mgrid[:cells, :cells].reshape(2, -1)
        centers.append(np.repeat(np.stack([x, y], axis=1) + 0.5, per_cell, axis=0) / cells)
    return np.concatenate(centers).astype(np.float32)


def decode(raw: np.ndarray, logits: np.ndarray, anchors: np.ndarray, side: int, min_score: float):
    """Decode the model's outputs to boxes and points, for anchors that score at least `min_score`.

    raw: (A, 12) centre, width and height of the box, then four points, all in input pixels relative to the anchor;
    logits: (A, 1). Returns boxes (M, 4) as x0 y0 x1 y1, points (M, 4, 2), scores (M,); fractions of the window.
    """
    scores = 1 / (1 + np.exp(-np.clip(logits[:, 0], -80, 80)))
    keep = scores >= min_score
    raw, anchors, scores = raw[keep] / side, anchors[keep], scores[keep]
    center, half = anchors + raw[:, :2], raw[:, 2:4] / 2
    points = anchors[:, None] + raw[:, 4:].reshape(-1, 4, 2)
    return np.concatenate([center - half, center + half], axis=1), points, scores


def merge_overlapping(boxes: np.ndarray, points: np.ndarray, scores: np.ndarray):
    """Weighted non-maximum suppression (Bazarevsky et al. 2019): overlapping candidates become their score-weighted mean.

    Returns points (P, 4, 2) and the best score of each group (P,), best first.
    """
    order = np.argsort(-scores, kind="stable")
    merged, best = [], []
    while len(order):
        group = overlap(boxes[order[0]], boxes[order]) > OVERLAP
        group[0] = True
        members = order[group]
        merged.append(np.average(points[members], axis=0, weights=scores[members]))
        best.append(scores[members[0]])
        order = order[~group]
    return np.array(merged, np.float32).reshape(-1, 4, 2), np.array(best, np.float32)


def overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box (4,) with many (M, 4). Returns (M,)."""
    shared = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return shared / np.maximum(areas + (box[2:] - box[:2]).prod() - shared, 1e-9)
