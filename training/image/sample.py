"""A batch of crops with their ground truth."""

from __future__ import annotations

from collections import namedtuple

from training.synthesis import Sample


class ImageSample(namedtuple("ImageSample", ("crop", *Sample._fields))):
    """A batch as the network sees it, with its ground truth: `training.synthesis.Sample`, after `crop`, (B, 3, H, W) RGB in [0, 1]."""

    __slots__ = ()
    observed, to = Sample.observed, Sample.to
