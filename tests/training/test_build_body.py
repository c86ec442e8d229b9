"""The parts of the body's build script that need no Anny, each on something small; the shipped file against the script."""

import numpy as np
import pytest

pytest.importorskip("scipy", reason="scipy (build time only) is not installed")

from hmr_ros import skeleton
from hmr_ros.smpl_file import OPEN_BODY
from training import build_body as build


def half_sphere(rows: int = 16, columns: int = 13) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The half x >= 0 of a sphere, the seam on x = 0: vertices, faces (outwards), seam."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rows)[1:-1], np.linspace(0, np.pi, columns), indexing="ij")
    grid = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)], -1).reshape(-1, 3)
    top, bottom = len(grid), len(grid) + 1
    at = np.arange(len(grid)).reshape(rows - 2, columns)
    a, b, c, d = (part.ravel() for part in (at[:-1, :-1], at[1:, :-1], at[:-1, 1:], at[1:, 1:]))
    faces = [np.stack([a, b, c], 1), np.stack([c, b, d], 1)]
    faces.append(np.stack([np.full(columns - 1, top), at[0, :-1], at[0, 1:]], 1))
    faces.append(np.stack([at[-1, :-1], np.full(columns - 1, bottom), at[-1, 1:]], 1))
    vertices = np.concatenate([grid, [[0, 1, 0], [0, -1, 0]]])
    vertices[np.abs(vertices) < 1e-12] = 0
    return vertices, np.concatenate(faces), vertices[:, 0] == 0


def test_decimation_leaves_a_mesh_that_closes_when_mirrored():
    vertices, faces, seam = half_sphere()
    fixed = seam.copy()
    fixed[40] = True
    left = build.decimate(vertices, faces, fixed, seam, remove=60)
    kept = np.unique(left)
    assert len(kept) == len(vertices) - 60
    assert np.isin(np.flatnonzero(fixed), kept).all(), "what was fixed survives"
    # Mirror: the seam is shared, everything else gets a twin.
    twin = np.where(seam, np.arange(len(vertices)), np.arange(len(vertices)) + len(vertices))
    both = np.concatenate([left, twin[left][:, ::-1]])
    edges = np.concatenate([both[:, [0, 1]], both[:, [1, 2]], both[:, [2, 0]]])
    directed = set(map(tuple, edges.tolist()))
    assert len(directed) == len(edges) and {(b, a) for a, b in directed} == directed
    assert len(both) == 2 * len(np.unique(both)) - 4, "still a sphere (Euler)"
    everything = np.concatenate([vertices, vertices * build.MIRROR])
    a, b, c = (everything[both[:, i]] for i in range(3))
    volume = np.sum(a * np.cross(b, c)) / 6
    assert 3.3 < volume < 4 * np.pi / 3


def test_mirror_map_pairs_left_and_right_and_refuses_asymmetry():
    rng = np.random.default_rng(0)
    left = np.abs(rng.normal(size=(3, 20, 3))).astype(np.float32)
    middle = left[:, :5] * [0, 1, 1]
    people = np.concatenate([left, middle, left * build.MIRROR], 1)
    index = build.mirror_map(people)
    assert index.tolist() == [*range(25, 45), *range(20, 25), *range(20)]
    people[:, 3] += 0.1
    with pytest.raises(SystemExit, match="not symmetric"):
        build.mirror_map(people)


def test_smallest_rotation_turns_one_direction_to_the_other():
    rng = np.random.default_rng(1)
    for a, b in rng.normal(size=(20, 2, 3)):
        turned = build.turn(build.between(a, b)) @ a
        np.testing.assert_allclose(turned / np.linalg.norm(a), b / np.linalg.norm(b), atol=1e-9)


def test_twist_brings_a_vector_to_the_angle():
    for angle in np.linspace(-3, 3, 7):
        vector = np.array([0.3, np.cos(angle), np.sin(angle)])
        twisted = build.turn([build.twist_to(vector, np.pi / 2), 0, 0]) @ vector
        np.testing.assert_allclose(twisted, [0.3, 0, 1], atol=1e-9)


def test_at_most_four_weights_that_sum_to_one():
    weights = np.random.default_rng(2).dirichlet(np.full(24, 0.2), size=100)
    joints, share = build.four_heaviest(weights)
    assert (share.astype(int).sum(1) == 255).all()
    np.testing.assert_array_equal(joints[:, 0], weights.argmax(1))
    np.testing.assert_allclose(share[:, 0] / 255, weights.max(1) / np.sort(weights)[:, -4:].sum(1), atol=0.01)


def test_betas_have_unit_variance_and_rebuild_the_people():
    rng = np.random.default_rng(3)
    basis = rng.normal(size=(10, 30, 3)) * np.arange(10, 0, -1)[:, None, None]
    betas = rng.normal(size=(200, 10))
    people = 5 + np.tensordot(betas, basis, 1)
    mean, directions, share = build.shape_space(people)
    flat = directions.reshape(-1, 10)
    found = np.linalg.lstsq(flat, (people - mean).reshape(200, -1).T, rcond=None)[0].T
    np.testing.assert_allclose(found.std(0), 1, atol=1e-6)
    np.testing.assert_allclose(mean + np.tensordot(found, directions, (1, 2)), people, atol=1e-6)
    np.testing.assert_allclose(share.sum(), 1, atol=1e-9)
    assert (np.diff(share) <= 0).all(), "most important first"


def test_every_bone_goes_to_some_joint():
    joints = {name.removeprefix("left_").removeprefix("right_") for name in skeleton.JOINT_NAMES}
    for bone, shares in build.BONE_TO_JOINTS:
        assert set(shares) <= joints and sum(shares.values()) == pytest.approx(1), bone
    for joint, shares in build.JOINT_OF_BONES.items():
        assert sum(shares.values()) == pytest.approx(1), joint


def test_landmarks_have_their_own_places():
    wanted = {**skeleton.KEYPOINT_VERTICES, **build.FINGERTIP_VERTICES}
    assert len(set(wanted.values())) == len(wanted) == 21
    v = np.load(OPEN_BODY)["v_template"]
    for finger in ("index", "middle", "ring", "pinky"):
        assert v[build.FINGERTIP_VERTICES[f"left_{finger}"], 0] > 0.95 * v[:, 0].max() - 0.02
    for name, at in wanted.items():
        if name.startswith("left_"):
            np.testing.assert_allclose(v[at] * build.MIRROR, v[wanted[name.replace("left_", "right_")]], atol=2e-5)


def test_shipped_body_is_small_and_says_its_licence():
    assert OPEN_BODY.stat().st_size < 1_000_000
    with np.load(OPEN_BODY, allow_pickle=False) as file:
        assert str(file["licence"]) == build.LICENCE
        assert tuple(file["region_names"]) == build.REGIONS
        assert set(np.unique(file["region"])) == set(range(len(build.REGIONS)))
