"""Meta-training on images: the trainer of `training.train`, with pictures for samples and `ImageMetaHmr` for the model.

python -m training.image.train --model.backbone resnet50 --weights resnet50-imagenet.pth --pictures.backgrounds my_photographs
python -m training.export --checkpoint runs/image/checkpoint.safetensors --name image-resnet50 --out my_bundle
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from torch import Tensor

from hmr_ros.smpl_file import load_body
from training.body import BodyArrays
from training.config import TrainConfig
from training.image.augment import AugmentConfig
from training.image.config import ImageModelConfig
from training.image.data import ImageData, PicturesConfig, batches
from training.image.model import ImageMetaHmr
from training.image.weights import load_backbone
from training.model import MetaHmr
from training.processes import Processes, processes
from training.train import Interruption, Report, Run, generator, make_model

DROPOUT_STREAM = 1 << 16
"""Of the randomness of a step; lower ones draw samples."""


@dataclass(frozen=True)
class ImageTrainConfig(TrainConfig):
    out: Path = Path("runs/image")
    weights: Path | None = None
    """Public weights of the backbone, e.g. torchvision's ResNet-50 or HRNet-W48 pose; None: start from nothing."""
    steps: int = 100_000
    batch: int = 64
    learning_rate: float = 1e-4
    model: ImageModelConfig = field(default_factory=ImageModelConfig)
    pictures: PicturesConfig = field(default_factory=PicturesConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


class ImageRun(Run):
    def gradients(self, sample, group: Processes, body: BodyArrays) -> Tensor:
        # Dropout: a resumed run drops what an uninterrupted one would have dropped.
        torch.manual_seed(generator(self.config.seed, self.step, DROPOUT_STREAM + group.rank).initial_seed())
        return super().gradients(sample, group, body)

    def make_model(self) -> MetaHmr:
        model = make_model(self.config, ImageMetaHmr)
        if self.config.weights:
            print(load_backbone(model.encoder.backbone, self.config.weights))
        return model


def train(config: ImageTrainConfig) -> Path:
    """Train until `config.steps`; returns the checkpoint's path. Interrupted, the same call goes on."""
    torch.set_num_threads(config.threads)
    body = BodyArrays.of(load_body(config.body))
    data = ImageData(config.data, config.body, config.noise, config.pictures, config.augment, config.model.crop_px)
    with processes(config.device) as group, Interruption() as interruption:
        run = ImageRun(config, data.files, group.device)
        body = BodyArrays(*(array.to(group.device) for array in body))
        report = Report(run, data, body, group) if group.first else None
        steps = range(run.step, config.steps)
        for sample in batches(data, group.share(config.batch), config.seed, steps, group.rank, config.pictures.workers):
            loss = run.gradients(sample.to(group.device), group, body)
            run.descend()
            if report:
                report(loss)
            if group.any(interruption.requested):
                break
        if report:
            report.close()
    return run.checkpoint


if __name__ == "__main__":
    train(tyro.cli(ImageTrainConfig))
