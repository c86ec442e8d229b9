"""numpy and torch are the same body."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from hmr_ros.rotation import rot6d_to_rotmat, rotvec_to_rotmat  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training.body import BodyArrays, ForwardKinematics, compose  # noqa: E402
from training.rotation import rot6d_to_rotmat as torch_rot6d_to_rotmat  # noqa: E402
from training.rotation import rotvec_to_rotmat as torch_rotvec_to_rotmat  # noqa: E402


def random_pose(people: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    rotmat = rotvec_to_rotmat(rng.normal(0, 0.6, (people, 24, 3)).astype(np.float32))
    return rotmat, rng.normal(size=(people, 10)).astype(np.float32)


@pytest.mark.parametrize("posedirs", [False, True], ids=["plain", "pose blend shapes"])
def test_kinematics_equal_the_runtimes(posedirs):
    body = load_body("open")
    arrays = BodyArrays.of(body)
    if posedirs:
        rng = np.random.default_rng(1)
        import dataclasses

        body = dataclasses.replace(body, posedirs=rng.normal(0, 1e-3, (6890, 3, 207)).astype(np.float32))
        arrays = BodyArrays.of(body)
    rotmat, betas = random_pose(4)
    posed = ForwardKinematics()(torch.from_numpy(rotmat), torch.from_numpy(betas), arrays)
    joints, _ = body.joints(rotmat, betas, np.zeros((4, 3), np.float32))
    keypoints = body.keypoints(rotmat, betas, np.zeros((4, 3), np.float32))
    np.testing.assert_allclose(posed.joints.numpy() + posed.pelvis[:, None].numpy(), joints, atol=1e-5)
    np.testing.assert_allclose(posed.keypoints.numpy() + posed.pelvis[:, None].numpy(), keypoints, atol=1e-5)


def test_rot6d_equals_the_runtimes():
    rot6d = np.random.default_rng(0).normal(size=(5, 10, 6)).astype(np.float32)
    np.testing.assert_allclose(
        torch_rot6d_to_rotmat(torch.from_numpy(rot6d)).numpy(), rot6d_to_rotmat(rot6d), atol=1e-5
    )


def test_rotvec_equals_the_runtimes():
    rotvec = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)
    np.testing.assert_allclose(
        torch_rotvec_to_rotmat(torch.from_numpy(rotvec)).numpy(), rotvec_to_rotmat(rotvec), atol=1e-6
    )


def test_compose_is_a_matrix_product():
    a, b = torch.randn(3, 3, 5, 7), torch.randn(3, 4, 5, 7)
    torch.testing.assert_close(compose(a, b), torch.einsum("ijbn,jkbn->ikbn", a, b))
