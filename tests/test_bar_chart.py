"""The chart shows what it was given, pixel by pixel where that matters."""

import numpy as np
import pytest

from hmr_ros.bar_chart import BAD, GOOD, bar_chart


def area(picture, colour) -> int:
    return int((picture == np.array(colour, np.uint8)).all(axis=-1).sum())


@pytest.mark.parametrize("counts", [[], [0], [5], [0, 0, 0], list(range(200))])
def test_any_number_of_bars_fits(counts):
    picture = bar_chart("title", "axis", counts, [""] * len(counts), [GOOD] * len(counts), {0.5: "mark"}, (400, 200))
    assert picture.shape == (200, 400, 3) and picture.dtype == np.uint8


def test_bars_are_as_high_as_their_counts():
    picture = bar_chart("", "", [10, 30], ["", ""], [GOOD, BAD], size=(400, 400))
    assert area(picture, BAD) / area(picture, GOOD) == pytest.approx(3, rel=0.1)
