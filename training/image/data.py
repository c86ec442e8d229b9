"""Batches of crops with their ground truth: made by many processes or on a GPU, the same for the same seed, resumable at any step."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from hmr_ros.body_model import BodyModel
from hmr_ros.smpl_file import load_body
from training.body import BodyArrays, ForwardKinematics
from training.config import NoiseConfig
from training.datasets.photographs import Photographs
from training.draws import below, drawing
from training.image.augment import AugmentConfig, Picture, box_of, crop, jitter_box, occlude, recolour, turn_randomly
from training.image.device_pictures import DevicePictures
from training.image.pictures import DressedRenderer, Patterns, Studio
from training.image.sample import ImageSample
from training.losses import truth_of
from training.nested import joined
from training.render_person import Backgrounds
from training.synthesis import Poses
from training.train import generator

VALIDATION = 128
"""Pictures at most; each takes half a megabyte."""


@dataclass(frozen=True)
class PicturesConfig:
    backgrounds: Path = Path("../shared/data/render/backgrounds")
    """Folder of background pictures; pictures of your own site give the best training for it."""
    patterns: Path | None = Path("../shared/data/render/textures")
    """Folder of pictures to cut cloth from; None: only plain cloth and simple patterns such as stripes."""
    workers: int = 2
    """Processes that draw, or read photographs; 0: the training process itself."""
    photographs: Path | None = None
    """File of `training.prepare --detect`: real people, whose betas belong to --body. None: all pictures are drawn."""
    photographs_root: Path = Path(".")
    """Folder that its image paths start from."""
    photographs_share: float = 0.5
    """Part of each batch. 1: nothing is drawn, as bodies other than the open one require; some photographs are then held out."""
    renderer: Literal["auto", "cpu", "device"] = "auto"
    """cpu: `training.image.pictures`, one at a time; device: `training.image.device_pictures`, on the network's device; auto: device on a GPU."""


class ImageData:
    """Source of training pictures: drawn in batches on a device, or one at a time on the CPU. Photographs are always read on the CPU."""

    def __init__(
        self, data: Path, body: str, noise: NoiseConfig, pictures: PicturesConfig, augment: AugmentConfig,
        crop_px: tuple[int, int], device: torch.device | str = "cpu",
    ):  # fmt: skip
        """device: the network's; samples that are drawn on it stay on it."""
        self.device, self.augment, self.crop_px = torch.device(device), augment, crop_px
        body_model = load_body(body)
        self.body, self.kinematics = BodyArrays.of(body_model), ForwardKinematics()
        self.photographs_share = pictures.photographs_share if pictures.photographs else 0.0
        self.files: list[Path] = []
        self.photographs = self.studio = self.on_device = None
        if self.photographs_share < 1:
            self._draw(data, body_model, noise, pictures)
        if pictures.photographs:
            self.photographs = Photographs(pictures.photographs, pictures.photographs_root, body_model)
            self.files.append(pictures.photographs)
        if self.photographs_share == 1:
            self.photographs, self.held_out = self.photographs.parted()

    def _draw(self, data: Path, body: BodyModel, noise: NoiseConfig, pictures: PicturesConfig) -> None:
        """Set up the renderer. Only drawing needs motion capture, backgrounds, and a body that can be dressed."""
        if body.region is None:
            raise ValueError(
                f"only the open body can be dressed and drawn, not one of {body.shape_space!r}: use --body open, or photographs alone "
                "(--pictures.photographs FILE --pictures.photographs-share 1)"
            )
        train, val = (Poses.files(data, split) for split in ("train", "val"))
        self.poses, self.held_out, self.files = Poses(*train), Poses(*val), [*train, *val]
        if pictures.renderer == "device" or (pictures.renderer == "auto" and self.device.type == "cuda"):
            self.on_device = DevicePictures(
                body, noise, pictures.backgrounds, pictures.patterns, self.augment, self.crop_px, self.device
            )
            self.poses.rotvec, self.held_out.rotvec = (p.rotvec.to(self.device) for p in (self.poses, self.held_out))
            return
        patterns = Patterns(pictures.patterns) if pictures.patterns else None
        self.studio = Studio(body, noise, DressedRenderer(body, Backgrounds(pictures.backgrounds), patterns))

    def shares(self, count: int) -> tuple[int, int, int]:
        """How many of `count` samples are photographs, drawn on the CPU, and drawn on the device."""
        real = round(count * self.photographs_share)
        return (real, count - real, 0) if self.on_device is None else (real, 0, count - real)

    def __call__(self, count: int, rng: torch.Generator) -> ImageSample:
        """The part of `count` training samples that the CPU makes, augmented: all of them, or only the photographs."""
        real, drawn, _ = self.shares(count)
        pictures = []
        if drawn:
            pick = torch.randint(len(self.poses), (drawn,), generator=rng)
            pictures += self.studio(self.poses.rotvec[pick], rng)
        pictures += self.photographs(real, rng) if real else []
        change = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
        shown = []
        for picture in pictures:
            turned = turn_randomly(picture, self.augment, change)
            box = jitter_box(box_of(turned, self.aspect), self.augment, change)
            seen = occlude(recolour(crop(turned, box, self.crop_px), self.augment, change), self.augment, change)
            shown.append((turned, box, seen))
        return self._batch(shown)

    def by_device(self, count: int, rng: torch.Generator) -> ImageSample:
        """The part of `count` training samples that the device makes; the generator must be on it, too."""
        pick = below(rng, len(self.poses), self.shares(count)[2])
        return self.on_device(self.poses.rotvec[pick], rng)

    def validation(self, count: int) -> ImageSample:
        """Held-out people without augmentation, the same ones every time; no more than VALIDATION. Photographs if nothing is drawn."""
        drawn = self.photographs_share < 1
        rng = torch.Generator(self.held_out.rotvec.device if drawn else "cpu").manual_seed(1)
        pick = drawing(torch.randperm, rng)(len(self.held_out))[: min(count, VALIDATION)]
        if self.on_device:
            return self.on_device(self.held_out.rotvec[pick], rng, augment=False)
        if drawn:
            pictures = self.studio(self.held_out.rotvec[pick], rng, augment=False)
        else:
            pictures = [self.held_out[row] for row in pick.tolist()]
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
        posed = self.kinematics(rotmat, betas, self.body)
        xyz = posed.keypoints + pelvis[:, None]
        clean = (xyz[..., :2] / xyz[..., 2:].clamp_min(0.1) - center) / half
        truth = truth_of(clean, rotmat, betas, posed)
        seen = torch.where(confidence[..., None] > 0, (keypoints - center) / half, 0)
        return ImageSample(stack(crops), seen, confidence, points, known, bbox_info, truth, pelvis - posed.pelvis)


class _Steps(Dataset):
    """The CPU's part of batch number `step`, the same in whichever worker makes it."""

    def __init__(self, data: ImageData, count: int, seed: int, rank: int):
        self.data, self.count, self.seed, self.rank = data, count, seed, rank

    def __getitem__(self, step: int) -> ImageSample:
        return self.data(self.count, generator(self.seed, step, stream=1 + self.rank))


def batches(
    data: ImageData, count: int, seed: int, steps: range, rank: int = 0, workers: int = 0
) -> Iterator[ImageSample]:
    """The batches of these steps, `count` samples each, in order; what a step's batch holds depends only on seed, step and rank."""
    real, by_processor, by_device = data.shares(count)
    made = None
    if real or by_processor:
        loader = DataLoader(
            _Steps(data, count, seed, rank), None, sampler=steps, num_workers=workers, worker_init_fn=_one_thread
        )
        made = iter(loader)
    for step in steps:
        parts = [next(made).to(data.device)] if made else []
        if by_device:
            parts.append(data.by_device(count, generator(seed, step, 1 + rank, data.device)))
        yield joined(*parts)


def _one_thread(worker: int) -> None:
    """Keep OpenCV to one thread: a worker is meant for one core, and OpenCV's threads do not survive the fork."""
    import cv2

    cv2.setNumThreads(0)
