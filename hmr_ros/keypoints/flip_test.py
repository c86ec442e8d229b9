"""Run the landmark model on a person's image and on its mirror image in turn.

The landmark model is not quite symmetric: its results for an image and for the mirror image differ, and the mean of both is
nearer to the ground truth. Two looks cost twice the time, so plain and mirrored frames alternate: the 3D is the mean of the last two
looks, and the 2D, which must not lag, is corrected by how much the two kinds of look have differed recently.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hmr_ros.keypoints.blazepose_landmarks import VISIBLE, Landmarks
from hmr_ros.keypoints.region import region_size

Model = Callable[..., Landmarks]
"""A `LandmarkModel`, or several copies of one for use by several threads (`WorkerPool.copies`)."""
GAIN = 0.3
"""Weight of the newest difference between the two kinds of look in the running mean."""
MAX_GAP_S = 0.15
"""A person last seen longer ago has moved too much for a comparison: both looks are taken at once."""
SAME = 0.1
"""Two looks whose visible landmarks are farther apart than this on average, as a fraction of the region's side, do not see the same thing:
the person jumped, or one of the looks confused left and right."""


@dataclass(frozen=True)
class Look(Landmarks):
    """Corrected landmarks, and what the next look is compared with."""

    raw: Landmarks
    """As the network gave them."""
    mirrored: bool
    stamp_ns: int
    difference: np.ndarray
    """(33, 2): each landmark's position in mirrored looks minus that in plain ones, as a fraction of the region's side; running mean."""
    step: np.ndarray | None = None
    """(33, 2), fractions of the region's side: `raw` minus that of the look before, if there was one."""


def look_plainly(model: Model, image: np.ndarray, region: np.ndarray, stamp_ns: int) -> Look:
    """One plain look, without correction."""
    raw = model(image, region)
    return _look(raw, False, stamp_ns, raw.world, raw.confidence, np.zeros_like(raw.uv))


def look_both_ways(model: Model, image: np.ndarray, region: np.ndarray, stamp_ns: int) -> Look:
    """Both looks at once, for people without an earlier look. If the two don't agree, the plain one alone."""
    plain, mirrored = model(image, region), model(image, region, mirrored=True)
    if not _same(plain, mirrored):
        mirrored = plain
    difference = (mirrored.uv - plain.uv) / region_size(plain.next_region)
    return _look(plain, False, stamp_ns, mirrored.world, mirrored.confidence, difference)


def look_again(model: Model, image: np.ndarray, last: Look, stamp_ns: int) -> Look:
    """One look at a person seen before: mirrored if the last one was plain, and the reverse."""
    if not 0 < stamp_ns - last.stamp_ns <= MAX_GAP_S * 1e9:
        return look_both_ways(model, image, last.next_region, stamp_ns)
    mirrored = not last.mirrored
    raw = model(image, last.next_region, mirrored)
    if not _same(raw, last.raw):
        return look_both_ways(model, image, last.next_region, stamp_ns)
    step = (raw.uv - last.raw.uv) / region_size(raw.next_region)
    difference = last.difference
    if last.step is not None:  # uniform motion cancels out of the second difference of three looks
        newest = (step - last.step) / 2
        difference = difference + GAIN * ((newest if mirrored else -newest) - difference)
    return _look(raw, mirrored, stamp_ns, last.raw.world, last.raw.confidence, difference, step)


def _look(raw: Landmarks, mirrored: bool, stamp_ns: int, other_world, other_confidence, difference, step=None) -> Look:
    """Correct `raw` with the results of the other kind of look."""
    half = difference * region_size(raw.next_region) / 2
    return Look(
        uv=(raw.uv - half if mirrored else raw.uv + half).astype(np.float32),
        confidence=(raw.confidence + other_confidence) / 2,
        world=(raw.world + other_world) / 2,
        score=raw.score,
        next_region=raw.next_region,
        raw=raw,
        mirrored=mirrored,
        stamp_ns=stamp_ns,
        difference=difference,
        step=step,
    )


def _same(a: Landmarks, b: Landmarks) -> bool:
    seen = np.minimum(a.confidence, b.confidence) >= VISIBLE
    if not seen.any():
        return False
    distance = np.linalg.norm(a.uv[seen] - b.uv[seen], axis=-1).mean()
    return bool(distance < SAME * region_size(a.next_region))
