"""The demo clip and its truth: they belong together, to our body, and to the world as a camera sees it."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.media import open_media
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.skeleton import JOINT_NAMES
from hmr_ros.smpl_file import load_body

FOLDER = Path(__file__).resolve().parents[1] / "hmr_ros/assets/demo"
LIMIT_BYTES = 3_000_000


@pytest.fixture(scope="module")
def truth():
    with np.load(FOLDER / "walk.npz", allow_pickle=False) as data:
        return {name: data[name] for name in data.files}


@pytest.fixture(scope="module")
def frames():
    return list(open_media(FOLDER / "walk.mp4"))


@pytest.fixture(scope="module")
def pose(truth):
    count = len(truth["poses"])
    return rotvec_to_rotmat(truth["poses"].reshape(count, 24, 3)), np.tile(truth["betas"], (count, 1)), truth["transl"]


def joint(truth, name):
    return truth["joints"][:, JOINT_NAMES.index(name)]


def test_small_enough_to_ship():
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < LIMIT_BYTES


def test_every_frame_has_its_truth(truth, frames):
    assert len(frames) == len(truth["poses"]) == len(truth["transl"]) == len(truth["joints"])
    assert [stamp for _, stamp in frames] == truth["stamp_ns"].tolist()
    assert frames[0][0].shape == (480, 640, 3)


def test_truth_is_that_of_the_shipped_body(truth, pose):
    body = load_body("open")
    assert str(truth["shape_space"]) == body.shape_space
    joints, _ = body.joints(*pose)
    assert np.allclose(joints, truth["joints"], atol=1e-4), "the body has changed: python -m training.render_demo_clip"


def test_nobody_is_upside_down_or_mirrored(truth):
    """y is down in a camera. When the face is turned to the camera, the left hand is on the picture's right."""
    assert np.all(joint(truth, "head")[:, 1] < joint(truth, "pelvis")[:, 1])
    assert np.all(joint(truth, "pelvis")[:, 1] < joint(truth, "left_ankle")[:, 1])
    across = joint(truth, "left_hip") - joint(truth, "right_hip")
    up = joint(truth, "neck") - joint(truth, "pelvis")
    forward = np.cross(across, up)
    facing = forward[:, 2] < 0
    assert 0.2 < facing.mean() < 0.9, "seen from the front and from behind"
    assert np.all((across[:, 0] > 0)[np.abs(across[:, 0]) > 0.05] == facing[np.abs(across[:, 0]) > 0.05])
    feet_forward = joint(truth, "left_foot") - joint(truth, "left_ankle")
    assert np.median((feet_forward * forward).sum(-1)) > 0, "toes point where the chest does"


def test_the_picture_shows_the_truth(truth, frames, pose):
    """What moves against the empty room lies where the true body projects to."""
    camera = Camera(truth["K"], 640, 480)
    room = np.median([image for image, _ in frames[::10]], axis=0)
    for index in (5, 75, 140):
        vertices = load_body("open").vertices(*(part[index, None] for part in pose))
        uv = np.round(camera.project(vertices[0])).astype(int)
        assert ((uv >= 0) & (uv < [640, 480])).all(), "the whole body is in the picture"
        silhouette = np.zeros((480, 640), np.uint8)
        silhouette[uv[:, 1], uv[:, 0]] = 1
        silhouette = cv2.morphologyEx(silhouette, cv2.MORPH_CLOSE, np.ones((7, 7), np.uint8)) > 0
        differs = np.abs(frames[index][0] - room).max(axis=-1) > 25
        assert differs[silhouette].mean() > 0.8
        assert differs[~silhouette].mean() < 0.03


def test_rendering_again_gives_the_same_truth(truth):
    """The committed script made the committed file."""
    pytest.importorskip("training.render_demo_clip")
    from training import render_demo_clip as render

    mocap = Path(__file__).resolve().parents[2] / "shared/data/mocap"
    if not mocap.is_dir():
        pytest.skip(f"needs the motion capture in {mocap}")
    view = render.look_at(render.CAMERA_POSITION, render.CAMERA_TARGET)
    again = render.make_truth(load_body("open"), view, *render.load_walk(mocap))
    assert again.keys() == truth.keys()
    for name in ("poses", "betas", "transl", "joints", "K"):
        assert np.allclose(again[name], truth[name], atol=1e-4), name
