"""How far a recovered body is from the ground truth, in the metrics of the literature: MPJPE, PA-MPJPE, PVE.

Inputs are in metres, results in millimetres; any leading batch shape, one number per body.
"""

from __future__ import annotations

import numpy as np


def mpjpe(joints: np.ndarray, truth: np.ndarray, root: int | None = 0) -> np.ndarray:
    """Mean per-joint position error, mm, after moving both roots to the origin (`root=None`: absolute).

    joints, truth: (..., J, 3), metres. Returns (...,).
    """
    if root is not None:
        joints, truth = joints - joints[..., root : root + 1, :], truth - truth[..., root : root + 1, :]
    return 1000 * np.linalg.norm(joints - truth, axis=-1).mean(axis=-1)


def pa_mpjpe(joints: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """MPJPE after the best similarity transform (rotation, scale, translation) of each body onto its truth, mm.

    joints, truth: (..., J, 3), metres. Returns (...,).
    """
    return mpjpe(procrustes_align(joints, truth), truth, root=None)


def pve(
    vertices: np.ndarray, truth: np.ndarray, root: np.ndarray | None = None, truth_root: np.ndarray | None = None
) -> np.ndarray:
    """Per-vertex error, mm: mean vertex distance after moving each body's root to the origin.

    vertices, truth: (..., V, 3), metres; root, truth_root: (..., 3), metres, or None for no alignment. Returns (...,).
    """
    if root is not None and truth_root is not None:
        vertices, truth = vertices - root[..., None, :], truth - truth_root[..., None, :]
    return mpjpe(vertices, truth, root=None)


def procrustes_align(points: np.ndarray, target: np.ndarray) -> np.ndarray:
    """`points` moved onto `target` by the similarity transform of least squared error (Umeyama, PAMI 1991).

    points, target: (..., J, 3). Returns (..., J, 3). Points that coincide cannot be scaled: they go to the target's centroid.
    """
    rotmat, scale = similarity(points, target)
    centred = points - points.mean(axis=-2, keepdims=True)
    turned = centred @ np.swapaxes(rotmat, -1, -2)
    return scale[..., None, None] * turned + target.mean(axis=-2, keepdims=True)


def similarity(points: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation (..., 3, 3) and scale (...,) of the similarity transform of least squared error that moves `points` onto `target`.

    points, target: (..., J, 3) (Umeyama, PAMI 1991).
    """
    centred, goal = (x - x.mean(axis=-2, keepdims=True) for x in (points, target))
    u, singular, vt = np.linalg.svd(np.swapaxes(goal, -1, -2) @ centred)
    # Without this sign the best orthogonal matrix may be a reflection: a mirrored body would score as a perfect one.
    sign = np.ones_like(singular)
    sign[..., 2] = np.where(np.linalg.det(u @ vt) < 0, -1, 1)
    rotmat = (u * sign[..., None, :]) @ vt
    spread = np.maximum((centred**2).sum(axis=(-1, -2)), np.finfo(points.dtype).tiny)
    return rotmat, (singular * sign).sum(axis=-1) / spread


def reprojection_error(uv: np.ndarray, observed: np.ndarray, confidence: np.ndarray) -> float:
    """Mean distance of projected keypoints from those observed, pixels, over the keypoints with confidence above 0.

    uv, observed: (J, 2) pixels; confidence: (J,). Returns NaN when nothing was observed.
    """
    seen = np.asarray(confidence) > 0
    return float(np.linalg.norm(uv[seen] - observed[seen], axis=-1).mean()) if seen.any() else float("nan")
