"""With more people before the camera than wanted, the nearest and best seen are followed; on real frames with the real detector."""

import cv2
import numpy as np
import pytest

from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.keypoints.blazepose_models import KeypointModelError, find_models
from hmr_ros.media import open_media
from hmr_ros.types import Frame

CLIP = "hmr_ros/assets/demo/walk.mp4"
EVERY = 4

try:
    find_models("")
except KeypointModelError as missing:
    pytest.skip(f"no keypoint models: {missing}", allow_module_level=True)


@pytest.fixture(scope="module")
def person(request):
    """(480, 640, 3): somebody before a background."""
    return next(iter(open_media(request.config.rootpath / CLIP)))[0]


def scene(person, *sizes: float) -> Frame:
    """The same person several times, side by side; 0 leaves a place empty."""
    image = np.full((480, 640 * len(sizes), 3), 127, np.uint8)
    for place, size in enumerate(sizes):
        if size:
            small = cv2.resize(person, None, fx=size, fy=size, interpolation=cv2.INTER_AREA)
            image[: small.shape[0], 640 * place : 640 * place + small.shape[1]] = small
    return image


def followed(detector: BlazePose, image: np.ndarray, frames: int, begin: int) -> list[int]:
    """In which place the people are after so many frames."""
    camera = Camera.guess(image.shape[1], image.shape[0])
    for i in range(begin, begin + frames):
        seen = detector.detect(Frame(image, camera, i * 33_000_000))
    center = [uv[c > 0, 0].mean() for uv, c in zip(seen.uv, seen.confidence)]
    return [int(x // 640) for x in center]


@pytest.mark.parametrize("newcomer, expected", [(1.0, [1]), (0.55, [0])])
def test_somebody_much_larger_takes_the_place_of_who_was_followed(person, newcomer, expected):
    """And somebody only a little larger does not."""
    detector = BlazePose(KeypointsConfig(max_people=1, redetect_every=EVERY))
    assert followed(detector, scene(person, 0.5, 0), 2, 0) == [0]
    assert followed(detector, scene(person, 0.5, newcomer), 2 * EVERY, 2) == expected


def test_the_largest_come_first(person):
    detector = BlazePose(KeypointsConfig(max_people=2, redetect_every=EVERY))
    assert followed(detector, scene(person, 0.5, 1.0, 0.7), 3, 0) == [1, 2]
