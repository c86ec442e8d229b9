"""Repair keypoints whose left and right are swapped: for some frames the detector takes a person's back for their front.

From a distance both explain the image, and BlazePose switches between them now and then: from one frame to the next all keypoints jump to the
other side, and back again some frames later. A person who turns round does not jump: in between they are seen from the side.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np

from hmr_ros import skeleton
from hmr_ros.crop import BOX_MARGIN, keypoint_box
from hmr_ros.per_track import PerTrack
from hmr_ros.types import Keypoints

NEARER = 0.6
"""It is clear whether sides are swapped if the keypoints, as given or mirrored, have moved less than this fraction of what the other version has..."""
JUMP = 0.04
"""...and the difference is more than this fraction of the person's size..."""
TURN = 0.5
"""...and, if there is 3D, the cosine of the angle by which shoulders and hips turned is higher by at least this."""
MEMORY_S = 0.5
"""Time constant of the belief in which side is which. A detector that insists on a change for ln 2 of this time, or for longer than it
claimed the opposite before, is believed."""
MAX_GAP_S = 0.5
"""Keypoints older than this are not compared with."""

_MIRROR = list(skeleton.MIRRORED_KEYPOINTS)
_LEFT, _RIGHT = (
    [skeleton.KEYPOINT_NAMES.index(f"{side}_{part}") for part in ("shoulder", "hip")] for side in ("left", "right")
)


class Sides(NamedTuple):
    """What is remembered of T people."""

    belief: np.ndarray
    """(T,) how certain it is which side is which, 0 to 1."""
    flipped: np.ndarray
    """(T,) bool: whether their keypoints were mirrored."""
    uv: np.ndarray
    confidence: np.ndarray
    score: np.ndarray
    xyz: np.ndarray
    """Their keypoints, mirrored where flipped, as in `Keypoints`; NaN for people without any 3D."""

    @property
    def seen(self) -> Keypoints:
        return Keypoints(*self[2:])


class FlipRepair(PerTrack[Sides]):
    """Mirrors back people whose keypoints jumped to the other side. Keeps each track's last keypoints and a belief."""

    def __init__(self):
        nobody = _with_xyz(Keypoints.empty())
        super().__init__(Sides(np.zeros(0), np.zeros(0, bool), *vars(nobody).values()))

    def __call__(self, ids: np.ndarray, seen: Keypoints, stamp_ns: int) -> Keypoints:
        """Everybody, in the order given. ids: (N,), one per person."""
        belief, flipped = np.zeros(len(ids)), np.zeros(len(ids), bool)
        now, elapsed_s, before = self._recall(ids, stamp_ns, MAX_GAP_S)
        side = clear_side(before.seen, _with_xyz(seen[now]))
        other = np.where(side == 0, before.flipped, side < 0)  # where neither is clear, all stays as it was
        # Each frame votes for one of the two, weighted by the time since the frame before.
        weight = 1 - np.exp(-elapsed_s / MEMORY_S)
        held = before.belief + weight * (np.where(other, -1, 1) - before.belief)
        belief[now], flipped[now] = np.abs(held), other & (held > 0)
        repaired = where_flipped(seen, flipped)
        self._remember(ids, stamp_ns, Sides(belief, flipped, *vars(_with_xyz(repaired)).values()))
        return repaired


def clear_side(before: Keypoints, now: Keypoints) -> np.ndarray:
    """(N,) int: 1 for people whose sides are clearly as they were a moment ago, -1 for clearly swapped, 0 if neither is clear.

    Both need `xyz`, NaN for people without 3D.
    """
    other = mirrored(now)
    straight, crossed = distance(before, now), distance(before, other)
    near, far = np.minimum(straight, crossed), np.maximum(straight, crossed)
    side = np.where(straight <= crossed, 1, -1)
    was, straight_axis, crossed_axis = (left_to_right(people.xyz) for people in (before, now, other))
    turn = side * ((was * straight_axis).sum(-1) - (was * crossed_axis).sum(-1))
    turned_less = ~(turn < TURN)  # NaN, no 3D: the 2D alone decides
    return np.where((near < NEARER * far) & (far - near > JUMP) & turned_less, side, 0)


def mirrored(seen: Keypoints) -> Keypoints:
    """The same people with left and right swapped. Their front becomes their back, so the depth of the 3D is reversed too."""
    xyz = None if seen.xyz is None else seen.xyz[:, _MIRROR] * np.array([1, 1, -1], seen.xyz.dtype)
    return Keypoints(seen.uv[:, _MIRROR], seen.confidence[:, _MIRROR], seen.score, xyz)


def where_flipped(seen: Keypoints, flipped: np.ndarray) -> Keypoints:
    """Mirror some of the people. flipped: (N,) bool, which ones."""
    if not flipped.any():
        return seen
    swap, other = flipped[:, None, None], mirrored(seen)
    xyz = None if seen.xyz is None else np.where(swap, other.xyz, seen.xyz)
    confidence = np.where(flipped[:, None], other.confidence, seen.confidence)
    return Keypoints(np.where(swap, other.uv, seen.uv), confidence, seen.score, xyz)


def left_to_right(xyz: np.ndarray) -> np.ndarray:
    """(N, 3) unit vectors along shoulders and hips."""
    axis = xyz[:, _RIGHT].sum(axis=1) - xyz[:, _LEFT].sum(axis=1)
    return axis / np.maximum(np.linalg.norm(axis, axis=-1, keepdims=True), 1e-9)


def distance(before: Keypoints, now: Keypoints) -> np.ndarray:
    """(N,): mean distance between the same people's keypoints, less their common movement, as a fraction of the size in `before`."""
    weight = before.confidence * now.confidence
    total = np.maximum(weight.sum(axis=1), 1e-9)[:, None]
    moved = np.where(weight[..., None] > 0, now.uv - before.uv, 0)
    moved = moved - ((weight[..., None] * moved).sum(axis=1) / total)[:, None]
    size = keypoint_box(before.uv, before.confidence)[1] / BOX_MARGIN
    return (weight * np.linalg.norm(moved, axis=-1) / total).sum(axis=1) / np.maximum(size, 1e-9)


def _with_xyz(seen: Keypoints) -> Keypoints:
    """The same people with `xyz`, NaN if they have no 3D."""
    if seen.xyz is not None:
        return seen
    return dataclasses.replace(seen, xyz=np.full((*seen.uv.shape[:2], 3), np.nan, np.float32))
