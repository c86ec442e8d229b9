"""Turning poses from one set of axes to another: only the root knows about them."""

from __future__ import annotations

import numpy as np

from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from training.datasets.people import People, people_of

R_y_up_z_up = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From a world with z up (AMASS) to one with y up."""
R_y_up_optical = np.diag([1.0, -1.0, -1.0])
"""From the optical frame of a camera that is taken to be level."""


def turn_root(poses: np.ndarray, rotmat: np.ndarray) -> np.ndarray:
    """Poses (N, 24, 3), axis-angle, seen from axes that `rotmat`, (3, 3) or (N, 3, 3), leads to."""
    turned = np.array(poses, np.float64)
    turned[:, 0] = rotmat_to_rotvec(rotmat @ rotvec_to_rotmat(turned[:, 0]))
    return turned


def to_y_up(people: People) -> People:
    """People of an image set as motion capture, for whatever makes its own cameras: the poses, and nothing that hangs on the image."""
    if people.axes == "y_up":
        return people
    poses = turn_root(people.poses, R_y_up_optical) * people.poses_known[..., None]
    names = ("sequence", "frame", "poses_known", "betas", "betas_known", "shape_space", "gender")
    return people_of(len(people), "y_up", poses=poses, **{name: getattr(people, name) for name in names})
