"""One person in one picture, with the ground truth, and the augmentations of both together.

Turning and mirroring resample no pixel: they are done by the camera through which the picture is cropped, so the crop is sampled once.
A roll is about the optical axis, so it is exact for the ground truth under perspective, too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from hmr_ros import skeleton
from hmr_ros.crop import crop_people, keypoint_box

MIRROR = np.diag([-1.0, 1, 1])


class Projects(Protocol):
    def project(self, xyz: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class TurnedCamera:
    """A camera whose view is turned about the optical axis, or mirrored."""

    camera: Projects
    view: np.ndarray
    """(2, 2) orthogonal: from the camera's own x, y to the new ones."""

    def project(self, xyz: np.ndarray) -> np.ndarray:
        return self.camera.project(np.concatenate([xyz[..., :2] @ self.view, xyz[..., 2:]], axis=-1))


@dataclass(frozen=True)
class Picture:
    image: np.ndarray
    """(H, W, 3) uint8 RGB."""
    camera: Projects
    rotmat: np.ndarray
    """(24, 3, 3), as BodyPose.rotmat; joint 0 relative to the camera."""
    betas: np.ndarray
    """(10,)."""
    pelvis: np.ndarray
    """(3,) metres, optical frame: where the pelvis is."""
    keypoints: np.ndarray
    """(23, 2) as detected, normalised image coordinates."""
    confidence: np.ndarray
    """(23,); 0 hides a keypoint."""
    keypoints_3d: np.ndarray
    """(23, 3) metres, from the hips' centre, optical axes: the detector's own 3D."""
    confidence_3d: np.ndarray
    """(23,)."""

    def turned(self, view: np.ndarray) -> Picture:
        """Camera, root rotation and points after `view`; left and right are not exchanged yet."""
        turn = np.eye(3)
        turn[:2, :2] = view
        rotmat = np.concatenate([(turn @ self.rotmat[0])[None], self.rotmat[1:]])
        return replace(
            self, camera=TurnedCamera(self.camera, view), rotmat=rotmat, pelvis=turn @ self.pelvis,
            keypoints=self.keypoints @ view.T, keypoints_3d=self.keypoints_3d @ turn.T,
        )  # fmt: skip


def roll(picture: Picture, angle_rad: float) -> Picture:
    """Roll the camera: everything turns clockwise in the image by `angle_rad`."""
    c, s = np.cos(angle_rad), np.sin(angle_rad)
    return picture.turned(np.array([[c, -s], [s, c]]))


def flip(picture: Picture) -> Picture:
    """Mirror the picture: left limbs become right ones. Bodies are assumed to be symmetric."""
    seen = picture.turned(MIRROR[:2, :2])
    joints, points = list(skeleton.MIRRORED_JOINTS), list(skeleton.MIRRORED_KEYPOINTS)
    rotmat = seen.rotmat[joints] @ MIRROR
    rotmat[1:] = MIRROR @ rotmat[1:]
    per_keypoint = ("keypoints", "confidence", "keypoints_3d", "confidence_3d")
    return replace(seen, rotmat=rotmat, **{name: getattr(seen, name)[points] for name in per_keypoint})


@dataclass(frozen=True)
class AugmentConfig:
    """Augmentation of training pictures: probabilities, and standard deviations of normal numbers that are cut at two deviations."""

    flip: float = 0.5
    roll: float = 0.6
    roll_deg: float = 15.0
    scale: float = 0.1
    """Standard deviation of the log of the box's size."""
    shift: float = 0.05
    """Standard deviation of the box's centre, as a fraction of its size."""
    colour: float = 0.2
    """Standard deviation of the log of each channel's gain and of the contrast."""
    grey: float = 0.1
    occlusion: float = 0.4
    occluder: float = 0.6
    """Size of the largest occluder, as a fraction of the crop."""


def turn_randomly(picture: Picture, config: AugmentConfig, rng: np.random.Generator) -> Picture:
    if rng.uniform() < config.flip:
        picture = flip(picture)
    if rng.uniform() < config.roll:
        picture = roll(picture, np.radians(config.roll_deg) * cut_normal(rng))
    return picture


def cut_normal(rng: np.random.Generator, size: int | None = None):
    return np.clip(rng.standard_normal(size), -2, 2)


def box_of(picture: Picture, aspect: float) -> np.ndarray:
    """The box the runtime would draw: (3,) float64, centre and height, normalised image coordinates."""
    center, size = keypoint_box(picture.keypoints, picture.confidence, aspect)
    return np.array([*center, size])


def jitter_box(box: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    x, y = box[:2] + config.shift * box[2] * cut_normal(rng, 2)
    return np.array([x, y, box[2] * np.exp(config.scale * cut_normal(rng))])


def crop(picture: Picture, box: np.ndarray, crop_px: tuple[int, int]) -> np.ndarray:
    """(3, height, width) float32 in [0, 1]: what the runtime would show the encoder."""
    return crop_people(picture.image, picture.camera, box[None], crop_px)[0]


def recolour(crop: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Simulate other light and other cameras: gain per channel, contrast, now and then no colour at all."""
    if rng.uniform() < config.grey:
        crop = np.repeat(crop.mean(0, keepdims=True), 3, axis=0)
    mean = crop.mean()
    gain = np.exp(config.colour * cut_normal(rng, 3))[:, None, None]
    contrast = np.exp(config.colour * cut_normal(rng))
    return np.clip(gain * (mean + contrast * (crop - mean)), 0, 1).astype(np.float32)


def occlude(crop: np.ndarray, config: AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Add an occluder: an ellipse or a box, of one colour or filled with another part of the same crop."""
    import cv2

    _, height, width = crop.shape
    if rng.uniform() >= config.occlusion:
        return crop
    center = rng.uniform(0, 1, 2) * (width, height)
    axes = rng.uniform(0.1, config.occluder, 2) * (width, height) / 2
    mask = np.zeros((height, width), np.uint8)
    shape = (tuple(map(float, center)), tuple(map(float, 2 * axes)), float(rng.uniform(0, 180)))
    if rng.uniform() < 0.5:
        cv2.ellipse(mask, shape, 255, -1, cv2.LINE_AA)
    else:
        cv2.fillPoly(mask, [np.round(cv2.boxPoints(shape)).astype(np.int32)], 255, cv2.LINE_AA)
    thing = rng.uniform(0, 1, (3, 1, 1)).astype(np.float32)
    if rng.uniform() < 0.5:
        thing = np.roll(crop, (rng.integers(height), rng.integers(width)), axis=(1, 2))
    opacity = mask.astype(np.float32) / 255
    return crop * (1 - opacity) + thing * opacity
