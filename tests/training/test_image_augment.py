"""What is done to a picture is done to its truth."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from hmr_ros import skeleton  # noqa: E402
from hmr_ros.body_model import BodyModel  # noqa: E402
from hmr_ros.camera import Camera  # noqa: E402
from hmr_ros.rotation import rotvec_to_rotmat  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training.image.augment import (  # noqa: E402
    AugmentConfig,
    Picture,
    box_of,
    crop,
    flip,
    jitter_box,
    occlude,
    recolour,
    roll,
)

CROP_PX = (128, 96)
WRIST = skeleton.KEYPOINT_NAMES.index("left_wrist")


@pytest.fixture(scope="module")
def body() -> BodyModel:
    return load_body("open")


def projected(body: BodyModel, picture: Picture) -> np.ndarray:
    """Where the truth's keypoints fall, (23, 2) normalised image coordinates."""
    rest = body.J_template[0] + body.J_shapedirs[0] @ picture.betas
    arrays = (picture.rotmat, picture.betas, picture.pelvis - rest)
    points = body.keypoints(*(np.asarray(array[None], np.float32) for array in arrays))[0]
    return points[:, :2] / points[:, 2:]


@pytest.fixture
def picture(body) -> Picture:
    """Somebody off the centre before a distorting lens; the left wrist is a red dot on grey."""
    rng = np.random.default_rng(3)
    rotvec = rng.normal(0, 0.25, (24, 3))
    rotvec[0] = [np.pi - 0.3, 0.4, 0.2]
    camera = Camera(np.array([[420.0, 0, 310], [0, 420, 250], [0, 0, 1]]), 640, 480, np.array([-0.2, 0.05, 0, 0, 0]))
    empty = np.full((480, 640, 3), 128, np.uint8)
    unseen = Picture(
        empty, camera, rotvec_to_rotmat(rotvec), 0.5 * rng.standard_normal(10), np.array([0.5, -0.2, 3.5]),
        np.zeros((23, 2)), np.ones(23), rng.normal(0, 0.3, (23, 3)), np.ones(23),
    )  # fmt: skip
    xy = projected(body, unseen)
    u, v = camera.project(np.array([*xy[WRIST], 1.0]))
    rows, columns = np.mgrid[:480, :640]
    empty[(rows - v) ** 2 + (columns - u) ** 2 < 36] = (255, 0, 0)
    return Picture(**{**vars(unseen), "keypoints": xy})


def red_dot(seen: np.ndarray, box: np.ndarray) -> np.ndarray:
    """Where a crop's red dot is, normalised image coordinates."""
    rows, columns = np.nonzero((seen[0] > 0.75) & (seen[1] < 0.25))
    height, width = seen.shape[1:]
    return box[:2] + (np.array([columns.mean(), rows.mean()]) + 0.5 - [width / 2, height / 2]) * box[2] / height


@pytest.mark.parametrize("angle", [-0.7, 0.25, 3.0])
def test_rolled_truth_reprojects_where_the_rolled_picture_shows_it(body, picture, angle):
    rolled = roll(picture, angle)
    np.testing.assert_allclose(projected(body, rolled), rolled.keypoints, atol=1e-5)
    box = box_of(rolled, CROP_PX[1] / CROP_PX[0])
    np.testing.assert_allclose(red_dot(crop(rolled, box, CROP_PX), box), rolled.keypoints[WRIST], atol=0.01 * box[2])


def test_flipped_truth_reprojects_where_the_mirror_shows_it(body, picture):
    flipped = flip(picture)
    # Not quite: our body, like everybody's, is a little lopsided.
    np.testing.assert_allclose(projected(body, flipped), flipped.keypoints, atol=4e-3)
    box = box_of(flipped, CROP_PX[1] / CROP_PX[0])
    right = skeleton.KEYPOINT_NAMES.index("right_wrist")
    np.testing.assert_allclose(red_dot(crop(flipped, box, CROP_PX), box), flipped.keypoints[right], atol=0.01 * box[2])


def test_flip_twice_and_roll_back_are_the_identity(picture):
    for undone in (flip(flip(picture)), roll(roll(picture, 0.4), -0.4)):
        for name in ("rotmat", "betas", "pelvis", "keypoints", "confidence", "keypoints_3d", "confidence_3d"):
            np.testing.assert_allclose(getattr(undone, name), getattr(picture, name), atol=1e-12, err_msg=name)
        box = box_of(picture, 0.75)
        np.testing.assert_allclose(crop(undone, box, CROP_PX), crop(picture, box, CROP_PX), atol=2 / 255)


def test_rotations_stay_rotations(picture):
    for changed in (flip(picture), roll(picture, 1.0)):
        np.testing.assert_allclose(
            changed.rotmat @ changed.rotmat.swapaxes(-1, -2), np.eye(3)[None].repeat(24, 0), atol=1e-6
        )
        np.testing.assert_allclose(np.linalg.det(changed.rotmat), 1, atol=1e-6)


def test_flipped_crop_is_the_crop_mirrored(picture):
    box = box_of(picture, 0.75)
    mirrored = crop(flip(picture), box * [-1, 1, 1], CROP_PX)
    np.testing.assert_allclose(mirrored, crop(picture, box, CROP_PX)[..., ::-1], atol=2 / 255)


def test_jittered_box_still_holds_most_of_the_person(picture):
    rng = np.random.default_rng(0)
    box = box_of(picture, 0.75)
    for _ in range(50):
        x, y, size = jitter_box(box, AugmentConfig(), rng)
        inside = np.abs(picture.keypoints - [x, y]) < [0.375 * size, 0.5 * size]
        assert inside.all(axis=-1).mean() > 0.7
        assert 0.8 < size / box[2] < 1.25


def test_colour_and_occlusion_leave_pictures_pictures(picture):
    seen = crop(picture, box_of(picture, 0.75), CROP_PX)
    untouched = AugmentConfig(colour=0, grey=0, occlusion=0)
    np.testing.assert_allclose(
        occlude(recolour(seen, untouched, np.random.default_rng(0)), untouched, np.random.default_rng(0)),
        seen,
        atol=1e-6,
    )
    hidden = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        changed = recolour(seen, AugmentConfig(), rng)
        assert changed.shape == seen.shape and changed.dtype == np.float32 and 0 <= changed.min() <= changed.max() <= 1
        covered = occlude(changed, AugmentConfig(occlusion=1), rng)
        assert covered.dtype == np.float32
        hidden.append((covered != changed).any(axis=0).mean())
    assert max(hidden) > 0.05 and np.median(hidden) < 0.5
