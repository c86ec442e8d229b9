"""Batches of crops with their truth: made by many processes, the same for the same seed, resumable at any step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hmr_ros.smpl_file import load_body
from training.config import NoiseConfig
from training.datasets.photographs import Photographs
from training.image.augment import AugmentConfig, Picture, box_of, crop, jitter_box, occlude, recolour, turn_randomly
from training.image.pictures import DressedRenderer, Patterns, Studio
from training.losses import Target
from training.render_person import Backgrounds
from training.synthesis import Poses
from training.train import generator

VALIDATION = 128
"""Pictures; each weighs half a megabyte."""


@dataclass(frozen=True)
class PicturesConfig:
    backgrounds: Path = Path("../shared/data/render/backgrounds")
    """Folder of pictures to stand before; your own make the best training for your place."""
    patterns: Path | None = Path("../shared/data/render/textures")
    """Folder of pictures to cut cloth from; None: plain and striped only."""
    workers: int = 2
    """Processes that draw; 0: the training process itself."""
    photographs: Path | None = None
    """File of `training.prepare --detect`: real people, mixed in. None: all pictures are drawn."""
    photographs_root: Path = Path(".")
    """Folder that its image paths start from."""
    photographs_share: float = 0.5
    """Part of each batch."""


class ImageSample(NamedTuple):
    """A batch as the network sees it, with its truth; as `training.synthesis.Sample`, plus the crops."""

    crop: Tensor
    """(B, 3, H, W) RGB in [0, 1]."""
    keypoints: Tensor
    confidence: Tensor
    keypoints_3d: Tensor
    confidence_3d: Tensor
    bbox_info: Tensor
    truth: Target
    transl: Tensor

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What `ImageMetaHmr.encode` takes."""
        return (self.crop,)

    @property
    def observed(self) -> tuple[Tensor, ...]:
        return self.keypoints, self.confidence, self.keypoints_3d, self.confidence_3d

    def to(self, device: torch.device) -> ImageSample:
        moved = [x if isinstance(x, Target) else x.to(device) for x in self]
        return ImageSample(*moved)._replace(truth=Target(*(x.to(device) for x in self.truth)))


class ImageData:
    """Where training pictures come from."""

    def __init__(
        self, data: Path, body: str, noise: NoiseConfig, pictures: PicturesConfig, augment: AugmentConfig,
        crop_px: tuple[int, int],
    ):  # fmt: skip
        train, val = (Poses.files(data, split) for split in ("train", "val"))
        self.poses, self.held_out, self.files = Poses(*train), Poses(*val), [*train, *val]
        patterns = Patterns(pictures.patterns) if pictures.patterns else None
        body_model = load_body(body)
        self.studio = Studio(
            body_model, noise, DressedRenderer(body_model, Backgrounds(pictures.backgrounds), patterns)
        )
        self.augment, self.crop_px = augment, crop_px
        self.photographs, self.photographs_share = None, pictures.photographs_share
        if pictures.photographs:
            self.photographs = Photographs(pictures.photographs, pictures.photographs_root, body_model)
            self.files.append(pictures.photographs)

    def __call__(self, count: int, rng: torch.Generator) -> ImageSample:
        """Training samples, augmented."""
        real = round(count * self.photographs_share) if self.photographs else 0
        pick = torch.randint(len(self.poses), (count - real,), generator=rng)
        pictures = self.studio(self.poses.rotvec[pick], rng) if real < count else []
        pictures += self.photographs(real, rng) if real else []
        change = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
        shown = []
        for picture in pictures:
            turned = turn_randomly(picture, self.augment, change)
            box = jitter_box(box_of(turned, self.aspect), self.augment, change)
            seen = occlude(recolour(crop(turned, box, self.crop_px), self.augment, change), self.augment, change)
            shown.append((turned, box, seen))
        return self._batch(shown)

    def validation(self, count: int) -> ImageSample:
        """Held-out people as they are, the same ones every time; no more than VALIDATION."""
        rng = torch.Generator().manual_seed(1)
        pick = torch.randperm(len(self.held_out), generator=rng)[: min(count, VALIDATION)]
        pictures = self.studio(self.held_out.rotvec[pick], rng, augment=False)
        boxes = [box_of(picture, self.aspect) for picture in pictures]
        return self._batch([(p, box, crop(p, box, self.crop_px)) for p, box in zip(pictures, boxes)])

    @property
    def aspect(self) -> float:
        return self.crop_px[1] / self.crop_px[0]

    def _batch(self, shown: list[tuple[Picture, np.ndarray, np.ndarray]]) -> ImageSample:
        def stack(arrays) -> Tensor:
            return torch.from_numpy(np.stack([np.asarray(array, np.float32) for array in arrays]))

        pictures, boxes, crops = zip(*shown)
        names = ("rotmat", "betas", "pelvis", "keypoints", "confidence", "keypoints_3d", "confidence_3d")
        rotmat, betas, pelvis, keypoints, confidence, points, known = (
            stack(getattr(picture, name) for picture in pictures) for name in names
        )
        bbox_info = stack(boxes)
        center, half = bbox_info[:, None, :2], bbox_info[:, None, 2:] / 2
        posed = self.studio.kinematics(rotmat, betas, self.studio.arrays)
        xyz = posed.keypoints + pelvis[:, None]
        clean = (xyz[..., :2] / xyz[..., 2:].clamp_min(0.1) - center) / half
        truth = Target(
            clean, torch.ones_like(confidence), rotmat, betas, posed.joints, posed.keypoints,
            torch.zeros_like(points), torch.zeros_like(known),
        )  # fmt: skip
        seen = torch.where(confidence[..., None] > 0, (keypoints - center) / half, 0)
        return ImageSample(stack(crops), seen, confidence, points, known, bbox_info, truth, pelvis - posed.pelvis)


class _Steps(Dataset):
    """Batch number `step`, whoever makes it."""

    def __init__(self, data: ImageData, count: int, seed: int, rank: int):
        self.data, self.count, self.seed, self.rank = data, count, seed, rank

    def __getitem__(self, step: int) -> ImageSample:
        return self.data(self.count, generator(self.seed, step, stream=1 + self.rank))


def batches(
    data: ImageData, count: int, seed: int, steps: range, rank: int = 0, workers: int = 0
) -> Iterator[ImageSample]:
    """The batches of these steps, `count` samples each, in order; what a step's batch holds depends on nothing but seed, step and rank."""
    made = _Steps(data, count, seed, rank)
    return iter(DataLoader(made, batch_size=None, sampler=steps, num_workers=workers, worker_init_fn=_one_thread))


def _one_thread(worker: int) -> None:
    """A worker is one core's work; and OpenCV's threads do not survive the fork."""
    import cv2

    cv2.setNumThreads(0)
