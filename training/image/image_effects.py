"""Effects of cameras, and augmentation, on finished pictures, for a whole batch on its device: counterpart of `training.image.augment`
and of `training.render_person.develop`. Pictures are (B, 3, H, W) in [0, 1]."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from training.constants import constant
from training.draws import cut_normal, happens, normal, uniform
from training.image.augment import AugmentConfig
from training.image.scenery import look_at

BLUR_TAPS = 13
LUMINANCE = (0.299, 0.587, 0.114)
LUMINANCE_STEPS = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
"""JPEG's quantisation of luminance at quality 50 (ITU-T T.81, table K.1); colour uses 1.5 * max(step, 17)."""


def blur(pictures: Tensor, sigma_px: Tensor) -> Tensor:
    """Gaussian blur, edges repeated. sigma_px: (B, 2) along x and y, at most about 4; near 0: no blur."""
    batch, channels, height, width = pictures.shape
    away = torch.arange(BLUR_TAPS, device=pictures.device) - BLUR_TAPS // 2
    taps = torch.exp(-0.5 * (away / sigma_px.clamp_min(0.05).unsqueeze(-1)) ** 2)
    taps = (taps / taps.sum(-1, keepdim=True)).repeat_interleave(channels, dim=0)  # (B C, 2, taps)
    side = BLUR_TAPS // 2
    planes = torch.nn.functional.pad(pictures, (side, side, side, side), mode="replicate").flatten(0, 1).unsqueeze(0)
    for axis, shape in ((0, (1, BLUR_TAPS)), (1, (BLUR_TAPS, 1))):
        planes = torch.nn.functional.conv2d(planes, taps[:, axis].reshape(-1, 1, *shape), groups=len(taps))
    return planes.reshape(pictures.shape)


def develop(pictures: Tensor, rng: torch.Generator) -> Tensor:
    """What a cheap camera adds: exposure, white balance, defocus and motion, grain, compression."""
    batch = len(pictures)
    gain = uniform(rng, 0.65, 1.2, batch, 1) * uniform(rng, 0.93, 1.07, batch, 3)
    pictures = pictures * gain[..., None, None]
    sigma = uniform(rng, 0.3, 1.8, batch, 1) * uniform(rng, 0.7, 1.4, batch, 2)
    pictures = blur(pictures, sigma * happens(rng, 0.5, batch, 1))
    grain = uniform(rng, 0, 1, batch, 1, 1, 1) ** 3 * 8 / 255
    coloured = normal(rng, *pictures.shape)
    pictures = (pictures + grain * (0.4 * coloured + 0.9 * coloured[:, :1])).clamp(0, 1)
    return torch.where(happens(rng, 0.5, batch, 1, 1, 1), compress(pictures, uniform(rng, 0.1, 1.4, batch)), pictures)


def compress(pictures: Tensor, coarseness: Tensor) -> Tensor:
    """Simulate JPEG's losses. coarseness: (B,), of its quantisation; 1 is quality 50, 0.1 quality 95. Height and width must be multiples of 8."""
    wave = torch.arange(8, device=pictures.device)
    dct = 0.5 * torch.cos(math.pi / 8 * wave[:, None] * (wave + 0.5))
    dct[0] /= math.sqrt(2)
    luminance = (pictures * constant(LUMINANCE, pictures.device)[:, None, None]).sum(1, keepdim=True)
    planes = torch.cat([luminance, pictures[:, ::2] - luminance], 1)  # and the differences of red and of blue
    steps = constant(LUMINANCE_STEPS, pictures.device) / 255
    steps = torch.stack([steps, 1.5 * steps.clamp_min(17 / 255), 1.5 * steps.clamp_min(17 / 255)])[:, None, None]
    steps = steps * coarseness[:, None, None, None, None, None]  # (B, 3, 1, 1, 8, 8)
    blocks = planes.unflatten(3, (-1, 8)).unflatten(2, (-1, 8)).transpose(3, 4)
    levels = (dct @ blocks @ dct.T / steps).round() * steps
    luminance, red, blue = (dct.T @ levels @ dct).transpose(3, 4).flatten(4, 5).flatten(2, 3).split(1, dim=1)
    green = -(LUMINANCE[0] * red + LUMINANCE[2] * blue) / LUMINANCE[1]
    return (luminance + torch.cat([red, green, blue], 1)).clamp(0, 1)


def recolour(crops: Tensor, config: AugmentConfig, rng: torch.Generator) -> Tensor:
    """Simulate other light and other cameras: gain per channel, contrast, now and then no colour at all."""
    batch = len(crops)
    crops = torch.where(happens(rng, config.grey, batch, 1, 1, 1), crops.mean(1, keepdim=True), crops)
    mean = crops.mean((1, 2, 3), keepdim=True)
    gain = torch.exp(config.colour * cut_normal(rng, batch, 3, 1, 1))
    contrast = torch.exp(config.colour * cut_normal(rng, batch, 1, 1, 1))
    return (gain * (mean + contrast * (crops - mean))).clamp(0, 1)


def occlude(crops: Tensor, config: AugmentConfig, rng: torch.Generator) -> Tensor:
    """Add an occluder: an ellipse or a box, of one colour or filled with a piece of another person's crop."""
    batch, _, height, width = crops.shape
    size = constant((width, height), crops.device)
    center = uniform(rng, 0, 1, batch, 2) * size
    axes = uniform(rng, 0.1, config.occluder, batch, 2) * size / 2
    angle = uniform(rng, 0, math.pi, batch, 1, 1)
    x = torch.arange(width, device=crops.device) - center[:, :1, None]
    y = torch.arange(height, device=crops.device)[:, None] - center[:, 1:, None]
    along, across = torch.cos(angle) * x + torch.sin(angle) * y, torch.cos(angle) * y - torch.sin(angle) * x
    along, across = along.abs() / axes[:, :1, None], across.abs() / axes[:, 1:, None]
    ellipse = happens(rng, 0.5, batch, 1, 1)
    outside = torch.where(ellipse, torch.hypot(along, across), torch.maximum(along, across)) - 1
    opacity = (0.5 - outside * axes.amin(1)[:, None, None]).clamp(0, 1)  # edges about a pixel wide
    opacity = opacity * happens(rng, config.occlusion, batch, 1, 1)
    piece = look_at(
        crops.roll(1, 0),
        (height, width),
        uniform(rng, 0.4, 1, batch, 1),
        uniform(rng, -1, 1, batch, 2),
        rng,
        "reflection",
    )
    thing = torch.where(happens(rng, 0.5, batch, 1, 1, 1), piece, uniform(rng, 0, 1, batch, 3, 1, 1))
    return torch.lerp(crops, thing, opacity.unsqueeze(1))
