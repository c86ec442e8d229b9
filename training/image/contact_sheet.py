"""Show, or time, the training pictures that a device draws.

python -m training.image.contact_sheet --sheet sheet.png --keypoints
python -m training.image.contact_sheet --rate 64 256 1024
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import torch
import tyro

from hmr_ros.draw import draw_skeleton
from hmr_ros.smpl_file import load_body
from training.config import NoiseConfig, training_noise
from training.draws import below
from training.image.augment import AugmentConfig
from training.image.device_pictures import DevicePictures
from training.image.sample import ImageSample
from training.synthesis import Poses

ROWS, COLUMNS = 4, 8
TIMED_S = 5.0


@dataclass(frozen=True)
class SheetConfig:
    sheet: Path | None = None
    """Picture to write: a sheet of crops."""
    keypoints: bool = False
    """Draw the detected keypoints."""
    rate: tuple[int, ...] = ()
    """Batch sizes at which to measure pictures per second."""
    augment: bool = True
    """Pictures as for training; otherwise as for validation."""
    seed: int = 0
    device: str = "cuda" if torch.cuda.is_available() else "cpu"
    data: Path = Path("../shared/data/mocap")
    backgrounds: Path = Path("../shared/data/render/backgrounds")
    patterns: Path | None = Path("../shared/data/render/textures")
    crop_px: tuple[int, int] = (256, 192)
    noise: NoiseConfig = field(default_factory=training_noise)
    augmentation: AugmentConfig = field(default_factory=AugmentConfig)


def contact_sheet(sample: ImageSample, keypoints: bool) -> np.ndarray:
    """The first crops of a batch side by side, uint8 RGB."""
    height, width = sample.crop.shape[2:]
    pictures = (sample.crop * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    if keypoints:
        uv = sample.keypoints.cpu().numpy() * height / 2 + [width / 2 - 0.5, height / 2 - 0.5]
        confidence = sample.confidence.cpu().numpy()
        pictures = [draw_skeleton(*person) for person in zip(pictures, uv, confidence)]
    rows = (np.concatenate(pictures[i : i + COLUMNS], axis=1) for i in range(0, ROWS * COLUMNS, COLUMNS))
    return np.concatenate(list(rows))


def pictures_per_second(pictures: DevicePictures, rotvec: torch.Tensor, rng: torch.Generator) -> float:
    """Over TIMED_S after a first batch; rotvec: (B, 24, 3)."""

    def finished() -> float:
        if rotvec.is_cuda:
            torch.cuda.synchronize()
        return time.perf_counter()

    pictures(rotvec, rng)
    start, batches = finished(), 0
    while finished() - start < TIMED_S:
        pictures(rotvec, rng)
        batches += 1
    return batches * len(rotvec) / (finished() - start)


def main(config: SheetConfig) -> None:
    device = torch.device(config.device)
    body = load_body("open")
    pictures = DevicePictures(
        body, config.noise, config.backgrounds, config.patterns, config.augmentation, config.crop_px, device
    )
    poses = Poses(*Poses.files(config.data, "train")).rotvec.to(device)
    rng = torch.Generator(device).manual_seed(config.seed)

    def some(count: int) -> torch.Tensor:
        return poses[below(rng, len(poses), count)]

    if config.sheet:
        sample = pictures(some(ROWS * COLUMNS), rng, config.augment)
        cv2.imwrite(str(config.sheet), contact_sheet(sample, config.keypoints)[..., ::-1])
    for batch in config.rate:
        rate = pictures_per_second(pictures, some(batch), rng)
        memory = f", {torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if device.type == "cuda" else ""
        print(f"batch {batch}: {rate:.0f} pictures/s on {device.type}{memory}", flush=True)


if __name__ == "__main__":
    main(tyro.cli(SheetConfig))
