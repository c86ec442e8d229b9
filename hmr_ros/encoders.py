"""From people in a frame to features: the three ways to feed a bundle's encoder.

All take `Observation` and frame, and give (N, F) float32 features; see `hmr_ros.regressor.Encoder`.
"""

from __future__ import annotations

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.bundle import LOOK, Bundle
from hmr_ros.crop import crop_people, look_inputs
from hmr_ros.regressor import Encoder, Observation
from hmr_ros.types import Frame


class KeypointEncoder:
    """`encode` reads keypoints alone."""

    aspect = 1.0

    def __init__(self, encode: Graph):
        self._encode = encode

    def __call__(self, seen: Observation, frame: Frame | None = None) -> np.ndarray:
        return self._encode(**vars(seen))["features"]


class CropEncoder:
    """Crops are cut on the CPU, and `encode` reads them. crop_px: their height and width."""

    def __init__(self, encode: Graph, crop_px: tuple[int, int]):
        self._encode, self._crop_px = encode, crop_px
        self.aspect = crop_px[1] / crop_px[0]

    def __call__(self, seen: Observation, frame: Frame | None = None) -> np.ndarray:
        frame = _needed(frame)
        crop = crop_people(frame.image, frame.camera, seen.bbox_info, self._crop_px)
        return self._encode(crop=crop, **vars(seen))["features"]


class PictureEncoder:
    """`look` gets the whole picture and cuts the crops itself. crop_px: their height and width."""

    def __init__(self, look: Graph, crop_px: tuple[int, int]):
        self._look, self._crop_px = look, crop_px
        self.aspect = crop_px[1] / crop_px[0]

    def __call__(self, seen: Observation, frame: Frame | None = None) -> np.ndarray:
        frame = _needed(frame)
        picture = look_inputs(frame.image, frame.camera, seen.bbox_info, self._crop_px)
        return self._look(**picture, **vars(seen))["features"]


def make_encoder(bundle: Bundle, graphs: dict[str, Graph]) -> Encoder:
    """The way for this bundle, on a backend that offers these graphs."""
    if bundle.crop_px is None:
        return KeypointEncoder(graphs["encode"])
    if LOOK in graphs:
        return PictureEncoder(graphs[LOOK], bundle.crop_px)
    return CropEncoder(graphs["encode"], bundle.crop_px)


def _needed(frame: Frame | None) -> Frame:
    if frame is None:
        raise ValueError("this bundle's encoder reads images: it needs the frame")
    return frame
