"""Models as checkpoints and bundles describe them: by the `config.model` of the run that made them."""

from __future__ import annotations

import torch

from training.config import ModelConfig
from training.image.config import ImageModelConfig
from training.image.fused import make_image_model
from training.losses import TERMS
from training.model import MetaHmr


def model_of(settings: dict) -> MetaHmr:
    """An untrained model of this architecture."""
    weights = torch.ones(len(TERMS))
    if "backbone" in settings:
        return make_image_model(image_config(settings), weights)
    return MetaHmr(ModelConfig(**settings), weights)


def image_config(settings: dict) -> ImageModelConfig:
    points = ModelConfig(**settings["points"]) if "points" in settings else ModelConfig()
    return ImageModelConfig(**{**settings, "points": points})
