"""Rotations as 6D, matrix, rotation vector and quaternion, over any leading batch shape.

Pure numpy functions, named <from>_to_<to>. Quaternions are x, y, z, w, as in ROS, with w >= 0.
"""

from __future__ import annotations

import numpy as np

_TINY = 1e-8


def rot6d_to_rotmat(rot6d: np.ndarray) -> np.ndarray:
    """Gram-Schmidt on the first two columns of the matrix (Zhou et al., CVPR 2019, section B).

    rot6d: (..., 6), the two columns one after the other. Returns (..., 3, 3), orthonormal with determinant 1.
    """
    a, b = rot6d[..., :3], rot6d[..., 3:]
    x = a / np.maximum(np.linalg.norm(a, axis=-1, keepdims=True), _TINY)
    b = b - np.sum(x * b, axis=-1, keepdims=True) * x
    y = b / np.maximum(np.linalg.norm(b, axis=-1, keepdims=True), _TINY)
    return np.stack([x, y, np.cross(x, y)], axis=-1)


def rotmat_to_rot6d(rotmat: np.ndarray) -> np.ndarray:
    """(..., 3, 3) to (..., 6): the first two columns, one after the other."""
    return np.concatenate([rotmat[..., 0], rotmat[..., 1]], axis=-1)


def rotvec_to_rotmat(rotvec: np.ndarray) -> np.ndarray:
    """Rodrigues' formula. rotvec: (..., 3), radians. Returns (..., 3, 3)."""
    angle = np.linalg.norm(rotvec, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(rotvec, -1, 0)
    zero = np.zeros_like(x)
    k = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(*rotvec.shape[:-1], 3, 3)
    # sin(a)/a and (1-cos(a))/a^2, exact and smooth at zero: np.sinc(t) = sin(pi t)/(pi t).
    s = np.sinc(angle / np.pi)
    c = 0.5 * np.sinc(angle / (2 * np.pi)) ** 2
    return (np.eye(3, dtype=rotvec.dtype) + s * k + c * (k @ k)).astype(rotvec.dtype)


def rotmat_to_quat(rotmat: np.ndarray) -> np.ndarray:
    """(..., 3, 3) to (..., 4) as x, y, z, w with w >= 0 (Shepperd's method: divide by the largest component)."""
    xx, xy, xz, yx, yy, yz, zx, zy, zz = rotmat.reshape(-1, 9).T
    # Four times the pairwise products of the components. Every row is a multiple of the quaternion; that of the largest component is exact.
    products = np.empty((4, 4, xx.size), np.result_type(rotmat, np.float32))
    products[0, 0], products[1, 1], products[2, 2] = 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz
    products[3, 3] = 1 + xx + yy + zz
    products[0, 1] = products[1, 0] = xy + yx
    products[0, 2] = products[2, 0] = xz + zx
    products[1, 2] = products[2, 1] = yz + zy
    products[0, 3] = products[3, 0] = zy - yz
    products[1, 3] = products[3, 1] = xz - zx
    products[2, 3] = products[3, 2] = yx - xy
    best = np.argmax(products[range(4), range(4)], axis=0)
    quat = products[best, :, range(xx.size)]
    quat /= np.linalg.norm(quat, axis=-1, keepdims=True)
    quat[quat[:, 3] < 0] *= -1
    return quat.reshape(*rotmat.shape[:-2], 4)


def quat_to_rotmat(quat: np.ndarray) -> np.ndarray:
    """(..., 4) as x, y, z, w (any norm but zero) to (..., 3, 3)."""
    quat = quat / np.linalg.norm(quat, axis=-1, keepdims=True)
    x, y, z, w = np.moveaxis(quat, -1, 0)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return np.stack(rows, axis=-1).reshape(*quat.shape[:-1], 3, 3)


def quat_to_rotvec(quat: np.ndarray) -> np.ndarray:
    """(..., 4) unit, x, y, z, w, w >= 0, to (..., 3), radians."""
    xyz, w = quat[..., :3], quat[..., 3:]
    sine = np.linalg.norm(xyz, axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, w)
    # angle / sin(angle / 2) tends to 2 at zero.
    return xyz * np.where(sine > _TINY, angle / np.maximum(sine, _TINY), 2.0)


def rotmat_to_rotvec(rotmat: np.ndarray) -> np.ndarray:
    """(..., 3, 3) to (..., 3), radians, angle in [0, pi]; through the quaternion, so accurate near pi too."""
    return quat_to_rotvec(rotmat_to_quat(rotmat)).astype(rotmat.dtype)
