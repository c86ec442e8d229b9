"""Background photographs and patterned cloth, held on the device as one tensor each."""

from __future__ import annotations

import math
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from training.draws import below, happens, uniform
from training.render_person import Backgrounds, read_picture

SIDE_PX = 320
MAX_SQUARES = 8192
"""Squares of background that are kept at most: 2.5 GB."""
PIECE_PX = 128
PIECES_EACH = 24
"""Pieces of cloth cut from each picture."""
WOVEN = 192
"""Generated pieces of cloth: stripes, checks and dots."""


def load_squares(folder: Path) -> np.ndarray:
    """Every picture of a folder as one or more squares side by side, (N, SIDE_PX, SIDE_PX, 3) uint8 RGB."""
    paths = Backgrounds(folder).paths
    squares = [
        square for path in paths[:: math.ceil(len(paths) / MAX_SQUARES)] for square in _squares(read_picture(path))
    ]
    return np.stack(squares[:MAX_SQUARES])


def _squares(picture: np.ndarray) -> list[np.ndarray]:
    short, long = min(picture.shape[:2]), max(picture.shape[:2])
    axis = int(picture.shape[1] > short)
    starts = np.linspace(0, long - short, math.ceil(long / short - 0.1)).astype(int)
    cut = (picture.take(range(start, start + short), axis=axis) for start in starts)
    return [cv2.resize(square, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA) for square in cut]


def cut_cloth(folder: Path | None) -> np.ndarray:
    """Stripes, checks and dots, and pieces of the pictures in a folder: (N, PIECE_PX, PIECE_PX, 3) uint8 RGB, always the same ones."""
    rng = np.random.default_rng(0)
    pieces = [_weave(rng) for _ in range(WOVEN)]
    for path in Backgrounds(folder).paths if folder else ():
        picture = read_picture(path)
        for _ in range(PIECES_EACH):
            side = int(min(picture.shape[:2]) * rng.uniform(0.15, 1))
            row, column = (rng.integers(length - side + 1) for length in picture.shape[:2])
            square = picture[row : row + side, column : column + side]
            pieces.append(cv2.resize(square, (PIECE_PX, PIECE_PX), interpolation=cv2.INTER_AREA))
    return np.stack(pieces)


def _weave(rng: np.random.Generator) -> np.ndarray:
    """Two colours in stripes, checks or dots."""
    x, y = np.meshgrid(*(np.arange(PIECE_PX) * rng.integers(2, 12) / PIECE_PX * np.pi,) * 2)
    wave = (np.sin(x), np.sin(x) * np.sin(y), np.minimum(np.sin(x), np.sin(y)))[rng.integers(3)]
    mask = (wave > rng.uniform(-0.3, 0.6)).astype(np.float32)[..., None]
    one, other = rng.uniform(0, 255, (2, 3)) if rng.uniform() < 0.5 else rng.uniform(0, 255, (2, 1)) * np.ones(3)
    return (mask * one + (1 - mask) * other).astype(np.uint8)


class Scenery:
    """Backgrounds and cloth on one device."""

    def __init__(self, backgrounds: Path, patterns: Path | None, device: torch.device):
        self.squares = torch.from_numpy(load_squares(backgrounds)).permute(0, 3, 1, 2).contiguous().to(device)
        cloth = torch.from_numpy(cut_cloth(patterns)).to(device)
        self.pieces, self.texels = len(cloth), cloth.flatten(0, 2)

    def backgrounds(self, batch: int, size: tuple[int, int], rng: torch.Generator) -> Tensor:
        """Random parts of random pictures, mirrored, a little askew: (B, 3, H, W) in [0, 1]."""
        squares = self.squares[below(rng, len(self.squares), batch)].float() / 255
        zoom = uniform(rng, 0.35, 1, batch, 1)
        place = (1 - zoom) * uniform(rng, -1, 1, batch, 2)
        return look_at(squares, size, zoom, place, rng, padding="reflection")

    def cloth(self, piece: Tensor, at: Tensor) -> Tensor:
        """Colours (P, 3) in [0, 1] of pieces (P,) at places (P, 2) that repeat, mirrored, every 1."""
        column, row = (((at.remainder(2) - 1).abs()) * (PIECE_PX - 1)).round().long().unbind(1)
        return self.texels[(piece * PIECE_PX + row) * PIECE_PX + column].float() / 255


def look_at(
    pictures: Tensor, size: tuple[int, int], zoom: Tensor, place: Tensor, rng: torch.Generator, padding: str,
    askew_deg: float = 8.0,
) -> Tensor:  # fmt: skip
    """Parts of pictures (B, C, h, w) at another size: `zoom` (B, 1) of their height, around `place` (B, 2), -1 to 1 from edge to edge;
    half of them mirrored, all turned a little."""
    batch, channels = pictures.shape[:2]
    aspect = size[1] / size[0] * pictures.shape[2] / pictures.shape[3]
    angle = math.radians(askew_deg) * uniform(rng, -1, 1, batch)
    mirror = torch.where(happens(rng, 0.5, batch), -1.0, 1.0)
    c, s = torch.cos(angle), torch.sin(angle)
    turn = torch.stack([mirror * aspect * c, -s, mirror * aspect * s, c], 1).reshape(-1, 2, 2)
    theta = torch.cat([zoom.unsqueeze(-1) * turn, place.unsqueeze(-1)], dim=-1)
    grid = torch.nn.functional.affine_grid(theta, [batch, channels, *size], align_corners=False)
    return torch.nn.functional.grid_sample(pictures, grid, "bilinear", padding, align_corners=False)
