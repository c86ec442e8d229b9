"""Errors of BlazePose's own 3D, bone by bone: it shortens bones that point along the view, more so where it is less certain.

A landmark network's depth is a guess between all poses that would look alike, so it is biased towards their mean.
`python -m training.detector_loop --report FILE` measures that on rendered people (`measure`). On photographs the bias is smaller,
so a severity is drawn for each person.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmr_ros import skeleton
from training.draws import Draw


class Bone(NamedTuple):
    """Errors of one kind of bone in the detector's 3D, at full severity. Axes: the ray to the person is z."""

    across: float
    """Detected length across the view, as a fraction of the true one."""
    along: float
    """The same along the view."""
    sigma_across_m: float
    sigma_along_m: float


BONES = {
    "hips": Bone(1.10, 1.10, 0.020, 0.020),
    "trunk": Bone(0.95, 0.59, 0.030, 0.060),
    "shoulders": Bone(0.99, 1.00, 0.025, 0.040),
    "head": Bone(1.06, 0.98, 0.020, 0.050),
    "upper_arm": Bone(0.86, 0.39, 0.025, 0.065),
    "forearm": Bone(0.92, 0.58, 0.025, 0.075),
    "thigh": Bone(0.95, 0.43, 0.030, 0.062),
    "shank": Bone(0.88, 0.60, 0.030, 0.085),
    "foot": Bone(0.70, 0.30, 0.030, 0.050),
}
"""Rounded from `measure` on 889 renders of held-out poses (1,500 of varied poses agree within 0.1, except for the head: 0.7).
Errors across the view are half of those on renders: the rest comes from people detected facing the wrong way."""
SEVERITY = 0.2, 1.1
"""Range: from photographs, which the network was trained on, to renders, which it was not."""
_CHILD_OF = {
    "elbow": "upper_arm", "wrist": "forearm", "knee": "thigh", "ankle": "shank", "heel": "foot", "big_toe": "foot",
    "small_toe": "foot", "nose": "head", "eye": "head", "ear": "head",
}  # fmt: skip
_PARENT_OF = {"elbow": "shoulder", "wrist": "elbow", "knee": "hip", "ankle": "knee", "heel": "ankle",
              "big_toe": "ankle", "small_toe": "ankle"}  # fmt: skip
LEFT_HIP, RIGHT_HIP, LEFT_SHOULDER, RIGHT_SHOULDER = (
    skeleton.KEYPOINT_NAMES.index(f"{side}_{part}") for part in ("hip", "shoulder") for side in ("left", "right")
)


def bone_rows() -> tuple[np.ndarray, list[str]]:
    """Matrix (23, 23) from keypoints relative to the hips' centre to bones, and the kind of each bone.

    A keypoint's row is the bone that ends there. The left hip's row is half of the line between the hips; with their centre it determines
    both, so the right hip's row is free for the trunk. Likewise for the shoulders; the right one's row is the hips' centre, without error.
    """
    names = skeleton.KEYPOINT_NAMES
    rows, kinds = np.eye(len(names)), [""] * len(names)
    for i, name in enumerate(names):
        side, _, part = name.partition("_") if "_" in name else ("", "", name)
        if part in _CHILD_OF:
            kinds[i] = _CHILD_OF[part]
            if part in _PARENT_OF:
                rows[i, names.index(f"{side}_{_PARENT_OF[part]}")] = -1
            else:
                rows[i, [LEFT_SHOULDER, RIGHT_SHOULDER]] = -0.5
    rows[LEFT_HIP, [LEFT_HIP, RIGHT_HIP]] = 0.5, -0.5
    rows[RIGHT_HIP] = 0
    rows[RIGHT_HIP, [LEFT_SHOULDER, RIGHT_SHOULDER]] = 0.5
    rows[LEFT_SHOULDER, [LEFT_SHOULDER, RIGHT_SHOULDER]] = 0.5, -0.5
    rows[RIGHT_SHOULDER] = 0
    rows[RIGHT_SHOULDER, [LEFT_HIP, RIGHT_HIP]] = 0.5
    kinds[LEFT_HIP], kinds[RIGHT_HIP], kinds[LEFT_SHOULDER], kinds[RIGHT_SHOULDER] = "hips", "trunk", "shoulders", ""
    return rows, kinds


class BoneErrors:
    """Adds random errors as in BONES. device: where they are drawn."""

    def __init__(self, device: torch.device):
        rows, kinds = bone_rows()
        back = np.linalg.inv(rows)  # keypoints from bones
        known = [BONES.get(kind, Bone(1, 1, 0, 0)) for kind in kinds]

        def constant(values) -> Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.float32, device=device)

        self.rows, self.back = constant(rows), constant(back)
        self.across, self.along = constant([b.across for b in known]), constant([b.along for b in known])
        self.sigma = constant([(b.sigma_across_m, b.sigma_across_m, b.sigma_along_m) for b in known])

    def __call__(self, points: Tensor, uniform: Draw, normal: Draw) -> Tensor:
        """points: (B, 23, 3) metres from the hips' centre, the ray to the person as z. Returns them as the detector reports them."""
        batch = len(points)
        severity = SEVERITY[0] + (SEVERITY[1] - SEVERITY[0]) * uniform(batch, 1)
        shortening = 1 - severity * (1 - self.along / self.across) + 0.12 * normal(batch, len(self.across))
        scale = torch.stack([self.across.expand_as(shortening)] * 2 + [self.across * shortening], dim=-1)
        spread = ((0.3 + 0.6 * severity) * torch.exp(0.4 * normal(batch, 1))).unsqueeze(-1)
        bones = scale * (self.rows @ points) + spread * self.sigma * normal(*points.shape)
        return self.back @ bones


def measure(seen: np.ndarray, true: np.ndarray) -> dict[str, Bone]:
    """Measure what `BONES` is rounded from. Both (N, 23, 3) metres, the ray to the person as z, from their own hips' centre."""
    rows, kinds = bone_rows()
    seen, true = (np.einsum("ij,njk->nik", rows, x) for x in (seen, true))
    found = {}
    for kind in BONES:
        which = [i for i, k in enumerate(kinds) if k == kind and "small_toe" not in skeleton.KEYPOINT_NAMES[i]]
        across = [_slope(true[:, which, k].ravel(), seen[:, which, k].ravel()) for k in (0, 1)]
        along, sigma_along = _slope(true[:, which, 2].ravel(), seen[:, which, 2].ravel())
        lengths = [np.linalg.norm(x[:, which], axis=-1) for x in (seen, true)]
        flat = np.abs(true[:, which, 2]) < 0.3 * lengths[1]
        found[kind] = Bone(
            float(np.median((lengths[0] / np.maximum(lengths[1], 1e-6))[flat])), along,
            float(np.mean([s for _, s in across])), sigma_along,
        )  # fmt: skip
    return found


def _slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    """Robust slope of y on x through the origin, and the residual's standard deviation, estimated from its median."""
    weight = np.ones(len(x))
    for _ in range(20):
        slope = (weight * x * y).sum() / (weight * x * x).sum()
        residual = y - slope * x
        sigma = max(1.48 * np.median(np.abs(residual)), 1e-9)
        weight = 1 / (1 + (residual / (2 * sigma)) ** 2)
    return float(slope), float(sigma)
