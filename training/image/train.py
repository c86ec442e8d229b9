"""Meta-training on images: the trainer of `training.train`, with pictures for samples and `ImageMetaHmr` for the model.

python -m training.image.train --model.backbone resnet50 --weights resnet50-imagenet.pth --pictures.backgrounds my_photographs
python -m training.export --checkpoint runs/image/checkpoint.safetensors --name image-resnet50 --out my_bundle
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from torch import Tensor, nn

from hmr_ros.smpl_file import load_body
from training.body import BodyArrays
from training.command import errors_in_one_line
from training.config import TrainConfig
from training.image.augment import AugmentConfig
from training.image.config import ImageModelConfig
from training.image.data import ImageData, PicturesConfig, batches
from training.image.fused import make_image_model
from training.image.weights import load_backbone
from training.model import MetaHmr
from training.processes import Processes, processes
from training.train import Interruption, Run, descend, generator, make_model, set_up

DROPOUT_STREAM = 1 << 16
"""Random stream for dropout (see `generator`); lower numbers are the streams that draw samples."""


@dataclass(frozen=True)
class ImageTrainConfig(TrainConfig):
    out: Path = Path("runs/image")
    weights: Path | None = None
    """Public weights of the backbone, e.g. torchvision's ResNet-50 or HRNet-W48 pose; None: start from random weights."""
    steps: int = 100_000
    batch: int = 64
    learning_rate: float = 1e-4
    model: ImageModelConfig = field(default_factory=ImageModelConfig)
    pictures: PicturesConfig = field(default_factory=PicturesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)

    def __post_init__(self):
        if self.pairs.file:
            raise ValueError("--pairs holds keypoints without pictures: it is for training.train, not for image models")


class ImageRun(Run):
    @property
    def can_be_captured(self) -> bool:
        return super().can_be_captured and not self.drops_out  # a replay would always drop the same units

    @property
    def drops_out(self) -> bool:
        return any(isinstance(part, nn.Dropout) for part in self.model.modules())

    def gradients(self, sample, steps: int, group: Processes, body: BodyArrays) -> Tensor:
        if self.drops_out:  # a resumed run drops what an uninterrupted one would have dropped
            torch.manual_seed(generator(self.config.seed, self.step, DROPOUT_STREAM + group.rank).initial_seed())
        return super().gradients(sample, steps, group, body)

    def make_model(self) -> MetaHmr:
        model = make_model(self.config, make_image_model)
        if self.config.weights:
            print(load_backbone(model.backbone, self.config.weights))
        return model


def train(config: ImageTrainConfig) -> Path:
    """Train until `config.steps`; returns the checkpoint's path. After an interruption, the same call continues."""
    set_up(config)
    with processes(config.device) as group, Interruption() as interruption:
        pictures = config.pictures
        data = ImageData(
            config.data, config.body, config.noise, pictures, config.augment, config.model.crop_px, group.device
        )
        run = ImageRun(config, data.files, group.device)
        body = BodyArrays.of(load_body(config.body)).to(group.device)
        steps = range(run.step, config.steps)
        made = batches(data, group.share(config.batch), config.seed, steps, group.rank, pictures.workers)
        descend(run, lambda step: next(made), data, group, body, interruption)
    return run.checkpoint


if __name__ == "__main__":
    with errors_in_one_line():
        train(tyro.cli(ImageTrainConfig))
