"""How far away a person really is, from a depth image of the same view.

A single camera knows a person's distance only as well as their size. A depth image measures it: at every keypoint that is seen, the
skin's distance plus how deep inside the body the keypoint lies. The median over keypoints is robust to those where the depth image
shows something else.
"""

from __future__ import annotations

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.types import BodyPose, Frame, Keypoints

PATCH_PX = 2
"""Depth is looked up in a square of this many pixels to each side, because depth cameras leave holes, mostly at edges."""
NEAR_PERCENTILE = 25.0
"""Percentile of the depths in a square: a thin limb fills only a part of it, and what is behind the limb is farther away."""
MAX_SPREAD_M = 0.3
"""Where the depth at a keypoint disagrees with the median by more, it is of something in front of or behind the person."""
MIN_KEYPOINTS = 4
"""With fewer keypoints that agree, the distance estimated without depth is kept."""


class MetricDepth:
    """Moves people along the viewing ray to the distance that a depth image shows. Keeps nothing between calls."""

    def __init__(self, body: BodyModel):
        self._body = body
        upright = np.broadcast_to(np.eye(3, dtype=np.float32), (1, 24, 3, 3))
        inside = body.keypoints(upright, np.zeros((1, 10), np.float32))[0][:, None] - body.v_template
        self._under_skin = np.linalg.norm(inside, axis=-1).min(axis=1)  # (23,) metres

    def __call__(self, pose: BodyPose, seen: Keypoints, frame: Frame) -> tuple[BodyPose, np.ndarray]:
        """Corrected bodies, and (N,) bool: whose distance was corrected, because enough keypoints had usable depth.

        seen: the keypoints that `pose` was fitted to. Rotations, shape and the pelvis's place in the image do not change.
        """
        if frame.depth is None:
            return pose, np.zeros(len(pose), bool)
        body = (pose.rotmat, pose.betas, pose.transl)
        inside = self._body.keypoints(*body)[..., 2] - self._under_skin
        skin = np.where(seen.confidence > 0, inside, np.nan)
        shift, known = agreed(depth_at(frame.depth, seen.uv, frame.image.shape[:2]) - skin)
        pelvis = self._body.joints(*body)[0][:, 0]
        z = pelvis[:, 2]
        known &= (z > 0) & (z + shift > 0)
        farther = np.where(known, shift / np.where(known, z, 1), 0)[:, None]
        return BodyPose(pose.rotmat, pose.betas, (pose.transl + farther * pelvis).astype(np.float32)), known


def depth_at(depth: np.ndarray, uv: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Depth around each pixel, (...,) metres, NaN where there is none.

    depth: (h, w) metres along z, 0 or not finite where unknown, of the same view but perhaps another resolution; uv: (..., 2)
    pixels of the image, whose height and width are `size`.
    """
    height, width = depth.shape
    scale = np.array([width / size[1], height / size[0]])
    cell = np.floor((uv + 0.5) * scale)
    cell = np.where(np.isfinite(cell), cell, -1e6).astype(int)[..., None, :]
    reach = np.arange(-PATCH_PX, PATCH_PX + 1)
    cell = cell + np.stack(np.meshgrid(reach, reach), axis=-1).reshape(-1, 2)
    inside = ((cell >= 0) & (cell < (width, height))).all(axis=-1)
    column, row = np.clip(cell[..., 0], 0, width - 1), np.clip(cell[..., 1], 0, height - 1)
    values = depth[row, column].astype(float)
    return nan_percentile(np.where(inside & np.isfinite(values) & (values > 0), values, np.nan), NEAR_PERCENTILE)


def agreed(error: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The error that most of each person's keypoints agree on. error: (N, K) metres, NaN where unknown. Returns (N,) metres, 0 where too
    few agree, and (N,) bool: whether enough do."""
    middle = nan_percentile(error, 50)
    error = np.where(np.abs(error - middle[:, None]) <= MAX_SPREAD_M, error, np.nan)
    enough = np.isfinite(error).sum(axis=1) >= MIN_KEYPOINTS
    return np.where(enough, nan_percentile(error, 50), 0), enough


def nan_percentile(values: np.ndarray, percent: float) -> np.ndarray:
    """Along the last axis, the value at this percentile (the lower neighbour) of those that are not NaN; NaN where all are."""
    ordered = np.sort(values, axis=-1)  # NaN last
    known = np.isfinite(ordered).sum(axis=-1)
    index = np.floor((known - 1).clip(0) * percent / 100).astype(int)
    return np.take_along_axis(ordered, index[..., None], axis=-1)[..., 0]
