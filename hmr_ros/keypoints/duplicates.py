"""Remove people found twice. Keypoints decide, because the boxes of two people who embrace overlap as much as two boxes of one person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from hmr_ros.keypoints.blazepose_detector import overlap
from hmr_ros.keypoints.blazepose_landmarks import VISIBLE, Landmarks
from hmr_ros.keypoints.region import region_size

SAME_REGION = 0.1
"""Regions whose centres are closer than this fraction of the smaller one's side show the same person..."""
SAME_REGION_RATIO = 1.4
"""...unless one is this many times the size of the other."""
SAME_BOX = 0.35
"""Another detector's box and the box around the landmarks, which stop at the wrists, are of one person if their intersection over union is larger."""
ON_BODY = 0.04
"""A landmark closer than this to a bone, as a fraction of the region's side (1.35 body heights), is on that body."""
ON_BODY_FRACTION = 0.6
"""A person with more than this fraction of visible landmarks on the body of somebody seen better is that person, found twice."""
INCUMBENT_BONUS = 1.1
"""Of two skeletons on one body the one of higher mean confidence stays; for people followed already it is multiplied by this."""
Person = TypeVar("Person", bound=Landmarks)

_BONES = np.array(
    [
        (0, 11), (0, 12), (11, 12), (11, 23), (12, 24), (11, 24), (12, 23), (23, 24),
        (11, 13), (13, 15), (15, 19), (12, 14), (14, 16), (16, 20),
        (23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32),
    ]
)  # fmt: skip
"""Pairs of BlazePose landmarks; the diagonals of the trunk stand for its area."""


def same_region(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two regions (2, 2) show the same person, before their landmarks are known."""
    small, large = sorted((float(region_size(a)), float(region_size(b))))
    return float(np.linalg.norm(a[0] - b[0])) < SAME_REGION * small and large < SAME_REGION_RATIO * small


def unknown_regions(regions: np.ndarray, people: Sequence[Landmarks]) -> np.ndarray:
    """Those of the regions (M, 2, 2) where nobody is followed yet, each person once."""
    known = [person.next_region for person in people]
    fresh = []
    for region in regions:
        if not any(same_region(region, other) for other in known):
            known.append(region)
            fresh.append(region)
    return np.array(fresh, np.float32).reshape(-1, 2, 2)


def unknown_boxes(boxes: np.ndarray, people: Sequence[Landmarks], size: tuple[int, int]) -> np.ndarray:
    """Those of the boxes (M, 4), left top right bottom, that are not around a person followed already. size: the image's width and height."""
    # Landmarks go on where the image ends, boxes do not.
    inside = [np.clip(person.uv, 0, size) for person in people]
    around = [np.concatenate([uv.min(axis=0), uv.max(axis=0)]) for uv in inside]
    known = [overlap(box, boxes) > SAME_BOX for box in around]
    return boxes[~np.any(known, axis=0)] if known else boxes


def distinct(people: list[Person], incumbents: int = 0) -> list[Person]:
    """Everyone once, in the order given. The first `incumbents` were already followed and are preferred."""
    rank = [p.confidence.mean() * (INCUMBENT_BONUS if i < incumbents else 1) for i, p in enumerate(people)]
    kept: list[int] = []
    for i in sorted(range(len(people)), key=lambda i: -rank[i]):
        if not any(lies_on(people[i], people[j]) for j in kept):
            kept.append(i)
    return [people[i] for i in sorted(kept)]


def lies_on(a: Landmarks, b: Landmarks) -> bool:
    """Whether most of what is seen of `a` lies on the body of `b`."""
    points = a.uv[a.confidence >= VISIBLE]
    if not len(points):
        return True  # nothing to tell them apart by
    distance = distance_to_bones(points, b.uv[_BONES])
    return float(np.mean(distance < ON_BODY * region_size(b.next_region))) > ON_BODY_FRACTION


def distance_to_bones(points: np.ndarray, bones: np.ndarray) -> np.ndarray:
    """Distance of each point to the nearest line segment. points: (K, 2); bones: (B, 2, 2) both ends. Returns (K,)."""
    start, along = bones[:, 0], bones[:, 1] - bones[:, 0]
    from_start = points[:, None] - start
    where = (from_start * along).sum(axis=-1) / np.maximum((along * along).sum(axis=-1), 1e-9)
    return np.linalg.norm(from_start - np.clip(where, 0, 1)[..., None] * along, axis=-1).min(axis=-1)
