"""The detector's pairs: truth that is true, pictures that show it, statistics that find what was put in."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
cv2 = pytest.importorskip("cv2", reason="needs OpenCV")

from hmr_ros import skeleton  # noqa: E402
from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models  # noqa: E402
from hmr_ros.metrics import pa_mpjpe, similarity  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training import detector_loop, detector_report, render_person  # noqa: E402
from training.detector_loop import ARRAYS, DetectorLoopConfig, Loop  # noqa: E402
from training.pairs import Pairs, detector_error  # noqa: E402
from training.render_person import SIDE_PX, Backgrounds, PersonRenderer, crop_camera  # noqa: E402
from training.synthesis import random_bodies  # noqa: E402

MOCAP = Path(__file__).resolve().parents[3] / "shared/data/mocap"
STANDING = np.tile(np.eye(3, dtype=np.float32), (24, 1, 1))
STANDING[0] = np.diag([1, -1, -1])  # y-up world to the optical frame: faces the camera
BETAS, TRANSL = np.zeros(10, np.float32), np.array([0.3, 0.2, 4], np.float32)


@pytest.fixture(scope="module")
def body():
    return load_body("open")


@pytest.fixture(scope="module")
def backgrounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("backgrounds")
    cv2.imwrite(str(folder / "plain.png"), np.full((64, 64, 3), 128, np.uint8))
    return Backgrounds(folder)


@pytest.fixture(scope="module")
def keypoint_models():
    try:
        return find_models()
    except KeypointModelError as error:
        pytest.skip(str(error))


@pytest.fixture
def config(tmp_path, keypoint_models, backgrounds):
    if not MOCAP.is_dir():
        pytest.skip(f"no motion capture in {MOCAP}")
    return DetectorLoopConfig(MOCAP, "val", 3, tmp_path / "pairs.npz", backgrounds.paths[0].parent)


def made_up_pairs(body, count=200, seed=0):
    """Records of an exact detector, without pictures."""
    rng, torch_rng = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    drawn = random_bodies(0.2 * torch.randn(count, 24, 3, generator=torch_rng), torch_rng)
    rotmat, betas, pelvis = (tensor.numpy() for tensor in drawn)
    pelvis[:, 2] += 2
    transl = pelvis - body.J_template[0]
    xyz = body.keypoints(rotmat, betas, transl)
    xy = xyz[..., :2] / xyz[..., 2:]
    K = np.stack([crop_camera(one, rng).K for one in xy]).astype(np.float32)
    data = {name: np.zeros((count, *shape), np.float32) for name, shape in ARRAYS.items()}
    joints = body.joints(rotmat, betas, transl)[0]
    world = np.zeros_like(xyz)
    for row, name in enumerate(skeleton.KEYPOINT_NAMES):
        if name in skeleton.JOINT_NAMES:
            world[:, row] = joints[:, skeleton.JOINT_NAMES.index(name)] - joints[:, 0]
    return data | {
        "rotmat": rotmat, "betas": betas, "transl": transl, "K": K, "keypoints_3d": xyz, "keypoints_2d": xy,
        "found": np.ones(count, bool), "score": np.ones(count, np.float32), "uv": xy.copy(),
        "confidence": np.ones((count, 23), np.float32), "world": world,
    }  # fmt: skip


def test_a_crop_looks_the_same_way_and_mostly_holds_the_person(body):
    xyz = body.keypoints(STANDING[None], BETAS[None], TRANSL[None])[0]
    xy = xyz[:, :2] / xyz[:, 2:]
    cameras = [crop_camera(xy, np.random.default_rng(seed)) for seed in range(300)]
    for camera in cameras[:20]:
        np.testing.assert_allclose(camera.normalise(camera.project(xyz)), xy, atol=1e-5)
    uv = np.stack([camera.project(xyz) for camera in cameras])
    whole = ((uv >= -0.5) & (uv < SIDE_PX - 0.5)).all(axis=(1, 2))
    assert abs((1 - whole.mean()) - render_person.CUT_FRACTION) < 0.06
    size = np.ptp(uv, axis=1).max(axis=-1) / SIDE_PX
    assert size.min() > 0.39 and size.max() < 0.81


def test_the_picture_shows_the_person_where_the_truth_is(body, backgrounds):
    renderer = PersonRenderer(body, backgrounds)
    camera = Camera(np.array([[300.0, 0, 170], [0, 300, 180], [0, 0, 1]]), SIDE_PX, SIDE_PX)
    pictures = [renderer(STANDING, BETAS, TRANSL, camera, np.random.default_rng(seed)) for seed in range(12)]
    # What differs between differently dressed people is where they stand: the background is always the same grey.
    gray = np.stack([p.astype(float).mean(axis=-1) - np.median(p) for p in pictures])
    varied = cv2.GaussianBlur(gray.std(axis=0), (0, 0), 2)
    uv = camera.project(body.vertices(STANDING[None], BETAS[None], TRANSL[None])[0])
    low, high = uv.min(axis=0), uv.max(axis=0)
    rows, columns = np.nonzero(varied > 0.5 * varied.max())
    assert (np.array([columns.min(), rows.min()]) > low - 8).all()
    assert (np.array([columns.max(), rows.max()]) < high + 8).all()
    assert rows.max() - rows.min() > 0.6 * (high - low)[1]


def test_a_seed_is_a_picture(body, backgrounds):
    renderer = PersonRenderer(body, backgrounds)
    camera = Camera(np.array([[300.0, 0, 170], [0, 300, 180], [0, 0, 1]]), SIDE_PX, SIDE_PX)
    a, b, c = (renderer(STANDING, BETAS, TRANSL, camera, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (a == b).all() and (a != c).any()


def test_backgrounds_and_bodies_that_cannot_work_are_refused(body, backgrounds, tmp_path):
    with pytest.raises(FileNotFoundError, match="--backgrounds"):
        Backgrounds(tmp_path)
    (tmp_path / "broken.jpg").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="broken.jpg"):
        Backgrounds(tmp_path).draw(32, np.random.default_rng(0))
    with pytest.raises(ValueError, match="regions"):
        PersonRenderer(dataclasses.replace(body, region=None), backgrounds)


def test_generated_pairs_are_consistent_and_resumable(config, body):
    detector_loop.generate(config)
    data = detector_loop.load(config.out)
    assert len(data["found"]) == 3
    xyz = body.keypoints(data["rotmat"], data["betas"], data["transl"])
    np.testing.assert_allclose(data["keypoints_3d"], xyz, atol=1e-4)
    np.testing.assert_allclose(data["keypoints_2d"], xyz[..., :2] / xyz[..., 2:], atol=1e-4)
    assert (data["confidence"][~data["found"]] == 0).all()
    more = dataclasses.replace(config, count=4)
    detector_loop.generate(more)
    longer = detector_loop.load(config.out)
    assert len(longer["found"]) == 4 and all((longer[name][:3] == data[name]).all() for name in ARRAYS)
    with pytest.raises(ValueError, match="other settings"):
        detector_loop.generate(dataclasses.replace(config, seed=7))


def test_files_of_something_else_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="training.detector_loop"):
        detector_loop.load(tmp_path / "none.npz")
    np.savez(tmp_path / "other.npz", rotmat=np.zeros(3))
    with pytest.raises(ValueError, match="lacks"):
        detector_loop.load(tmp_path / "other.npz")
    arrays = {name: np.zeros((2, *shape)) for name, shape in ARRAYS.items()} | {"uv": np.zeros((2, 22, 2))}
    np.savez(tmp_path / "short.npz", **arrays)
    with pytest.raises(ValueError, match="uv has shape"):
        detector_loop.load(tmp_path / "short.npz")


def write_pairs(path, data, shape_space="hmr_open_v1"):
    detector_loop.write(path, {**data, "about": json.dumps({"shape_space": shape_space})})


def test_people_partly_hidden_are_judged_by_what_the_detector_saw_of_them(body, tmp_path):
    """Not by zeros: with an exact detector everybody may stay, with one that errs nobody of whom enough is known."""
    data = made_up_pairs(body, count=4)
    limbs = [skeleton.KEYPOINT_NAMES.index(name) for name in skeleton.LIMBS]
    keypoints = data["keypoints_3d"] - data["keypoints_3d"][:, limbs].mean(axis=1, keepdims=True)
    data["world"] = 1.1 * keypoints @ np.diag([1, -1, -1]).astype(np.float32)
    for person, hidden in enumerate((0, 5, 8, 9)):
        data["world"][person, limbs[:hidden]] = 0
    np.testing.assert_allclose(detector_error(data), 0, atol=0.01)
    data["world"][:, limbs[-3:]] += np.random.default_rng(0).normal(0, 1, (4, 3, 3))
    for person, hidden in enumerate((0, 5, 8)):
        expected = pa_mpjpe(*(data[name][person, limbs[hidden:]] for name in ("world", "keypoints_3d")))
        np.testing.assert_allclose(detector_error(data)[person], expected, rtol=1e-4)
    write_pairs(tmp_path / "pairs.npz", data)
    kept = Pairs(tmp_path / "pairs.npz", body, max_error_mm=100)
    assert torch.equal(kept.world, torch.from_numpy(data["world"][3:])), "three limbs say nothing"


def test_pairs_of_another_body_are_refused(body, tmp_path):
    data = made_up_pairs(body, count=2)
    write_pairs(tmp_path / "pairs.npz", data)
    assert len(Pairs(tmp_path / "pairs.npz", body)) == 2
    with pytest.raises(ValueError, match="pairs.npz: its betas are of 'hmr_open_v1', not of 'smpl_neutral'"):
        Pairs(tmp_path / "pairs.npz", dataclasses.replace(body, shape_space="smpl_neutral"))
    detector_loop.write(tmp_path / "pairs.npz", {**data, "about": "{}"})
    with pytest.raises(ValueError, match="a body that it does not name"):
        Pairs(tmp_path / "pairs.npz", body)


def test_an_exact_detector_has_no_errors(body):
    data = made_up_pairs(body)
    text = detector_report.report(data, body)
    assert "exchanged: body 0.000" in text and "MPJPE 0 mm" in text
    assert "HIPS farther out by 0.0 " in text


@pytest.mark.parametrize("kind", ["hip", "ear", "wrist"])
def test_a_bias_put_in_is_found(body, kind):
    data = made_up_pairs(body)
    offset = np.array([0.03, -0.02, 0.04])
    orientation = body.joints(data["rotmat"], data["betas"], data["transl"])[1]
    moved = data["keypoints_3d"].copy()
    for row in detector_report.rows_of(kind):
        side, bone = skeleton.KEYPOINT_NAMES[row].split("_")[0], detector_report.BONE_OF[kind]
        joint = skeleton.JOINT_NAMES.index(bone if bone in skeleton.JOINT_NAMES else f"{side}_{bone}")
        moved[:, row] += orientation[:, joint] @ (offset * [1 if side == "left" else -1, 1, 1])
    data["uv"] = moved[..., :2] / moved[..., 2:]
    data["uv"][:20] += 1  # outliers
    found, before, after = detector_report.bias(kind, data, orientation, np.ones((len(moved), 23), bool))
    np.testing.assert_allclose(found, offset, atol=0.003)
    assert np.median(np.linalg.norm(after, axis=-1)) < 0.1 * np.median(np.linalg.norm(before, axis=-1))


def test_exchanged_sides_are_counted(body):
    data = made_up_pairs(body)
    data["uv"][:50] = data["uv"][:50][:, list(skeleton.MIRRORED_KEYPOINTS)]
    swapped = detector_report.exchanged(data["uv"], data["keypoints_2d"], detector_report.ARMS + detector_report.LEGS)
    assert swapped[:50].all() and not swapped[50:].any()


def test_noise_put_in_is_found():
    rng = np.random.default_rng(0)
    residual = 0.01 * rng.standard_normal((4000, 23, 2)) * np.exp(0.3 * rng.standard_normal((4000, 1, 1)))
    text = "\n".join(detector_report.noise_section(residual, np.ones((4000, 23), bool)))
    spread = float(text.split("std) ")[1].split()[0])
    wrist = float(text.split("wrist ")[1].split(",")[0])
    assert abs(spread - 0.3) < 0.03 and abs(wrist - 0.01) < 0.001


def test_rotation_and_scale_between_bodies():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((5, 12, 3))
    ray = rng.standard_normal((5, 3)) + [0, 0, 4]
    turn = detector_report.view_rotation(ray)
    np.testing.assert_allclose(turn[:, :, 2], ray / np.linalg.norm(ray, axis=1, keepdims=True), atol=1e-12)
    rotmat, scale = similarity(points, 1.3 * points @ np.swapaxes(turn, 1, 2) + 2)
    np.testing.assert_allclose(rotmat, turn, atol=1e-9)
    np.testing.assert_allclose(scale, 1.3, atol=1e-9)
    assert (detector_report.angle_deg(np.swapaxes(rotmat, 1, 2) @ turn) < 1e-4).all()


def test_loop_draws_the_same_people_for_a_seed(config, body):
    a, b = (next(iter(Loop(config, body).people(0, 1))) for _ in range(2))
    assert (a[1] == b[1]).all() and (a[0]["rotmat"] == b[0]["rotmat"]).all()
