"""The bone-wise model of a detector's 3D: a change of coordinates and back, and errors that can be measured again."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hmr_ros import skeleton  # noqa: E402
from training.detector_bones import BONES, BoneErrors, bone_rows, measure  # noqa: E402

NAMES = skeleton.KEYPOINT_NAMES
HIPS = [NAMES.index("left_hip"), NAMES.index("right_hip")]


def people(count: int) -> np.ndarray:
    points = np.random.default_rng(0).normal(size=(count, 23, 3))
    return points - points[:, HIPS].mean(axis=1, keepdims=True)


def test_bones_and_back():
    rows, _ = bone_rows()
    points = people(5)
    np.testing.assert_allclose(np.linalg.inv(rows) @ (rows @ points), points, atol=1e-9)


def test_bones_end_where_they_should():
    rows, kinds = bone_rows()
    points = people(3)
    bones = np.einsum("ij,njk->nik", rows, points)
    elbow, shoulder, nose = (NAMES.index(n) for n in ("left_elbow", "left_shoulder", "nose"))
    np.testing.assert_allclose(bones[:, elbow], points[:, elbow] - points[:, shoulder])
    neck = points[:, [shoulder, NAMES.index("right_shoulder")]].mean(axis=1)
    np.testing.assert_allclose(bones[:, nose], points[:, nose] - neck)
    assert set(kinds) == {*BONES, ""} and kinds.count("") == 1


def test_hips_stay_where_they_are():
    errors = BoneErrors(torch.device("cpu"))
    rng = torch.Generator().manual_seed(0)
    seen = errors(torch.from_numpy(people(50)).float(), *draws(rng))
    torch.testing.assert_close(seen[:, HIPS].mean(1), torch.zeros(50, 3), atol=1e-5, rtol=0)


def test_depth_is_shortened_and_length_across_is_not():
    errors = BoneErrors(torch.device("cpu"))
    true = torch.from_numpy(people(4000)).float()
    found = measure(errors(true, *draws(torch.Generator().manual_seed(0))).numpy(), true.numpy())
    for kind, bone in BONES.items():
        expected = bone.across * (1 - 0.65 * (1 - bone.along / bone.across))  # 0.65: the mean severity
        assert found[kind].along == pytest.approx(expected, abs=0.06), kind


def test_measuring_the_truth_finds_no_error():
    points = people(200)
    for bone in measure(points, points).values():
        assert (bone.across, bone.along) == (pytest.approx(1), pytest.approx(1))
        assert bone.sigma_along_m == pytest.approx(0, abs=1e-6)


def draws(rng: torch.Generator):
    return (lambda *shape: torch.rand(*shape, generator=rng)), (lambda *shape: torch.randn(*shape, generator=rng))
