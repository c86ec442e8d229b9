"""People whom another node found: their boxes take the place of the search."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.keypoints.blazepose_landmarks import Landmarks
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.keypoints.duplicates import unknown_boxes
from hmr_ros.keypoints.region import region_from_box, region_size, region_to_image
from hmr_ros.types import Frame

CLIP = Path(__file__).resolve().parents[1] / "hmr_ros" / "assets" / "demo" / "walk.mp4"
SIZE = 640, 480


def test_a_region_holds_the_whole_box_upright():
    for box in ([10, 20, 110, 320], [0, 0, 200, 50]):
        region = region_from_box(np.array(box, np.float32))
        corners = region_to_image(np.array([[0, 0], [1, 1]]), region)
        assert (corners[0] <= box[:2]).all() and (corners[1] >= box[2:]).all()
        np.testing.assert_allclose(corners.mean(axis=0), [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2])
        assert region_size(region) == pytest.approx(1.25 * max(box[2] - box[0], box[3] - box[1]))


def test_boxes_around_people_already_followed_are_not_looked_at_again():
    uv = np.random.default_rng(0).uniform((100, 50), (160, 300), (33, 2)).astype(np.float32)
    person = Landmarks(uv, np.ones(33), np.zeros((33, 3)), 1.0, np.zeros((2, 2)))
    boxes = np.array([[90, 30, 170, 310], [150, 40, 260, 310], [400, 40, 460, 310]], np.float32)
    np.testing.assert_array_equal(unknown_boxes(boxes, [person], SIZE), boxes[1:])
    np.testing.assert_array_equal(unknown_boxes(boxes, [], SIZE), boxes)
    assert unknown_boxes(np.zeros((0, 4), np.float32), [person], SIZE).shape == (0, 4)


def test_a_box_that_ends_where_the_image_ends_is_around_whose_landmarks_go_on_below():
    uv = np.random.default_rng(0).uniform((100, 300), (160, 1000), (33, 2)).astype(np.float32)
    person = Landmarks(uv, np.ones(33), np.zeros((33, 3)), 1.0, np.zeros((2, 2)))
    assert not len(unknown_boxes(np.array([[90, 290, 170, SIZE[1]]], np.float32), [person], SIZE))


@pytest.fixture(scope="module")
def picture():
    try:
        find_models()
    except KeypointModelError:
        pytest.skip("needs the BlazePose models: python -m hmr_ros.tools.fetch_keypoint_models")
    pytest.importorskip("ai_edge_litert")
    return np.ascontiguousarray(cv2.VideoCapture(str(CLIP)).read()[1][..., ::-1])


def box_around(found) -> np.ndarray:
    """(4,), of the first person found."""
    seen = found.uv[0][found.confidence[0] > 0]
    return np.concatenate([seen.min(axis=0) - 10, seen.max(axis=0) + 10]).astype(np.float32)


def test_real_people_are_found_in_their_boxes_and_nowhere_else(picture):
    height, width = picture.shape[:2]
    camera = Camera.guess(width, height)
    found = BlazePose(KeypointsConfig()).detect(Frame(picture, camera))
    assert len(found) == 1
    box = box_around(found)
    nowhere = np.zeros((0, 4), np.float32)
    source = BlazePose(KeypointsConfig())
    assert len(source.detect(Frame(picture, camera, boxes=nowhere))) == 0
    boxed = source.detect(Frame(picture, camera, 1, boxes=box[None]))
    assert len(boxed) == 1
    assert np.linalg.norm(boxed.uv - found.uv, axis=-1).mean() < 0.03 * (box[3] - box[1])
    again = source.detect(Frame(picture, camera, 2, boxes=nowhere))
    assert len(again) == 1  # followed by the landmarks while the other node says nothing


def test_boxes_around_nobody_hide_a_person_for_a_frame_and_not_for_ever(picture):
    """As a box detector has them of posters and mannequins: surer than of the person, in every frame."""
    height, width = picture.shape[:2]
    camera, source = Camera.guess(width, height), BlazePose(KeypointsConfig())
    plain = np.array([[0, 300, 60, 470], [560, 300, 630, 470]], np.float32)
    box = box_around(BlazePose(KeypointsConfig()).detect(Frame(picture, camera)))
    source.detect(Frame(np.zeros_like(picture), camera, boxes=plain[:0]))
    frames = [Frame(picture, camera, stamp, boxes=np.concatenate([plain, box[None]])) for stamp in (1, 2)]
    assert [len(source.detect(frame)) for frame in frames] == [0, 1]
