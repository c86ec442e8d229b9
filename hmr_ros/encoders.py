"""Ways to run a bundle's encoder, which computes features of the people in a frame.

Each takes an `Observation` and a frame, and returns (N, F) float32 features; see `hmr_ros.regressor.Encoder`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.bundle import LOOK, Bundle
from hmr_ros.crop import crop_people, look_inputs
from hmr_ros.regressor import Encoder, Observation
from hmr_ros.types import Frame


class KeypointEncoder:
    """For bundles whose `encode` reads only keypoints."""

    aspect = 1.0

    def __init__(self, encode: Graph):
        self._encode = encode

    def __call__(self, seen: Observation, frame: Frame | None = None) -> np.ndarray:
        return self._encode(**vars(seen))["features"]


class PictureEncoder:
    """For graphs that read each person's crop, or the whole image and where in it the crops lie."""

    def __init__(self, graph: Graph, crop_px: tuple[int, int], shown: Callable[..., dict[str, np.ndarray]]):
        """crop_px: height and width of the crops; shown: makes the graph's inputs from an image, with the arguments of `look_inputs`."""
        self._graph, self._crop_px, self._shown = graph, crop_px, shown
        self.aspect = crop_px[1] / crop_px[0]

    def __call__(self, seen: Observation, frame: Frame | None = None) -> np.ndarray:
        if frame is None:
            raise ValueError("this bundle's encoder reads images: it needs the frame, so pass it too")
        picture = self._shown(frame.image, frame.camera, seen.bbox_info, self._crop_px)
        return self._graph(**picture, **vars(seen))["features"]


def make_encoder(bundle: Bundle, graphs: dict[str, Graph]) -> Encoder:
    """The encoder for this bundle, given the graphs that were loaded: `look` cuts the crops itself, for `encode` the CPU cuts them."""
    if bundle.crop_px is None:
        return KeypointEncoder(graphs["encode"])
    if LOOK in graphs:
        return PictureEncoder(graphs[LOOK], bundle.crop_px, look_inputs)
    return PictureEncoder(graphs["encode"], bundle.crop_px, lambda *picture: {"crop": crop_people(*picture)})
