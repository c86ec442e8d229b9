"""Pictures drawn on a device, here the CPU: as the body model, the truth and the runtime's crops have it."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from hmr_ros import skeleton  # noqa: E402
from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.crop import crop_people  # noqa: E402
from hmr_ros.draw import face_normals, paint_triangles  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import NoiseConfig  # noqa: E402
from training.image.appearance import LAYERS, Appearance, layers  # noqa: E402
from training.image.augment import AugmentConfig  # noqa: E402
from training.image.data import ImageData, PicturesConfig, batches  # noqa: E402
from training.image.device_pictures import DevicePictures, random_frame, roll  # noqa: E402
from training.image.image_effects import blur, compress, occlude, recolour  # noqa: E402
from training.image.skinning import Skin  # noqa: E402
from training.rotation import rotvec_to_rotmat  # noqa: E402
from training.synthesis import random_bodies  # noqa: E402

CROP_PX = (96, 64)
CPU = torch.device("cpu")
EXACT = NoiseConfig(sigma=0, outliers=0, swaps=0, dropout=0, occlusion=0)
STILL = AugmentConfig(flip=0, roll=0, scale=0, shift=0, colour=0, grey=0, occlusion=0)
NAMES = skeleton.KEYPOINT_NAMES


@pytest.fixture(scope="module")
def body():
    return load_body("open")


@pytest.fixture(scope="module")
def pictures(body, green_folder):
    return DevicePictures(body, EXACT, green_folder, None, STILL, CROP_PX, CPU)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def poses(count: int, seed: int = 0) -> torch.Tensor:
    return 0.25 * torch.randn(count, 24, 3, generator=seeded(seed))


def painted(rgb: np.ndarray, batch: int) -> Appearance:
    """Everybody in these colours of vertices, (V, 3), and nothing else."""
    rgb = torch.from_numpy(rgb).float().expand(batch, -1, -1)
    nothing = torch.zeros_like(rgb[..., :2])
    piece = torch.zeros(batch, 2, dtype=torch.int64)
    return Appearance(rgb, torch.ones_like(rgb[..., :1]), nothing, nothing, piece, nothing[..., 0])


def sides(body) -> np.ndarray:
    """(V, 3): red left limbs, green right ones, the rest blue."""
    part = np.array(skeleton.JOINT_NAMES)[body.weights.argmax(axis=1)]
    of_limb = [np.char.startswith(part, side) & ~np.char.endswith(part, "collar") for side in ("left", "right")]
    return np.stack([*of_limb, ~of_limb[0] & ~of_limb[1]], axis=1).astype(np.float32)


def pixels(keypoints: torch.Tensor) -> torch.Tensor:
    """Box units to the crop's pixels."""
    height, width = CROP_PX
    return keypoints * height / 2 + torch.tensor([width / 2, height / 2]) - 0.5


@pytest.mark.parametrize("bends", [False, True], ids=["open", "with pose blend shapes"])
def test_skinning_equals_the_body_model(body, bends):
    rng = np.random.default_rng(0)
    if bends:
        body = replace(body, posedirs=rng.normal(0, 0.005, (*body.v_template.shape, 207)).astype(np.float32))
    rotmat, betas = rotvec_to_rotmat(2 * poses(3)), torch.randn(3, 10, generator=seeded())
    skinned = Skin(body, CPU)(rotmat, betas)
    np.testing.assert_allclose(skinned.vertices, body.vertices(rotmat.numpy(), betas.numpy()), atol=1e-5)


def test_normals_point_out_of_the_posed_mesh(body):
    rotmat, betas = rotvec_to_rotmat(poses(2)), torch.randn(2, 10, generator=seeded())
    skinned = Skin(body, CPU)(rotmat, betas)
    triangles = skinned.vertices.numpy()[:, body.faces]
    agreement = np.einsum("nfk,nfk->nf", face_normals(triangles), skinned.normals.numpy()[:, body.faces].mean(axis=2))
    assert np.median(agreement) > 0.95 and (agreement < 0.5).mean() < 0.02


def test_what_is_worn_lies_on_the_skin(body):
    skin = Skin(body, CPU)
    rotmat, betas = rotvec_to_rotmat(poses(2)), torch.zeros(2, 10)
    bare, dressed = skin(rotmat, betas), skin(rotmat, betas, torch.full((2, len(body.v_template)), 0.02))
    outwards = ((dressed.vertices - bare.vertices) * bare.normals).sum(-1)
    assert 0.019 < outwards.median() < 0.0201 and outwards.min() > 0.005


def test_every_layer_of_clothes_is_somewhere(body):
    assert set(layers(body)) == set(range(len(LAYERS)))
    with pytest.raises(ValueError, match="open"):
        layers(replace(body, region=None))


def test_limbs_are_where_the_truth_says(body, pictures):
    """Left elbows, wrists, knees and ankles lie on left limbs, right ones on right limbs, but for those that something hides."""
    sample = pictures(poses(24), seeded(), augment=False)
    truth = sample.truth
    layer = pictures.layer(
        truth.rotmat, truth.betas, sample.transl, sample.bbox_info, painted(sides(body), 24), seeded()
    )
    right_one, total = 0, 0
    for colour, side in enumerate(("left", "right")):
        limbs = [NAMES.index(f"{side}_{part}") for part in ("elbow", "wrist", "knee", "ankle")]
        at = pixels(truth.keypoints_2d[:, limbs]).round().long()
        inside = ((at >= 0) & (at < torch.tensor([CROP_PX[1], CROP_PX[0]]))).all(-1)
        person = torch.arange(24)[:, None].expand_as(inside)[inside]
        shown = layer[person, :, at[inside][:, 1], at[inside][:, 0]]
        right_one += int(((shown[:, :3].argmax(1) == colour) & (shown[:, 3] > 0.5)).sum())
        total += len(shown)
    assert total > 100 and right_one > 0.85 * total


def test_crop_is_the_runtimes_crop_of_a_larger_picture(body, pictures):
    """The body, with a red wrist, painted by OpenCV into a camera's picture and cut out of it by the runtime."""
    rotmat, betas, pelvis = random_bodies(poses(4), seeded(2))
    pelvis = pelvis * (3 / pelvis[:, 2:])
    transl = pelvis - pictures.synthesis.kinematics(rotmat, betas, BodyArrays.of(body)).pelvis
    vertices = body.vertices(rotmat.numpy(), betas.numpy(), transl.numpy())
    center = vertices[..., :2] / vertices[..., 2:]
    box = np.concatenate([center.mean(axis=1), 1.2 * np.ptp(center, axis=1).max(axis=1, keepdims=True)], axis=1)
    red = np.linalg.norm(body.v_template - body.J_template[skeleton.JOINT_NAMES.index("left_wrist")], axis=1) < 0.08
    rgb = np.where(red[:, None], [1, 0, 0], [0, 0, 1]).astype(np.float32)
    shown = pictures.layer(rotmat, betas, transl, torch.from_numpy(box), painted(rgb, 4), seeded())
    camera = Camera(np.array([[1200.0, 0, 640], [0, 1200, 640], [0, 0, 1]]), 1281, 1281)
    for layer, xyz, row in zip(shown, vertices, box):
        row = row.astype(np.float32)
        triangles = xyz[body.faces]
        picture = paint_triangles(
            (1281, 1281), triangles, face_normals(triangles), 255 * rgb[body.faces].mean(axis=1), camera
        )
        expected = crop_people(picture[..., :3], camera, row[None], CROP_PX)[0]
        ours, theirs = layer[3].numpy(), expected.max(axis=0)
        assert np.abs(ours - theirs).sum() < 0.07 * ours.sum()  # OpenCV paints a little more all around
        np.testing.assert_allclose(centroid(ours), centroid(theirs), atol=0.15)
        reds = [np.clip(image[0] - image[2], 0, 1) for image in (layer.numpy(), expected)]
        if min(red.sum() for red in reds) > 5:
            np.testing.assert_allclose(*map(centroid, reds), atol=0.5)


def centroid(weight: np.ndarray) -> np.ndarray:
    """(2,): row and column. weight: (H, W)."""
    return np.array([(at * weight).sum() for at in np.indices(weight.shape)]) / weight.sum()


def test_detections_are_the_truth_where_nothing_errs_or_changes(pictures):
    sample = pictures(poses(16), seeded())
    seen = sample.confidence > 0
    torch.testing.assert_close(sample.keypoints[seen], sample.truth.keypoints_2d[seen], atol=1e-4, rtol=0)
    assert (sample.keypoints[seen].abs() <= 1 / 1.2 + 1e-4).all() and not sample.keypoints[~seen].any()
    posed = pictures.synthesis.kinematics(sample.truth.rotmat, sample.truth.betas, pictures.synthesis.body)
    torch.testing.assert_close(posed.joints, sample.truth.joints)
    xyz = posed.keypoints + (posed.pelvis + sample.transl)[:, None]
    box = sample.bbox_info[:, None]
    reprojected = (xyz[..., :2] / xyz[..., 2:] - box[..., :2]) / (box[..., 2:] / 2)
    torch.testing.assert_close(reprojected, sample.truth.keypoints_2d, atol=1e-4, rtol=0)


def test_a_roll_turns_the_person_about_the_optical_axis(pictures):
    rotmat, betas, pelvis = random_bodies(poses(6), seeded(1))
    turned, moved = roll(rotmat, pelvis, AugmentConfig(roll=1), seeded(2))
    before, after = (pictures.synthesis.kinematics(r, betas, pictures.synthesis.body) for r in (rotmat, turned))
    a, b = before.keypoints + pelvis[:, None], after.keypoints + moved[:, None]
    torch.testing.assert_close(a[..., 2], b[..., 2])
    angles = [torch.atan2(p[..., 1], p[..., 0]) for p in (a, b)]
    by = torch.remainder(angles[1] - angles[0] + torch.pi, 2 * torch.pi) - torch.pi
    torch.testing.assert_close(by, by[:, :1].expand_as(by), atol=1e-3, rtol=0)
    assert 0.02 < by.abs().max() <= np.radians(30) + 1e-3


def test_nothing_is_seen_or_detected_beyond_the_pictures_border(pictures):
    sample = pictures(poses(40), seeded(4), augment=False)
    at = pixels(sample.truth.keypoints_2d).round().long()
    on_crop = ((at >= 1) & (at < torch.tensor([CROP_PX[1] - 1, CROP_PX[0] - 1]))).all(-1)
    black = torch.zeros_like(on_crop)
    for person, crop in enumerate(sample.crop):
        for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):  # some corner is beyond the border
            if not crop[:, row, column].any():
                u, v = at[person, on_crop[person]].T
                beyond = torch.nn.functional.avg_pool2d(crop.amax(0)[None], 3, 1, 1)[0] == 0
                black[person, on_crop[person]] |= beyond[v, u]
    assert black.sum() > 5
    assert not sample.confidence[black].any()


def test_frames_hold_most_people_whole():
    xy = torch.rand(400, 23, 2, generator=seeded()) * torch.tensor([0.3, 0.9])
    frame = random_frame(xy, seeded())
    whole = ((xy > frame[:, None, :2]) & (xy < frame[:, None, 2:])).all(-1).all(-1)
    assert 0.75 < whole.float().mean() < 0.95
    torch.testing.assert_close(frame[:, 2] - frame[:, 0], frame[:, 3] - frame[:, 1])


def test_same_seed_same_batch_whichever_step_comes_first(green_folder):
    data = ImageData(
        green_folder,
        "open",
        NoiseConfig(),
        PicturesConfig(green_folder, green_folder, 0, renderer="device"),
        AugmentConfig(),
        CROP_PX,
    )
    alone = list(batches(data, 2, seed=5, steps=range(3)))
    resumed = next(batches(data, 2, seed=5, steps=range(2, 3)))
    for name, value in zip(resumed._fields, resumed):
        if name != "truth":
            torch.testing.assert_close(value, getattr(alone[2], name), rtol=0, atol=0)
    others = [next(batches(data, 2, steps=range(1), **k)) for k in ({"seed": 6}, {"seed": 5, "rank": 1})]
    assert not any(torch.equal(other.crop, alone[0].crop) for other in others)
    crop = alone[0].crop
    assert crop.shape == (2, 3, *CROP_PX) and 0 <= crop.min() < crop.max() <= 1
    assert torch.equal(data.validation(3).crop, data.validation(3).crop)


def test_cameras_and_colours_leave_pictures_pictures():
    crops = torch.rand(6, 3, *CROP_PX, generator=seeded())
    torch.testing.assert_close(blur(crops, torch.zeros(6, 2)), crops)
    torch.testing.assert_close(compress(crops, torch.full((6,), 1e-4)), crops, atol=1e-3, rtol=0)
    flat = crops[:, :, :1, :1].expand_as(crops).contiguous()
    torch.testing.assert_close(blur(flat, torch.full((6, 2), 2.0)), flat)
    torch.testing.assert_close(compress(flat, torch.ones(6)), flat, atol=0.04, rtol=0)
    untouched = recolour(crops, STILL, seeded()), occlude(crops, STILL, seeded())
    for changed in untouched:
        torch.testing.assert_close(changed, crops)
    hidden = (occlude(crops, replace(STILL, occlusion=1), seeded()) != crops).any(1).float().mean((1, 2))
    assert (hidden > 0).all() and hidden.median() < 0.6
