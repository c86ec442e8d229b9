"""Build models from the `config.model` settings that checkpoints and bundles store."""

from __future__ import annotations

import torch

from training.config import ModelConfig
from training.image.config import ImageModelConfig
from training.image.fused import make_image_model
from training.losses import TERMS
from training.model import MetaHmr


def model_of(settings: dict) -> MetaHmr:
    """An untrained model. settings: the `config.model` of a training run."""
    weights = torch.ones(len(TERMS))
    if "backbone" in settings:
        return make_image_model(image_config(settings), weights)
    return MetaHmr(ModelConfig(**settings), weights)


def image_config(settings: dict) -> ImageModelConfig:
    points = ModelConfig(**settings["points"]) if "points" in settings else ModelConfig()
    return ImageModelConfig(**{**settings, "points": points})
