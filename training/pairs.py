"""Training samples with keypoints from the real detector: the pairs of `training.detector_loop`, augmented by roll and mirroring."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig
from hmr_ros.metrics import pa_mpjpe
from hmr_ros.regressor import observe
from hmr_ros.types import Keypoints
from training import detector_loop
from training.body import BodyArrays, ForwardKinematics
from training.losses import truth_of
from training.rotation import rotvec_to_rotmat
from training.synthesis import Sample

ROLL_DEG = 12.0
"""Standard deviation of the roll about the optical axis. The detector turns its crop upright, so a small roll does not change what it
finds; after a much larger one it would have found something else."""
MIN_LIMBS = 4
"""Limb keypoints needed to measure the error of the detector's 3D: fewer fit almost anything after rotation and scaling."""
UNIT_CAMERA = Camera(np.eye(3), 1, 1)
"""Pairs are in normalised image coordinates already."""


class Pairs:
    """People of one file, drawn at random. Everything random comes from the generator handed in."""

    def __init__(
        self,
        path: Path,
        body: BodyModel,
        max_error_mm: float = math.inf,
        without_3d: float = 0.0,
        dropout: float = 0.0,
    ):
        """body: must be that of the file's betas, else ValueError; max_error_mm: leave out people whose detected 3D has a larger error;
        without_3d: fraction of people who lose that 3D; dropout: fraction of keypoints removed at random."""
        self.body, self.without_3d, self.dropout = BodyArrays.of(body), without_3d, dropout
        self.kinematics = ForwardKinematics()
        settings = KeypointsConfig()
        arrays = detector_loop.load(path, body.shape_space)
        confidence = np.where(arrays["confidence"] >= settings.min_confidence, arrays["confidence"], 0)
        usable = arrays["found"] & ((confidence > 0).sum(axis=1) >= settings.min_keypoints)
        usable &= detector_error(arrays) <= max_error_mm
        names = ("rotmat", "betas", "transl", "uv", "world")
        people = {name: torch.from_numpy(arrays[name][usable]) for name in names}
        self.rotmat, self.betas, self.transl, self.uv, self.world = (people[name] for name in names)
        self.confidence = torch.from_numpy(confidence[usable])

    def __len__(self) -> int:
        return len(self.rotmat)

    @torch.no_grad()
    def __call__(self, count: int, rng: torch.Generator) -> Sample:
        pick = torch.randint(len(self), (count,), generator=rng)
        rotmat, uv, world = self.rotmat[pick].clone(), self.uv[pick].clone(), self.world[pick].clone()
        betas, confidence = self.betas[pick], self.confidence[pick].clone()
        pelvis = self.transl[pick] + self.kinematics(rotmat, betas, self.body).pelvis
        mirrored = torch.rand(count, 1, 1, generator=rng) < 0.5
        rotmat = torch.where(mirrored[..., None], mirror_rotmat(rotmat), rotmat)
        uv = torch.where(mirrored, mirror_points(uv), uv)
        world = torch.where(mirrored, mirror_points(world), world)
        pelvis = torch.where(mirrored[:, 0], pelvis * pelvis.new_tensor([-1.0, 1, 1]), pelvis)
        confidence = torch.where(mirrored[..., 0], confidence[:, list(skeleton.MIRRORED_KEYPOINTS)], confidence)
        roll = math.radians(ROLL_DEG) * torch.randn(count, 1, generator=rng)
        turn = rotvec_to_rotmat(roll * roll.new_tensor([0.0, 0, 1]))
        rotmat[:, 0] = turn @ rotmat[:, 0]
        pelvis = (turn @ pelvis[..., None]).squeeze(-1)
        uv, world = uv @ turn[:, :2, :2].transpose(1, 2), world @ turn.transpose(1, 2)
        lost = torch.rand(count, 23, generator=rng) < self.dropout * 2 * torch.rand(count, 1, generator=rng)
        lost &= ((confidence > 0) & ~lost).sum(1, keepdim=True) >= KeypointsConfig().min_keypoints
        confidence = torch.where(lost, 0, confidence)
        world[torch.rand(count, generator=rng) < self.without_3d] = math.nan
        return self.sample(rotmat, betas, pelvis, uv, confidence, world)

    def sample(
        self, rotmat: Tensor, betas: Tensor, pelvis: Tensor, uv: Tensor, confidence: Tensor, world: Tensor
    ) -> Sample:
        """What the runtime would pass to the networks, with the ground truth."""
        world = torch.where(
            (world.abs().sum(-1, keepdim=True) > 0), world, math.nan
        )  # the detector has no such keypoint
        detected = Keypoints(uv.numpy(), confidence.numpy(), np.ones(len(uv), np.float32), world.numpy())
        seen = [torch.from_numpy(array) for array in vars(observe(detected, UNIT_CAMERA)).values()]
        posed = self.kinematics(rotmat, betas, self.body)
        points = posed.keypoints + pelvis[:, None]
        center, size = seen[4].split([2, 1], dim=-1)
        clean = (points[..., :2] / points[..., 2:].clamp_min(0.1) - center[:, None]) / (size[:, None] / 2)
        truth = truth_of(clean, rotmat, betas, posed)
        return Sample(*seen, truth, pelvis - posed.pelvis)


def detector_error(arrays: dict[str, np.ndarray]) -> np.ndarray:
    """(N,): PA-MPJPE in mm of the detector's own 3D, over the limb keypoints that it has; 0 where it has fewer than MIN_LIMBS of them.

    arrays: as `detector_loop.load` returns them.
    """
    limbs = [skeleton.KEYPOINT_NAMES.index(name) for name in skeleton.LIMBS]
    known = arrays["world"][:, limbs].any(axis=-1, keepdims=True)
    count = known.sum(axis=1)

    def gathered(points: np.ndarray) -> np.ndarray:
        """Unknown points, moved to the centroid of the known ones: there they change neither the alignment nor the error."""
        middle = np.where(known, points, 0).sum(axis=1) / np.maximum(count, 1)
        return np.where(known, points, middle[:, None])

    error = pa_mpjpe(*(gathered(arrays[name][:, limbs]) for name in ("world", "keypoints_3d")))
    return np.where(count[:, 0] >= MIN_LIMBS, error * len(limbs) / np.maximum(count[:, 0], 1), 0)


def mirror_rotmat(rotmat: Tensor) -> Tensor:
    """(B, 24, 3, 3) local rotations of the mirrored body: x negated, left and right exchanged."""
    flip = rotmat.new_tensor([-1.0, 1, 1])
    return flip[:, None] * rotmat[:, list(skeleton.MIRRORED_JOINTS)] * flip


def mirror_points(points: Tensor) -> Tensor:
    """(B, 23, 2 or 3) keypoints mirrored at x = 0, left and right exchanged."""
    flip = points.new_ones(points.shape[-1])
    flip[0] = -1
    return points[:, list(skeleton.MIRRORED_KEYPOINTS)] * flip
