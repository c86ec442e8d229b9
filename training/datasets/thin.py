"""Leave out frames in which nobody has moved: a network learns little from an hour of standing."""

from __future__ import annotations

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.rotation import rotvec_to_rotmat
from training.datasets.people import People


def moved(people: People, body: BodyModel, distance_m: float) -> np.ndarray:
    """(N,) bool: frames whose joints lie on average at least `distance_m` from those of the last frame kept before them, seen from the pelvis.

    People are the frames of one sequence, in order. The first is always kept.
    """
    rotmat = rotvec_to_rotmat(people.poses.astype(np.float32))
    joints = body.joints(rotmat, np.zeros((len(people), 10), np.float32))[0]
    joints = joints - joints[:, :1]
    keep, last = np.zeros(len(people), bool), None
    for row in range(len(people)):
        if last is None or np.linalg.norm(joints[row] - last, axis=-1).mean() >= distance_m:
            keep[row], last = True, joints[row]
    return keep
