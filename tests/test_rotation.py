"""Rotations: there and back again, near the hard places too."""

import numpy as np
import pytest

from hmr_ros.rotation import (
    quat_to_rotmat,
    quat_to_rotvec,
    rot6d_to_rotmat,
    rotmat_to_quat,
    rotmat_to_rot6d,
    rotmat_to_rotvec,
    rotvec_to_rotmat,
)  # fmt: skip

RNG = np.random.default_rng(0)


def rotvecs(angle: float, count: int = 200) -> np.ndarray:
    axis = RNG.normal(size=(count, 3))
    return angle * axis / np.linalg.norm(axis, axis=-1, keepdims=True)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 1e-4, 1.0, 3.0, np.pi - 1e-3, np.pi - 1e-7])
def test_rotvec_and_back(angle):
    rotmat = rotvec_to_rotmat(rotvecs(angle))
    np.testing.assert_allclose(rotvec_to_rotmat(rotmat_to_rotvec(rotmat)), rotmat, atol=1e-7)


def test_rotvec_equals_the_matrix_exponential():
    from scipy.linalg import expm

    v = RNG.normal(size=3)
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    np.testing.assert_allclose(rotvec_to_rotmat(v), expm(k), atol=1e-12)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (0,)])
def test_any_batch_shape(shape):
    rotmat = rotvec_to_rotmat(RNG.normal(size=(*shape, 3)))
    for there, back in (
        (rotmat_to_quat, quat_to_rotmat),
        (rotmat_to_rot6d, rot6d_to_rotmat),
        (rotmat_to_rotvec, rotvec_to_rotmat),
    ):
        np.testing.assert_allclose(back(there(rotmat)), rotmat, atol=1e-9)


def test_quaternions_have_positive_w_and_agree_with_scipy():
    from scipy.spatial.transform import Rotation

    rotmat = rotvec_to_rotmat(rotvecs(2.5))
    quat = rotmat_to_quat(rotmat)
    assert (quat[:, 3] >= 0).all()
    np.testing.assert_allclose(Rotation.from_quat(quat).as_matrix(), rotmat, atol=1e-9)
    np.testing.assert_allclose(quat_to_rotvec(quat), Rotation.from_matrix(rotmat).as_rotvec(), atol=1e-7)


def test_rot6d_makes_a_rotation_of_anything():
    rotmat = rot6d_to_rotmat(RNG.normal(size=(100, 6)))
    np.testing.assert_allclose(rotmat @ np.swapaxes(rotmat, -1, -2), np.tile(np.eye(3), (100, 1, 1)), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(rotmat), 1, atol=1e-9)


def test_float32_stays_float32():
    rotmat = rotvec_to_rotmat(rotvecs(1.0).astype(np.float32))
    assert rotmat.dtype == rotmat_to_rotvec(rotmat).dtype == np.float32
