"""Stable track ids for detections: each continues the track whose keypoints were expected nearest to its own."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

from hmr_ros import skeleton
from hmr_ros.config import TrackerConfig
from hmr_ros.crop import keypoint_box
from hmr_ros.types import BACK_S, Keypoints

JUMP_S = 2.0
"""Stamps that jump forward by more than this (or `max_gap_s`, if longer) mean a new recording, not a slow camera, and so do those that
jump back by more than BACK_S. A smaller jump back is an image out of order, which is treated as if taken at the time of the last one."""
VELOCITY_TIME_S = 1 / 30
"""Time constant of a person's velocity: at 30 Hz the newest frame counts for half."""
_IMPOSSIBLE = 1e6
_MIRROR = list(skeleton.MIRRORED_KEYPOINTS)


class Tracker:
    """Gives every detection the id of the track it continues.

    Ids count up from 0 and are not used twice before `reset`. Where stamps jump (a bag that loops), all tracks are dropped.
    After each `update`, `lost_ids` holds the ids that it dropped, whose state other stages should drop too, and `stamp_ns` the
    frame's time, which runs backwards only where stamps jump.
    """

    def __init__(self, config: TrackerConfig):
        self.config = config
        self.reset()

    def reset(self) -> None:
        """Forget everyone and start over at id 0."""
        self._next_id = 0
        self.stamp_ns = 0
        self.lost_ids = np.zeros(0, np.int64)
        self._forget_everyone()

    def update(self, keypoints: Keypoints, stamp_ns: int) -> np.ndarray:
        """keypoints: N people of one frame; stamp_ns: its capture time.

        Returns (N,) int64 ids; -1 for people not yet seen in `min_hits` frames or without any usable keypoint.
        """
        # A keypoint without confidence may hold anything, even NaN.
        uv, confidence = np.where(keypoints.confidence[..., None] > 0, keypoints.uv, 0), keypoints.confidence
        size = keypoint_box(uv, confidence)[1]
        known = self._ids[self._ids >= 0]
        if self._is_restart(stamp_ns):
            self._forget_everyone()
        else:
            stamp_ns = max(stamp_ns, self.stamp_ns)
        self._give_up(stamp_ns)
        tracks, people = self._assign(uv, confidence, size, stamp_ns)
        self._follow(tracks, uv[people], confidence[people], size[people], stamp_ns)
        strangers = np.setdiff1d(np.flatnonzero(size > 0), people)
        begun = self._begin(uv[strangers], confidence[strangers], size[strangers], stamp_ns)
        ids = np.full(len(keypoints), -1, np.int64)
        ids[people], ids[strangers] = self._ids[tracks], self._ids[begun]
        self.stamp_ns = stamp_ns
        self.lost_ids = np.setdiff1d(known, self._ids)
        return ids

    def _is_restart(self, stamp_ns: int) -> bool:
        elapsed_s = (stamp_ns - self.stamp_ns) / 1e9
        return elapsed_s < -BACK_S or elapsed_s > max(JUMP_S, self.config.max_gap_s)

    def _give_up(self, stamp_ns: int) -> None:
        """Drop tracks unseen for too long; never those seen in the frame before, however slow the camera."""
        self._keep((stamp_ns - self._seen_ns <= self.config.max_gap_s * 1e9) | (self._seen_ns == self.stamp_ns))

    def _assign(self, uv: np.ndarray, confidence: np.ndarray, size: np.ndarray, stamp_ns: int):
        """Indices of tracks and of the people that continue them: as many pairs as possible, then the least total distance."""
        elapsed_s = (stamp_ns - self._seen_ns) / 1e9
        expected = self._uv + (self._velocity * elapsed_s[:, None])[:, None]
        distance = np.minimum(  # a person keeps their track even if the detector swaps left and right
            keypoint_distance(expected, self._confidence, uv, confidence),
            keypoint_distance(expected, self._confidence, uv[:, _MIRROR], confidence[:, _MIRROR]),
        )
        distance = distance / np.maximum(np.maximum(self._size[:, None], size), 1e-9)
        allowed = (distance <= self.config.max_distance) & (size > 0)
        tracks, people = linear_sum_assignment(np.where(allowed, distance, _IMPOSSIBLE))
        chosen = allowed[tracks, people]
        return tracks[chosen], people[chosen]

    def _follow(
        self, tracks: np.ndarray, uv: np.ndarray, confidence: np.ndarray, size: np.ndarray, stamp_ns: int
    ) -> None:
        """Update tracks with the detections that continue them."""
        elapsed_s = (stamp_ns - self._seen_ns[tracks])[:, None] / 1e9
        shared = (confidence * self._confidence[tracks])[..., None]
        moved = (shared * (uv - self._uv[tracks])).sum(axis=1) / np.maximum(shared.sum(axis=1), 1e-9)
        # The shorter the time passed, the less the movement tells of the speed; a repeated stamp tells nothing.
        gain = elapsed_s / (elapsed_s + VELOCITY_TIME_S)
        self._velocity[tracks] += gain * (moved / np.maximum(elapsed_s, 1e-9) - self._velocity[tracks])
        self._uv[tracks], self._confidence[tracks], self._size[tracks] = uv, confidence, size
        self._seen_ns[tracks] = stamp_ns
        self._hits[tracks] += 1
        self._report(tracks)

    def _begin(self, uv: np.ndarray, confidence: np.ndarray, size: np.ndarray, stamp_ns: int) -> np.ndarray:
        """Start new tracks. Returns their indices."""
        count, first = len(uv), len(self._ids)
        fresh = {
            "_ids": np.full(count, -1, np.int64),
            "_hits": np.ones(count, np.int64),
            "_seen_ns": np.full(count, stamp_ns, np.int64),
            "_uv": uv,
            "_confidence": confidence,
            "_size": size,
            "_velocity": np.zeros((count, 2)),
        }
        for name, values in fresh.items():
            setattr(self, name, np.concatenate([getattr(self, name), values]))
        begun = np.arange(first, first + count)
        self._report(begun)
        return begun

    def _report(self, tracks: np.ndarray) -> None:
        """Give an id to tracks seen often enough. Not earlier, so that detections that flicker up once use up no ids."""
        ready = tracks[(self._ids[tracks] < 0) & (self._hits[tracks] >= self.config.min_hits)]
        self._ids[ready] = self._next_id + np.arange(len(ready))
        self._next_id += len(ready)

    def _forget_everyone(self) -> None:
        self._ids, self._hits, self._seen_ns = (np.zeros(0, np.int64) for _ in range(3))
        self._uv, self._confidence = np.zeros((0, 23, 2), np.float32), np.zeros((0, 23), np.float32)
        self._size, self._velocity = np.zeros(0, np.float32), np.zeros((0, 2))

    def _keep(self, mask: np.ndarray) -> None:
        for name in ("_ids", "_hits", "_seen_ns", "_uv", "_confidence", "_size", "_velocity"):
            setattr(self, name, getattr(self, name)[mask])


def keypoint_distance(uv_a: np.ndarray, confidence_a: np.ndarray, uv_b: np.ndarray, confidence_b: np.ndarray):
    """Mean distance of the keypoints that both have, weighted by both confidences; without any, that of the box centres.

    uv: (A, J, 2) and (B, J, 2); confidence: (A, J) and (B, J). Returns (A, B), in the unit of uv.
    """
    weight = confidence_a[:, None] * confidence_b[None]
    apart = np.linalg.norm(uv_a[:, None] - uv_b[None], axis=-1)
    total = weight.sum(axis=-1)
    centers_a, centers_b = keypoint_box(uv_a, confidence_a)[0], keypoint_box(uv_b, confidence_b)[0]
    apart_centers = np.linalg.norm(centers_a[:, None] - centers_b[None], axis=-1)
    return np.where(total > 0, (weight * apart).sum(axis=-1) / np.maximum(total, 1e-9), apart_centers)
