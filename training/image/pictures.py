"""Synthetic pictures to train on: motion capture on our body, dressed, lit, in front of photographs, and seen by a simulated detector.

Clothes are painted onto the body: colours, stripes, and cloth cut from pictures of a folder. Loose garments, hair that stands out and
things held in hands are not modelled. Pictures are rendered with OpenCV on the CPU, one at a time per core.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from hmr_ros.body_model import BodyModel
from hmr_ros.camera import Camera
from training.body import BodyArrays, ForwardKinematics
from training.config import NoiseConfig
from training.image.augment import Picture
from training.render_person import Backgrounds, PersonRenderer, crop_camera
from training.synthesis import Synthesis, random_bodies

SIDE_PX = 320
"""Side of the square pictures: a person is about as high in them as a crop is."""
PATTERN_PX = 128


class Patterns:
    """Cloth: pieces of the pictures in a folder."""

    def __init__(self, folder: Path):
        self.backgrounds = Backgrounds(folder)

    def paint(self, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Colours of flat cloth projected onto points of the body, (P, 3) metres, repeating every half metre or so. (P, 3) float32 RGB."""
        cloth = self.backgrounds.draw(PATTERN_PX, rng).astype(np.float32)
        angle = rng.uniform(0, 2 * np.pi)
        along = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / rng.uniform(0.3, 0.8)
        row, column = (np.abs((points[:, :2] @ along) % 2 - 1) * (PATTERN_PX - 1)).astype(int).T
        return cloth[row, column]


class DressedRenderer(PersonRenderer):
    """Gives some of the people patterned clothes."""

    def __init__(self, body: BodyModel, backgrounds: Backgrounds, patterns: Patterns | None = None):
        super().__init__(body, backgrounds)
        self.patterns = patterns

    def _colours(self, rng: np.random.Generator) -> np.ndarray:
        rgb = super()._colours(rng)
        if self.patterns:
            for name in ("shirt", "trousers"):
                if rng.uniform() < 0.5:
                    mask = self._masks[name]
                    rgb[mask] = self.patterns.paint(self.body.v_template[mask], rng)
        return rgb


class Studio:
    """Draws pictures of people in given poses. Everything random comes from the generator handed in."""

    def __init__(self, body: BodyModel, noise: NoiseConfig, renderer: PersonRenderer):
        self.body, self.renderer = body, renderer
        self.arrays, self.kinematics = BodyArrays.of(body), ForwardKinematics()
        self.synthesis = Synthesis(self.arrays, replace(noise, truncation=0))  # the picture's own border cuts people

    @torch.no_grad()
    def __call__(self, rotvec: torch.Tensor, rng: torch.Generator, augment: bool = True) -> list[Picture]:
        """rotvec: (B, 24, 3), as `Synthesis` takes it; `augment` varies the poses, too."""
        rotmat, betas, pelvis = random_bodies(rotvec, rng, augment)
        posed = self.kinematics(rotmat, betas, self.arrays)
        xy, noisy, confidence, world, confidence_3d, *_ = self.synthesis.look(posed.keypoints, pelvis, rng)
        paint_rng = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
        arrays = (rotmat, betas, pelvis, xy, noisy, confidence, world, confidence_3d, pelvis - posed.pelvis)
        return [self._picture(*person, rng=paint_rng) for person in zip(*(array.numpy() for array in arrays))]

    def _picture(
        self, rotmat, betas, pelvis, xy, noisy, confidence, world, confidence_3d, transl, rng: np.random.Generator
    ) -> Picture:
        camera = crop_camera(xy, rng, SIDE_PX)
        image = self.renderer(rotmat, betas, transl, camera, rng)
        confidence = np.where(inside(noisy, camera), confidence, 0)
        if (confidence > 0).sum() < 2:  # the runtime would skip them; the true keypoints make a box
            noisy, confidence = xy, inside(xy, camera).astype(np.float32)
        return Picture(image, camera, rotmat, betas, pelvis, noisy, confidence, world, confidence_3d)


def inside(xy: np.ndarray, camera: Camera) -> np.ndarray:
    """Which points, (P, 2) normalised coordinates, fall into the image."""
    uv = camera.project(np.concatenate([xy, np.ones_like(xy[:, :1])], axis=-1))
    return ((uv >= -0.5) & (uv < [camera.width - 0.5, camera.height - 0.5])).all(axis=-1)
