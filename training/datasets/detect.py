"""The runtime's own keypoint detector on a data set's images, so that training and evaluation see what a robot would."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import cv2
import numpy as np

from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.region import crop_square
from hmr_ros.media import MediaError, read_image
from hmr_ros.skeleton import from_blazepose
from training.datasets.people import DatasetError, People, people_of

PICTURE_PX = 384
"""Side of the picture that the detector is shown of each person, as in `training.detector_loop`."""
ROOM = 1.25
"""Side of that picture divided by that of the person's box: the detector needs some surroundings."""


def load_image(people: People, row: int, folder: Path) -> np.ndarray:
    """(H, W, 3) uint8, RGB: the image of one row, upright. folder: where image paths start."""
    path = folder / str(people.image[row])
    try:
        image = read_image(path)
    except (OSError, MediaError) as error:
        raise DatasetError(f"{path}: not a readable image ({error}).") from error
    return cv2.rotate(image, cv2.ROTATE_90_CLOCKWISE) if people.turned[row] else image


def detect(people: People, folder: Path) -> People:
    """The same people with BlazePose's keypoints and its 3D in place of any detections they had, and with their images' sizes.

    Everyone is looked for in the box around them, one at a time. People without a box, and people not found, have no detections.
    """
    from training.detector_loop import SingleLook

    if not len(people):
        return people
    settings = KeypointsConfig()
    look = SingleLook(settings.min_score)
    found = {"uv": [], "confidence": [], "world": [], "size": []}
    image, last = None, None
    for row in range(len(people)):
        if people.image[row] != last:
            image, last = load_image(people, row, folder), people.image[row]
        uv, confidence, world = _one(look, image, people.box[row]) if people.box_known[row] else _nobody()
        for key, value in zip(found, (uv, confidence, world, image.shape[1::-1])):
            found[key].append(value)
    columns = {key: np.array(values) for key, values in found.items()}
    # As at run time: a keypoint with low confidence counts as missing.
    columns["confidence"][columns["confidence"] < settings.min_confidence] = 0
    seen = people_of(
        len(people), image_size=columns["size"], detected_2d=columns["uv"], confidence_detected=columns["confidence"],
        detected_3d=columns["world"], detected_3d_known=columns["confidence"] > 0,
    )  # fmt: skip
    new = ("image_size", "detected_2d", "confidence_detected", "detected_3d", "detected_3d_known")
    return dataclasses.replace(people, **{name: getattr(seen, name) for name in new})


def _one(look, image: np.ndarray, box: np.ndarray):
    """Canonical keypoints of the person in the box: uv (23, 2) pixels, confidence (23,), world (23, 3) metres."""
    side = ROOM * max(float(box[2]), 2.0)
    corner = box[:2] + 0.5 - side / 2
    picture = crop_square(image, corner, side, PICTURE_PX)
    seen = look(picture)
    if seen is None:
        return _nobody()
    uv = (seen.uv + 0.5) * side / PICTURE_PX + corner - 0.5
    inside = ((uv >= -0.5) & (uv < np.array(image.shape[1::-1]) - 0.5)).all(axis=-1)
    confidence = np.where(inside, seen.confidence, 0)[:, None]
    return from_blazepose(uv), from_blazepose(confidence)[:, 0], from_blazepose(seen.world)


def _nobody():
    return np.zeros((23, 2)), np.zeros(23), np.zeros((23, 3))
