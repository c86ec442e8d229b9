"""How near a person is to a robot, and how fast the robot should go then.

NOT a safety function: nothing here is rated, certified or redundant, and a camera can miss a person. It may make a robot more
courteous; it must not be what keeps people from harm. For that see ISO 13849, ISO/TS 15066 and a certified sensor.
"""

from __future__ import annotations

import numpy as np

from hmr_ros.skeleton import BONES, JOINT_NAMES

_THICK = {
    "spine1": 0.2, "spine2": 0.2, "spine3": 0.24, "neck": 0.15, "collar": 0.15, "head": 0.18, "hip": 0.18, "knee": 0.14,
    "ankle": 0.1, "foot": 0.1, "shoulder": 0.16, "elbow": 0.09, "wrist": 0.08, "hand": 0.12,
}  # fmt: skip

BONE_RADII_M = np.array([_THICK[JOINT_NAMES[child].split("_")[-1]] for _, child in BONES])
"""(23,): capsules of these radii around the bones contain the whole open body, even of a big adult (measured, and tested)."""


def closest_m(joints: np.ndarray, links: np.ndarray, link_radius_m: float) -> float:
    """Smallest distance, metres, between the surfaces of people and robot; below 0 if they overlap, infinite without people or robot.

    joints: (N, 24, 3) metres, of N people; links: (L, 3) metres in the same frame, the robot's link frames along the arm, joined
    by capsules of `link_radius_m`.
    """
    if not len(joints) or not len(links):
        return float("inf")
    starts, ends = (links[:-1], links[1:]) if len(links) > 1 else (links, links)
    bones = joints[:, BONES].reshape(-1, 2, 3)
    radii = np.tile(BONE_RADII_M, len(joints))
    gaps = segment_distances(bones[:, None, 0], bones[:, None, 1], starts[None], ends[None])
    return float(np.min(gaps - radii[:, None])) - link_radius_m


def segment_distances(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Distance between the segments a-b and c-d, any broadcastable shapes (..., 3). Returns (...,).

    The nearest points are an end of one segment and a point of the other, or inside both: the least of these five distances counts.
    """
    inside = _inside_distance(a, b, c, d)
    ends = [_point_distance(p, *segment) for p, segment in ((a, (c, d)), (b, (c, d)), (c, (a, b)), (d, (a, b)))]
    return np.minimum(inside, np.minimum.reduce(ends))


def _point_distance(point: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    along = end - start
    share = _dot(point - start, along) / np.maximum(_dot(along, along), 1e-12)
    return np.linalg.norm(point - start - np.clip(share, 0, 1)[..., None] * along, axis=-1)


def _inside_distance(a, b, c, d) -> np.ndarray:
    """Distance between the lines where their nearest points lie within both segments; infinite elsewhere."""
    u, v, w = b - a, d - c, a - c
    uu, uv, vv, uw, vw = _dot(u, u), _dot(u, v), _dot(v, v), _dot(u, w), _dot(v, w)
    det = uu * vv - uv * uv
    safe = np.where(det > 1e-12, det, 1.0)
    s, t = (uv * vw - vv * uw) / safe, (uu * vw - uv * uw) / safe
    gap = np.linalg.norm(w + s[..., None] * u - t[..., None] * v, axis=-1)
    return np.where((det > 1e-12) & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1), gap, np.inf)


def _dot(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sum(x * y, axis=-1)


def speed_scale(distance_m: float, stop_m: float, slow_m: float) -> float:
    """0 (stop) up to `stop_m`, 1 (full speed) from `slow_m` on, linear in between. A distance of NaN gives 0."""
    if np.isnan(distance_m):
        return 0.0
    return float(np.clip((distance_m - stop_m) / (slow_m - stop_m), 0.0, 1.0))
