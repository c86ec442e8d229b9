"""Laws of the error measures."""

import numpy as np
import pytest

from hmr_ros.metrics import mpjpe, pa_mpjpe, procrustes_align, pve, reprojection_error
from hmr_ros.rotation import rotvec_to_rotmat


@pytest.fixture
def bodies():
    return np.random.default_rng(0).normal(size=(5, 24, 3))


def similarity(points, seed=1):
    rng = np.random.default_rng(seed)
    rotmat = rotvec_to_rotmat(rng.normal(size=(len(points), 3)))
    scale = rng.uniform(0.3, 3, (len(points), 1, 1))
    return scale * points @ np.swapaxes(rotmat, -1, -2) + rng.normal(size=(len(points), 1, 3))


def test_zero_for_equal(bodies):
    assert np.all(mpjpe(bodies, bodies) == 0)
    assert np.allclose(pa_mpjpe(bodies, bodies), 0, atol=1e-9)


def test_mpjpe_is_millimetres_and_ignores_translation(bodies):
    moved = bodies.copy()
    moved[:, 1:] += [0.001, 0, 0]  # every joint but the root, by one millimetre
    assert np.allclose(mpjpe(moved + 7.0, bodies), 23 / 24)
    assert np.allclose(mpjpe(bodies + [0.003, 0, 0.004], bodies, root=None), 5)


def test_pa_mpjpe_ignores_any_similarity(bodies):
    assert np.allclose(pa_mpjpe(similarity(bodies), bodies), 0, atol=1e-8)


def test_pa_mpjpe_does_not_forgive_a_mirror(bodies):
    assert np.all(pa_mpjpe(bodies * [-1, 1, 1], bodies) > 100)


def test_alignment_is_optimal(bodies):
    """No small rotation, scaling or shift of the aligned points comes nearer in squared distance."""
    points = bodies + np.random.default_rng(2).normal(size=bodies.shape) * 0.3
    aligned = procrustes_align(points, bodies)
    best = ((aligned - bodies) ** 2).sum((-1, -2))
    rng = np.random.default_rng(3)
    for _ in range(20):
        rotmat = rotvec_to_rotmat(rng.normal(size=(5, 3)) * 0.02)
        nudged = aligned @ rotmat * rng.uniform(0.99, 1.01) + rng.normal(size=3) * 0.01
        assert np.all(((nudged - bodies) ** 2).sum((-1, -2)) >= best)


def test_batched_equals_one_by_one(bodies):
    other = bodies + np.random.default_rng(4).normal(size=bodies.shape) * 0.1
    for measure in (mpjpe, pa_mpjpe):
        assert np.allclose(measure(other, bodies), [measure(a, b) for a, b in zip(other, bodies)])
    assert measure(other[:4].reshape(2, 2, 24, 3), bodies[:4].reshape(2, 2, 24, 3)).shape == (2, 2)


def test_float32_and_degenerate_points(bodies):
    flat = np.zeros((1, 24, 3), np.float32)
    assert np.isfinite(pa_mpjpe(flat, bodies[:1].astype(np.float32))).all()


def test_pve_aligns_by_the_roots_given(bodies):
    shift = np.full((5, 3), 0.5)
    assert np.allclose(pve(bodies + 0.5, bodies, shift, np.zeros((5, 3))), 0, atol=1e-9)
    assert np.allclose(pve(bodies + 0.5, bodies), 500 * np.sqrt(3))


def test_reprojection_error_counts_only_what_was_seen():
    observed, confidence = np.zeros((3, 2)), np.array([0.9, 0.0, 0.5])
    assert reprojection_error(np.array([[3.0, 4], [1e6, 0], [0, 1]]), observed, confidence) == 3
    assert np.isnan(reprojection_error(observed, observed, np.zeros(3)))
