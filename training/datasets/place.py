"""Solve for the translation of people whose pose and shape are known: their keypoints must project onto the annotated ones."""

from __future__ import annotations

import dataclasses

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.config import KeypointsConfig
from hmr_ros.rotation import rotvec_to_rotmat
from training.datasets.cameras import camera_of
from training.datasets.people import People

NEAREST_M = 0.3
"""Nobody is annotated nearer than this: a nearer solution is rejected."""


def placed(people: People, body: BodyModel) -> People:
    """The same people, with `transl` solved where it was unknown, and pose, betas of this body and enough 2D keypoints are known.

    Annotated keypoints take precedence over detected ones. A keypoint at X + t seen at u, v in normalised image coordinates obeys
    (X + t)_x = u (X + t)_z and the same for y: linear in t, solved by least squares weighted with the confidences.
    """
    annotated = people.confidence_2d.any(axis=1, keepdims=True)
    confidence = np.where(annotated, people.confidence_2d, people.confidence_detected)
    seen = np.where(annotated[..., None], people.keypoints_2d, people.detected_2d)
    enough = (confidence > 0).sum(axis=1) >= KeypointsConfig().min_keypoints
    posed = people.poses_known.all(axis=1) & people.betas_fit(body.shape_space)
    transl, known = people.transl.copy(), people.transl_known.copy()
    for row in np.flatnonzero(posed & enough & ~known):
        xyz = body.keypoints(rotvec_to_rotmat(people.poses[row])[None], people.betas[row][None])[0]
        xy = camera_of(people, row).normalise(seen[row])
        transl[row], known[row] = _solve(xyz, xy, confidence[row])
    return dataclasses.replace(people, transl=transl, transl_known=known)


def _solve(xyz: np.ndarray, xy: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, bool]:
    """xyz: (K, 3) of the body at transl 0; xy: (K, 2) normalised; weight: (K,). Returns transl (3,) and whether it is in front of the camera."""
    zero, one = np.zeros_like(weight), np.ones_like(weight)
    rows = np.stack([np.stack([one, zero, -xy[:, 0]], -1), np.stack([zero, one, -xy[:, 1]], -1)])
    right = np.stack([xy[:, 0] * xyz[:, 2] - xyz[:, 0], xy[:, 1] * xyz[:, 2] - xyz[:, 1]])
    root = np.sqrt(weight)
    solution = np.linalg.lstsq((rows * root[:, None]).reshape(-1, 3), (right * root).ravel(), rcond=None)[0]
    there = bool(np.isfinite(solution).all() and (xyz[:, 2] + solution[2])[weight > 0].min() > NEAREST_M)
    return np.where(there, solution, 0), there
