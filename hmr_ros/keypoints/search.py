"""Where to look for people, and when.

Square windows from the whole image down to small tiles together show people of every size to a detector with a small input;
the windows take turns over the frames.
"""

from __future__ import annotations

import numpy as np

from hmr_ros.keypoints.duplicates import same_region
from hmr_ros.keypoints.region import region_size

TILE_SIZES = (1.0, 0.6)
"""Sides of the tiles, as fractions of the image's shorter side."""
ROOM = 1.2
"""Side of the window in which a lost person is searched for, as a multiple of the side of their region."""
MIN_TILE = 1 / 8
"""Smallest side of a tile as a fraction of the image's longer side: a panorama should not take hundreds of tiles."""
TILE_OVERLAP = 0.35
"""Smallest part of a tile that its neighbour also covers."""


class Search:
    """Which windows to search in which frame: all in the first, later each once per `every` frames (see `turn`).

    The place where a person was lost is searched in each of the next `every` frames; that costs no more than following them did.
    """

    def __init__(self, width: int, height: int):
        self.size = (width, height)
        self._windows = search_windows(width, height)
        self._begun = False
        self._turn = np.zeros(0, int)
        self._position = 0
        self._credit = 0
        self._missing: list[tuple[np.ndarray, int]] = []

    def turn(self, every: int) -> np.ndarray:
        """Windows (W, 3) whose turn it is in the next frame, as `search_windows` gives them. every: frames in which each window has one turn."""
        count = len(self._windows)
        if not self._begun:
            self._begun = True
            self._turn = np.arange(count)
        else:
            now, self._credit = divmod(self._credit + count, every)
            self._turn = (self._position + np.arange(min(now, count))) % count
            self._position += now
        return self._windows[self._turn]

    def besides(self, every: int, followed: list[np.ndarray], missing: list[np.ndarray]) -> np.ndarray:
        """Further windows (W, 3) to search in the same frame, once it is known who is still there.

        followed: regions where people are; missing: where they were until now.
        """
        waiting = [(region, left - 1) for region, left in self._missing if left > 1]
        waiting += [(region, every) for region in missing]
        self._missing = [(r, left) for r, left in waiting if not any(same_region(r, other) for other in followed)]
        # When nobody is followed, there is time to search the whole image in every frame.
        whole = self._windows[: 0 if followed or 0 in self._turn else 1]
        return np.concatenate([whole, *(window_around(region)[None] for region, _ in self._missing)])


def search_windows(width: int, height: int) -> np.ndarray:
    """The whole image, then tiles from large to small.

    Returns (W, 3) float: x and y of the upper left corner, pixels from the image's corner, and side. The first is a square
    around the whole image and reaches beyond it.
    """
    long, short = max(width, height), min(width, height)
    windows = [((width - long) / 2, (height - long) / 2, float(long))]
    for fraction in TILE_SIZES:
        size = max(fraction * short, MIN_TILE * long)
        across, down = _starts(width, size), _starts(height, size)
        if len(across) * len(down) > 1:
            windows += [(x, y, size) for y in down for x in across]
    return np.array(windows, float)


def window_around(region: np.ndarray) -> np.ndarray:
    """(3,): a window, as in `search_windows`, with room around a region (2, 2)."""
    size = ROOM * region_size(region)
    return np.append(region[0] + 0.5 - size / 2, size)


def _starts(length: float, size: float) -> np.ndarray:
    """Where evenly spread tiles of one size begin, so that they cover [0, length] and overlap enough."""
    if size >= length:
        return np.array([(length - size) / 2])
    count = int(np.ceil((length - size) / (size * (1 - TILE_OVERLAP)) - 1e-9)) + 1
    return np.linspace(0, length - size, count)
