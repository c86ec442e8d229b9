"""The camera of one person's image."""

from __future__ import annotations

import numpy as np

from hmr_ros.camera import Camera
from training.datasets.people import DatasetError, People


def camera_of(people: People, row: int) -> Camera:
    """Intrinsics as given, else guessed from the image's size."""
    width, height = (int(side) for side in people.image_size[row])
    if people.K_known[row]:
        return Camera(people.K[row].astype(np.float64), width, height)
    if not width:
        raise DatasetError(f"neither intrinsics nor the size of {people.image[row]} are known: prepare with --detect.")
    return Camera.guess(width, height)
