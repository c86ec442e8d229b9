"""A curve over time as an image, drawn with OpenCV so that the measuring commands need no plotting library."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from hmr_ros.bar_chart import GOOD, INK, PAPER

GRID = (225, 225, 225)
_FONT, _LEFT, _TOP, _BOTTOM, _RIGHT = cv2.FONT_HERSHEY_SIMPLEX, 70, 50, 50, 20
_LINES = 5


def line_chart(
    title: str, axis: str, x: Sequence[float], y: Sequence[float], size: tuple[int, int] = (900, 330)
) -> np.ndarray:
    """One curve on a vertical axis that starts at zero, so that a curve that looks flat is flat. Returns (height, width, 3) uint8, RGB.

    x: rising; y: not negative; size: width and height, pixels.
    """
    width, height = size
    picture = np.full((height, width, 3), PAPER, np.uint8)
    times, values = np.asarray(x, float), np.asarray(y, float)
    top = 1.15 * max(float(values.max()), 1e-9)
    left_to_right = (times - times[0]) / max(float(times[-1] - times[0]), 1e-9)
    points = np.stack([_LEFT + left_to_right * (width - _LEFT - _RIGHT), _row(values / top, height)], axis=-1)
    _text(picture, title, (_LEFT, 30), 0.6)
    _text(picture, axis, (width // 2 - 4 * len(axis), height - 12), 0.5)
    for share in np.linspace(0, 1, _LINES):
        row = int(_row(share, height))
        cv2.line(picture, (_LEFT, row), (width - _RIGHT, row), GRID, 1)
        _text(picture, f"{share * top:.0f}", (10, row + 5), 0.45)
        column = int(_LEFT + share * (width - _LEFT - _RIGHT))
        _text(picture, f"{times[0] + share * (times[-1] - times[0]):.0f}", (column - 12, height - _BOTTOM + 20), 0.45)
    cv2.polylines(picture, [np.round(points).astype(np.int32)], False, GOOD, 2, cv2.LINE_AA)
    return picture


def _row(share, height: int):
    return height - _BOTTOM - share * (height - _BOTTOM - _TOP)


def _text(picture: np.ndarray, text: str, at: tuple[int, int], scale: float) -> None:
    cv2.putText(picture, text, at, _FONT, scale, INK, 1, cv2.LINE_AA)
