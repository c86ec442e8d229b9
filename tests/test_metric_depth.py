"""A depth image puts people where they are, however wrong the guess, and leaves them alone where it says nothing."""

from pathlib import Path

import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.metric_depth import MetricDepth, depth_at, nan_percentile
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.smpl_file import load_body
from hmr_ros.types import BodyPose, Frame, Keypoints

CLIP = Path(__file__).resolve().parents[1] / "hmr_ros" / "assets" / "demo" / "walk.mp4"
WIDTH, HEIGHT = 320, 240
CAMERA = Camera(np.array([[300.0, 0, 160], [0, 300, 120], [0, 0, 1]]), WIDTH, HEIGHT)
BACKGROUND_M = 6.0


@pytest.fixture(scope="module")
def body():
    return load_body("open")


def standing(body, z: float, seed: int = 0) -> BodyPose:
    rng = np.random.default_rng(seed)
    rotvec = rng.normal(0, 0.15, (1, 24, 3))
    rotvec[:, 0] = (np.pi, 0, 0)  # upright in a camera whose y points down
    rotmat = rotvec_to_rotmat(rotvec).astype(np.float32)
    return BodyPose(rotmat, rng.normal(0, 1, (1, 10)).astype(np.float32), np.array([[0.3, 0.1, z]], np.float32))


def depth_image(body, pose: BodyPose) -> np.ndarray:
    """The nearest surface in every pixel, metres: points strewn over the mesh."""
    vertices = body.vertices(pose.rotmat, pose.betas, pose.transl)[0]
    rng = np.random.default_rng(1)
    corner = rng.dirichlet((1, 1, 1), (30, len(body.faces)))
    points = np.einsum("sfc,fcd->sfd", corner, vertices[body.faces]).reshape(-1, 3)
    column, row = np.round(CAMERA.project(points)).astype(int).T
    depth = np.full((HEIGHT, WIDTH), BACKGROUND_M, np.float32)
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    np.minimum.at(depth, (row[inside], column[inside]), points[inside, 2])
    return depth


def corrected(body, pose, guess_factor: float, depth, seen_from=None):
    """The pose guessed farther away by a factor, then corrected."""
    true_pelvis = body.joints(pose.rotmat, pose.betas, pose.transl)[0][:, 0]
    guess = BodyPose(pose.rotmat, pose.betas, pose.transl + (guess_factor - 1) * true_pelvis)
    uv = CAMERA.project(body.keypoints(pose.rotmat, pose.betas, pose.transl))
    seen = Keypoints(uv, np.ones((1, 23), np.float32), np.ones(1, np.float32)) if seen_from is None else seen_from(uv)
    frame = Frame(np.zeros((HEIGHT, WIDTH, 3), np.uint8), CAMERA, depth=depth)
    moved, known = MetricDepth(body)(guess, seen, frame)
    return body.joints(moved.rotmat, moved.betas, moved.transl)[0][:, 0], true_pelvis, known, guess


@pytest.mark.parametrize("factor", [0.7, 1.0, 1.4])
@pytest.mark.parametrize("seed", range(3))
def test_people_go_where_they_are(body, factor, seed):
    pose = standing(body, 2.5, seed)
    found, true, known, _ = corrected(body, pose, factor, depth_image(body, pose))
    assert known.all()
    assert np.linalg.norm(found - true) < 0.06  # of 0.75 m to 1 m that were missing; at most 0.02 of it is the skin


def test_half_behind_a_table_they_still_do(body):
    """Something near hides the legs, and the detector guesses them all the same."""
    pose = standing(body, 2.5)
    depth = depth_image(body, pose)
    depth[HEIGHT // 2 + 20 :] = 1.0
    found, true, known, _ = corrected(body, pose, 1.3, depth)
    assert known.all() and np.linalg.norm(found - true) < 0.08


def test_holes_are_no_trouble_and_nothing_is_nothing(body):
    pose = standing(body, 2.5)
    depth = depth_image(body, pose)
    holes = np.random.default_rng(2).uniform(size=depth.shape)
    pitted = np.where(holes < 0.4, 0, np.where(holes < 0.6, np.nan, depth)).astype(np.float32)
    found, true, known, _ = corrected(body, pose, 1.3, pitted)
    assert known.all() and np.linalg.norm(found - true) < 0.08
    for empty in (None, np.zeros_like(depth), np.full_like(depth, np.nan)):
        found, _, known, guess = corrected(body, pose, 1.3, empty)
        assert not known.any()
        np.testing.assert_allclose(found, body.joints(guess.rotmat, guess.betas, guess.transl)[0][:, 0], atol=1e-5)


def test_keypoints_unseen_or_outside_say_nothing(body):
    pose = standing(body, 2.5)
    depth = depth_image(body, pose)
    hidden = lambda uv: Keypoints(uv, np.zeros((1, 23), np.float32), np.ones(1, np.float32))  # noqa: E731
    outside = lambda uv: Keypoints(uv + 1e4, np.ones((1, 23), np.float32), np.ones(1, np.float32))  # noqa: E731
    nowhere = lambda uv: Keypoints(uv * np.nan, np.ones((1, 23), np.float32), np.ones(1, np.float32))  # noqa: E731
    for seen_from in (hidden, outside, nowhere):
        assert not corrected(body, pose, 1.3, depth, seen_from)[2].any()


def test_depth_of_another_resolution_is_looked_up_in_the_same_place():
    depth = np.arange(12.0).reshape(3, 4).repeat(20, 0).repeat(20, 1) + 1
    uv = np.array([[15.0, 15], [300, 10], [170, 230]])
    full = depth_at(np.kron(depth, np.ones((4, 4))), uv, (240, 320))
    np.testing.assert_array_equal(full, depth_at(depth, uv, (240, 320)))
    np.testing.assert_array_equal(full, [1, 4, 11])


def test_percentile_is_numpys_without_warnings():
    values = np.random.default_rng(0).normal(size=(50, 25))
    values[values > 1] = np.nan
    np.testing.assert_array_equal(nan_percentile(values, 25), np.nanpercentile(values, 25, axis=1, method="lower"))
    assert np.isnan(nan_percentile(np.full((1, 3), np.nan), 50)).all()


def test_the_pipeline_puts_a_real_person_where_the_depth_image_says():
    """A flat cut-out of a person, 3 m away."""
    import cv2

    from hmr_ros.config import PipelineConfig
    from hmr_ros.factory import build_pipeline
    from hmr_ros.keypoints.blazepose_models import KeypointModelError

    try:
        pipeline = build_pipeline(PipelineConfig())
    except KeypointModelError:
        pytest.skip("needs the BlazePose models: python -m hmr_ros.tools.fetch_keypoint_models")
    picture = np.ascontiguousarray(cv2.VideoCapture(str(CLIP)).read()[1][..., ::-1])
    height, width = picture.shape[:2]
    frame = Frame(picture, Camera.guess(width, height))
    (alone,) = pipeline(frame).people
    pipeline.reset()
    (measured,) = pipeline(Frame(picture, frame.camera, depth=np.full((height, width), 3.0, np.float32))).people
    assert measured.distance_measured and not alone.distance_measured
    assert 2.9 < measured.joints[0, 2] < 3.3
    np.testing.assert_allclose(
        measured.joints[0, :2] / measured.joints[0, 2], alone.joints[0, :2] / alone.joints[0, 2], atol=1e-3
    )
