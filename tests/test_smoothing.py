import dataclasses

import numpy as np
import pytest

from hmr_ros.config import SmoothingConfig
from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat
from hmr_ros.smoothing import Smoother

FPS = 30


def stamps(count, fps=FPS):
    return [round(i * 1e9 / fps) for i in range(count)]


def random_pose(rng, people):
    rotmat = rotvec_to_rotmat(rng.normal(0, 1, (people, 24, 3)))
    return rotmat, rng.normal(size=(people, 10)), rng.normal(size=(people, 3)) * 0.5 + [0, 0, 4]


def noisy(rng, pose, scale=0.1):
    rotmat, betas, transl = pose
    turned = rotvec_to_rotmat(rng.normal(0, scale, rotmat.shape[:-1])) @ rotmat
    return turned, betas + rng.normal(0, scale, betas.shape), transl + rng.normal(0, scale, transl.shape)


def angle_deg(a, b):
    relative = a.astype(float) @ np.swapaxes(b, -1, -2)
    return np.degrees(np.linalg.norm(rotmat_to_rotvec(relative), axis=-1))


def run(smoother, ids, poses, times):
    return [smoother(np.asarray(ids), *pose, stamp) for pose, stamp in zip(poses, times)]


def test_constant_input_is_a_fixed_point_at_rest():
    rng = np.random.default_rng(0)
    pose = random_pose(rng, 2)
    for out in run(Smoother(SmoothingConfig()), [3, 5], [pose] * 20, stamps(20)):
        for got, want in zip((out.rotmat, out.betas, out.transl), pose):
            assert got.dtype == np.float32
            np.testing.assert_allclose(got, want, atol=2e-6)
        np.testing.assert_allclose(out.angular_velocity, 0, atol=1e-6)
        np.testing.assert_allclose(out.linear_velocity, 0, atol=1e-6)


@pytest.mark.parametrize(
    "config, share", [(SmoothingConfig(), 0.8), (SmoothingConfig(min_cutoff_hz=1.5, beta=1.0), 0.4)]
)
def test_noise_around_a_constant_shrinks(config, share):
    rng = np.random.default_rng(1)
    pose = random_pose(rng, 1)
    poses = [noisy(rng, pose) for _ in range(150)]
    out = run(Smoother(config), [0], poses, stamps(150))[30:]
    before = np.mean([angle_deg(p[0], pose[0]) ** 2 for p in poses[30:]])
    after = np.mean([angle_deg(o.rotmat, pose[0]) ** 2 for o in out])
    assert after < share * before
    for name, raw in (("betas", 1), ("transl", 2)):
        spread = np.var([getattr(o, name) for o in out], axis=0)
        assert (spread < 0.5 * np.var([p[raw] for p in poses[30:]], axis=0)).all(), name


def test_depth_is_smoothed_more_than_direction():
    rng = np.random.default_rng(2)
    rotmat, betas, _ = random_pose(rng, 1)
    # The same relative noise in x/z and in z.
    transl = np.array([[[x, 0, 4 * np.exp(z)]] for x, z in rng.normal(0, 0.03, (150, 2))]) * [4, 1, 1]
    out = run(Smoother(SmoothingConfig()), [0], [(rotmat, betas, t) for t in transl], stamps(150))[30:]
    smooth = np.concatenate([o.transl for o in out])
    raw = transl[30:, 0]
    kept_direction = np.std(smooth[:, 0] / smooth[:, 2]) / np.std(raw[:, 0] / raw[:, 2])
    assert np.std(smooth[:, 2]) / np.std(raw[:, 2]) < kept_direction


def test_turning_the_world_turns_the_result():
    rng = np.random.default_rng(3)
    turn = rotvec_to_rotmat(rng.normal(size=3))
    pose = random_pose(rng, 2)
    poses = [noisy(rng, pose, 0.3) for _ in range(10)]
    turned = [(turn @ rotmat, betas, transl) for rotmat, betas, transl in poses]
    plain = run(Smoother(SmoothingConfig()), [0, 1], poses, stamps(10))
    other = run(Smoother(SmoothingConfig()), [0, 1], turned, stamps(10))
    for a, b in zip(plain, other):
        np.testing.assert_allclose(turn @ a.rotmat, b.rotmat, atol=1e-5)
        np.testing.assert_allclose(a.angular_velocity @ turn.T, b.angular_velocity, atol=1e-4)


def test_order_and_company_of_people_do_not_matter():
    rng = np.random.default_rng(4)
    pose = random_pose(rng, 3)
    together, shuffled, alone = (Smoother(SmoothingConfig()) for _ in range(3))
    for stamp in stamps(10):
        rotmat, betas, transl = noisy(rng, pose)
        order = rng.permutation(3)
        a = together(np.array([10, 11, 12]), rotmat, betas, transl, stamp)
        b = shuffled(np.array([10, 11, 12])[order], rotmat[order], betas[order], transl[order], stamp)
        c = alone(np.array([11]), rotmat[1:2], betas[1:2], transl[1:2], stamp)
        for x, y, z in zip(*(dataclasses.astuple(s) for s in (a, b, c))):
            np.testing.assert_allclose(x[order], y, atol=1e-6)
            np.testing.assert_allclose(x[1:2], z, atol=1e-6)


def test_fast_motion_lags_less_than_a_fixed_cutoff():
    speed = 8.0  # rad/s, about one axis
    rotmat = [rotvec_to_rotmat(np.full((1, 24, 1), speed * i / FPS) * [0, 0, 1.0]) for i in range(60)]
    poses = [(r, np.zeros((1, 10)), np.array([[0, 0, 3.0]])) for r in rotmat]
    lag = {}
    for beta in (0.0, SmoothingConfig().beta):
        out = run(Smoother(SmoothingConfig(beta=beta)), [0], poses, stamps(60))
        lag[beta] = angle_deg(out[-1].rotmat, rotmat[-1]).max()
    adaptive = lag[SmoothingConfig().beta]
    assert adaptive < np.degrees(1 / (2 * np.pi * SmoothingConfig().beta))  # the filter's limit at any speed
    assert adaptive < 0.6 * lag[0.0]


@pytest.mark.parametrize("enabled", [True, False])
def test_velocity_of_steady_motion(enabled):
    spin, velocity = np.array([0.5, -1.0, 2.0]), np.array([0.3, -0.1, 0.5])
    poses = [
        (
            rotvec_to_rotmat(np.tile(spin * i / FPS, (1, 24, 1))) @ rotvec_to_rotmat(np.ones((1, 24, 3))),
            np.zeros((1, 10)),
            np.array([[0.2, 0.1, 3.0]]) + velocity * i / FPS,
        )
        for i in range(60)
    ]
    out = run(Smoother(SmoothingConfig(enabled=enabled)), [0], poses, stamps(60))
    assert not out[0].angular_velocity.any() and not out[0].linear_velocity.any()
    np.testing.assert_allclose(out[-1].angular_velocity[0], np.tile(spin, (24, 1)), rtol=0.01)
    np.testing.assert_allclose(out[-1].linear_velocity[0], velocity, atol=0.05)
    if not enabled:
        np.testing.assert_allclose(out[-1].rotmat, poses[-1][0], atol=1e-6)
        np.testing.assert_allclose(out[-1].transl, poses[-1][2], atol=1e-6)


def test_rotations_stay_orthonormal():
    rng = np.random.default_rng(5)
    smoother, pose = Smoother(SmoothingConfig()), random_pose(rng, 2)
    for stamp in stamps(300):
        out = smoother(np.array([0, 1]), *noisy(rng, pose, 1.0), stamp)
    identity = out.rotmat @ np.swapaxes(out.rotmat, -1, -2)
    np.testing.assert_allclose(identity, np.broadcast_to(np.eye(3), identity.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(out.rotmat), 1, atol=1e-6)


def test_a_stamp_seen_twice_changes_nothing():
    rng = np.random.default_rng(6)
    smoother, pose = Smoother(SmoothingConfig()), random_pose(rng, 1)
    ids = np.array([0])
    for stamp in stamps(5):
        before = smoother(ids, *noisy(rng, pose), stamp)
    again = smoother(ids, *noisy(rng, pose), stamp)
    for a, b in zip(dataclasses.astuple(before), dataclasses.astuple(again)):
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert np.isfinite(b).all()


@pytest.mark.parametrize("how", ["forget", "reset", "past", "unknown"])
def test_a_new_start_passes_the_value_through(how):
    rng = np.random.default_rng(7)
    smoother, pose = Smoother(SmoothingConfig()), random_pose(rng, 1)
    for stamp in stamps(5):
        smoother(np.array([4]), *noisy(rng, pose), stamp + 10**9)
    if how == "forget":
        smoother.forget(np.array([4, 99]))
    elif how == "reset":
        smoother.reset()
    value = random_pose(rng, 1)
    out = smoother(np.array([8 if how == "unknown" else 4]), *value, 0 if how == "past" else 2 * 10**9)
    np.testing.assert_allclose(out.rotmat, value[0], atol=1e-6)
    np.testing.assert_allclose(out.transl, value[2], atol=1e-5)
    assert not out.angular_velocity.any()


def test_nobody():
    out = Smoother(SmoothingConfig())(np.zeros(0, int), np.zeros((0, 24, 3, 3)), np.zeros((0, 10)), np.zeros((0, 3)), 0)
    assert out.rotmat.shape == (0, 24, 3, 3) and out.linear_velocity.shape == (0, 3)
