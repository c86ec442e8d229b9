"""A bar chart as an image, drawn with OpenCV so that the measuring commands need no plotting library."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

GOOD, BAD, INK, PAPER = (70, 150, 90), (205, 70, 60), (60, 60, 60), (255, 255, 255)
_FONT, _LEFT, _TOP, _BOTTOM, _RIGHT = cv2.FONT_HERSHEY_SIMPLEX, 60, 50, 55, 20


def bar_chart(
    title: str,
    axis: str,
    counts: Sequence[int],
    labels: Sequence[str],
    colours: Sequence[tuple[int, int, int]],
    marks: dict[float, str] | None = None,
    size: tuple[int, int] = (900, 330),
) -> np.ndarray:
    """One bar per count, with the count above it and its label below where there is room. Returns (height, width, 3) uint8, RGB.

    marks: names of vertical lines, by position in bars: 2.5 is the middle of bar 2 (counted from 0). size: width and height, pixels.
    """
    picture = np.full((size[1], size[0], 3), PAPER, np.uint8)
    floor, room = size[1] - _BOTTOM, size[1] - _BOTTOM - _TOP - 25
    pitch = (size[0] - _LEFT - _RIGHT) / max(len(counts), 1)
    _text(picture, title, (_LEFT, 30), 0.6)
    _text(picture, axis, (size[0] // 2, size[1] - 12), 0.5, centred=True)
    cv2.line(picture, (_LEFT, floor), (size[0] - _RIGHT, floor), INK, 1, cv2.LINE_AA)
    every = int(np.ceil(45 / pitch))
    for i, (count, label, colour) in enumerate(zip(counts, labels, colours)):
        left, right = round(_LEFT + i * pitch) + 1, round(_LEFT + (i + 1) * pitch) - 1
        top = floor - round(room * count / max(*counts, 1))
        cv2.rectangle(picture, (left, top), (max(left, right), floor), colour, -1 if count else 0)
        if count and pitch > 18:
            _text(picture, str(count), ((left + right) // 2, top - 5), 0.4, centred=True)
        if i % every == 0:
            _text(picture, label, ((left + right) // 2, floor + 18), 0.4, centred=True)
    for place, name in (marks or {}).items():
        x = round(_LEFT + place * pitch)
        cv2.line(picture, (x, _TOP - 5), (x, floor), INK, 2, cv2.LINE_AA)
        _text(picture, name, (x + 6, _TOP + 8), 0.45)
    return picture


def _text(picture: np.ndarray, text: str, at: tuple[int, int], scale: float, centred: bool = False) -> None:
    width = cv2.getTextSize(text, _FONT, scale, 1)[0][0]
    cv2.putText(picture, text, (at[0] - centred * width // 2, at[1]), _FONT, scale, INK, 1, cv2.LINE_AA)
