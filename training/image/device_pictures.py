"""Synthetic training batches made wholly on one device: people, detections, pictures, crops, ground truth.

Pictures are drawn directly in the crop's own pixels, as an ideal camera sees them, so nothing is resampled. What
`training.image.augment` does to finished pictures is done here to the scene: `augment_pose` mirrors, a roll turns the person before
anything is drawn, and both are exact for the ground truth.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hmr_ros.body_model import BodyModel
from training.body import BodyArrays
from training.boxes import keypoint_box
from training.config import NoiseConfig
from training.constants import constant
from training.draws import cut_normal, happens, normal, uniform
from training.image.appearance import Appearance, AppearanceSampler
from training.image.augment import AugmentConfig
from training.image.image_effects import blur, develop, occlude, recolour
from training.image.rasterise import Fragments, fragments, interpolate, paint, project_triangles, rasterise
from training.image.sample import ImageSample
from training.image.scenery import Scenery, look_at
from training.image.skinning import Skin
from training.losses import truth_of
from training.render_person import CUT_FRACTION
from training.rotation import rotvec_to_rotmat
from training.synthesis import Synthesis, random_bodies

CHUNK = 64
"""People drawn at a time, so that memory stays bounded, at about 2 GB for crops of 256x192."""
SUPERSAMPLING = 2
"""Samples along each side of a pixel."""
SMALLEST_BOX = 0.01
"""Height in normalised image coordinates, for people with a single visible keypoint, whom the runtime would skip."""
SIDES = (0, -1), (-1, 0), (1, 0), (0, 1)
"""Direction from a person to the centre of a picture that cuts them from below, from the right, from the left, from above."""
BYSTANDER = 0.25
"""Part of the crops in which another person stands in the background."""


class DevicePictures:
    """Draws samples. Everything random comes from the generator handed in, which is on the same device."""

    def __init__(
        self, body: BodyModel, noise: NoiseConfig, backgrounds: Path, patterns: Path | None, augment: AugmentConfig,
        crop_px: tuple[int, int], device: torch.device,
    ):  # fmt: skip
        self.augment, self.crop_px = augment, crop_px
        arrays = BodyArrays.of(body).to(device)
        self.synthesis = Synthesis(arrays, replace(noise, truncation=0))  # the picture's own border cuts people
        self.skin, self.scenery = Skin(body, device), Scenery(backgrounds, patterns, device)
        self.appearance = AppearanceSampler(body, self.scenery.pieces, device)

    @torch.no_grad()
    def __call__(self, rotvec: Tensor, rng: torch.Generator, augment: bool = True) -> ImageSample:
        """rotvec: (B, 24, 3), as `Synthesis` takes it; `augment` varies poses, boxes, colours, and adds occluders."""
        rotmat, betas, pelvis = random_bodies(rotvec, rng, augment)
        if augment:
            rotmat, pelvis = roll(rotmat, pelvis, self.augment, rng)
        posed = self.synthesis.kinematics(rotmat, betas, self.synthesis.body)
        xy, noisy, confidence, points, known, *_ = self.synthesis.look(posed.keypoints, pelvis, rng)
        frame = random_frame(xy, rng)
        confidence = confidence * inside(noisy, frame)
        # The runtime would skip people with so few detected keypoints: they get the true ones, which make a box.
        unseen = (confidence > 0).sum(1, keepdim=True) < 2
        noisy = torch.where(unseen[..., None], xy, noisy)
        confidence = torch.where(unseen, inside(xy, frame).float(), confidence)

        center, size = keypoint_box(noisy, confidence, self.crop_px[1] / self.crop_px[0])
        box = torch.cat([center, size.clamp_min(SMALLEST_BOX)[:, None]], dim=1)
        box = jitter(box, self.augment, rng) if augment else box
        center, half = box[:, None, :2], box[:, None, 2:] / 2
        truth = truth_of((xy - center) / half, rotmat, betas, posed)
        seen = torch.where(confidence[..., None] > 0, (noisy - center) / half, 0)
        transl = pelvis - posed.pelvis
        scenes = zip(*(array.split(CHUNK) for array in (rotmat, betas, transl, box, frame)))
        crops = torch.cat([self._shoot(*scene, rng, augment) for scene in scenes])
        return ImageSample(crops, seen, confidence, points, known, box, truth, transl)

    def _shoot(
        self, rotmat: Tensor, betas: Tensor, transl: Tensor, box: Tensor, frame: Tensor, rng: torch.Generator, augment: bool
    ) -> Tensor:  # fmt: skip
        """Finished crops (B, 3, H, W). box: (B, 3) as `bbox_info`; frame: of `random_frame`."""
        layer = self.layer(rotmat, betas, transl, box, self.appearance(len(box), rng), rng)
        behind = self.scenery.backgrounds(len(box), self.crop_px, rng) * uniform(rng, 0.6, 1.2, len(box), 1, 1, 1)
        behind = blur(behind, (uniform(rng, 0.5, 3.5, len(box), 1) * happens(rng, 0.5, len(box), 1)).expand(-1, 2))
        other = look_at(
            layer.roll(1, 0) * happens(rng, BYSTANDER, len(box), 1, 1, 1), self.crop_px, uniform(rng, 0.7, 2, len(box), 1),
            torch.stack([uniform(rng, -2, 2, len(box)), uniform(rng, -0.4, 0.4, len(box))], dim=1), rng, "zeros",
        )  # fmt: skip
        picture = over(layer, over(other, behind))
        picture = develop(picture, rng) * self._within(box, frame)
        if augment:
            picture = occlude(recolour(picture, self.augment, rng), self.augment, rng)
        return picture

    def layer(
        self, rotmat: Tensor, betas: Tensor, transl: Tensor, box: Tensor, look: Appearance, rng: torch.Generator
    ) -> Tensor:
        """People without a background: colour times coverage, and coverage, (B, 4, H, W). transl: (B, 3) metres."""
        size = self.crop_px[0] * SUPERSAMPLING, self.crop_px[1] * SUPERSAMPLING
        skinned = self.skin(rotmat, betas, look.thickness_m)
        triangles = project_triangles(in_crop(skinned.vertices + transl[:, None], box, size), self.skin.faces, size)
        seen = fragments(triangles, rasterise(triangles, size))
        light = look.relief * lighting(skinned.normals, rng)
        values = interpolate(torch.cat([look.rgb, light, look.cloth, look.patterned], -1), self.skin.faces, seen)
        rgb = self._dye(values, look, seen)
        layer = paint(torch.cat([rgb, torch.ones_like(rgb[:, :1])], dim=1), seen, (len(box), *size))
        return torch.nn.functional.avg_pool2d(layer, SUPERSAMPLING).contiguous()

    def _dye(self, values: Tensor, look: Appearance, seen: Fragments) -> Tensor:
        """Colours of fragments, (P, 3), from the vertices' values there, (P, 8)."""
        rgb, light, cloth, patterned = values.split([3, 1, 2, 2], dim=1)
        opacity, part = patterned.max(1)
        pattern = self.scenery.cloth(look.piece.flatten()[2 * seen.person + part], cloth)
        return (torch.lerp(rgb, pattern, opacity[:, None]) * light).clamp(0, 1)

    def _within(self, box: Tensor, frame: Tensor) -> Tensor:
        """(B, 1, H, W): which of the crop's pixels lie in the camera's picture; `hmr_ros.crop.crop_people` makes all others black."""
        height, width = self.crop_px
        x = box[:, :1] + ((torch.arange(width, device=box.device) + 0.5) / width - 0.5) * box[:, 2:] * width / height
        y = box[:, 1:2] + ((torch.arange(height, device=box.device) + 0.5) / height - 0.5) * box[:, 2:]
        columns = (x > frame[:, :1]) & (x < frame[:, 2:3])
        rows = (y > frame[:, 1:2]) & (y < frame[:, 3:])
        return (rows[:, :, None] & columns[:, None]).unsqueeze(1)


def over(layer: Tensor, picture: Tensor) -> Tensor:
    """Put a layer over a picture. layer: (B, 4, H, W), colour times coverage, and coverage; picture: (B, 3, H, W)."""
    return layer[:, :3] + (1 - layer[:, 3:]) * picture


def in_crop(xyz: Tensor, box: Tensor, size: tuple[int, int]) -> Tensor:
    """Points of the optical frame, (B, N, 3) metres, as pixels of the boxes' crops and depth. size: the crops' height and width."""
    z = xyz[..., 2:]
    pixel = (xyz[..., :2] / z - box[:, None, :2]) * (size[0] / box[:, None, 2:])
    return torch.cat([pixel + constant((size[1] / 2 - 0.5, size[0] / 2 - 0.5), box.device), z], dim=-1)


def roll(rotmat: Tensor, pelvis: Tensor, config: AugmentConfig, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn some people about the optical axis. rotmat: (B, 24, 3, 3); pelvis: (B, 3)."""
    batch = len(rotmat)
    angle = math.radians(config.roll_deg) * cut_normal(rng, batch, 1) * happens(rng, config.roll, batch, 1)
    turn = rotvec_to_rotmat(angle * constant((0, 0, 1), angle.device))
    rotmat = torch.cat([turn.unsqueeze(1) @ rotmat[:, :1], rotmat[:, 1:]], dim=1)
    return rotmat, (turn @ pelvis.unsqueeze(-1)).squeeze(-1)


def jitter(box: Tensor, config: AugmentConfig, rng: torch.Generator) -> Tensor:
    """Boxes (B, 3) with the random errors of a detector."""
    center = box[:, :2] + config.shift * box[:, 2:] * cut_normal(rng, len(box), 2)
    return torch.cat([center, box[:, 2:] * torch.exp(config.scale * cut_normal(rng, len(box), 1))], dim=1)


def random_frame(xy: Tensor, rng: torch.Generator) -> Tensor:
    """Square pictures, each with one person in it or cut by its border: `training.render_person.crop_camera` for a batch.

    xy: (B, 23, 2) the true keypoints, normalised image coordinates. Returns their borders (B, 4) in the same: left, top, right, bottom.
    """
    low, high = xy.amin(1), xy.amax(1)
    extent, middle = high - low, (low + high) / 2
    batch = len(xy)
    width = extent.amax(1, keepdim=True) / uniform(rng, 0.4, 0.8, batch, 1)
    center = middle + uniform(rng, -1, 1, batch, 2) * (width - 1.15 * extent).clamp_min(0) / 2
    # From below more often than not, then from the sides and above.
    side = uniform(rng, 0, 1, batch, 1)
    toward = constant(SIDES, xy.device)[(side > constant((0.6, 0.75, 0.9), xy.device)).sum(1)]
    most = constant((0.35, 0.5), xy.device)
    beyond = extent * (0.08 + (most - 0.08) * uniform(rng, 0, 1, batch, 1))  # how much of the person is outside
    cut = middle + toward * (width / 2 - extent / 2 + beyond)
    is_cut = happens(rng, CUT_FRACTION, batch, 1) & (toward != 0)
    center = torch.where(is_cut, cut, center)
    return torch.cat([center - width / 2, center + width / 2], dim=1)


def inside(xy: Tensor, frame: Tensor) -> Tensor:
    """Which points (B, N, 2) fall into the pictures (B, 4); (B, N) bool."""
    return ((xy > frame[:, None, :2]) & (xy < frame[:, None, 2:])).all(-1)


def lighting(normals: Tensor, rng: torch.Generator) -> Tensor:
    """Brightness by direction of the surface: one lamp from above and the camera's side, the sky, the floor. (B, V, 3) to (B, V, 1)."""
    batch = len(normals)
    toward = normal(rng, batch, 3) + constant((0, -1, -0.7), normals.device)  # y points down, z away from us
    lamp = torch.nn.functional.normalize(toward, dim=1)
    key = (normals * lamp[:, None]).sum(-1, keepdim=True).clamp_min(0)
    ambient, contrast = uniform(rng, 0.35, 0.8, batch, 1, 1), uniform(rng, 0.3, 0.75, batch, 1, 1)
    return ambient * (1 - 0.3 * normals[..., 1:2]) + contrast * key
