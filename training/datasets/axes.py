"""Turn poses from one set of axes to another: only the root's rotation depends on them."""

from __future__ import annotations

import numpy as np

from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat

R_y_up_z_up = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
"""From a world with z up (AMASS) to one with y up."""


def turn_root(poses: np.ndarray, rotmat: np.ndarray) -> np.ndarray:
    """Poses (N, 24, 3), axis-angle, in the axes to which `rotmat`, (3, 3) or (N, 3, 3), leads."""
    turned = np.array(poses, np.float64)
    turned[:, 0] = rotmat_to_rotvec(rotmat @ rotvec_to_rotmat(turned[:, 0]))
    return turned
