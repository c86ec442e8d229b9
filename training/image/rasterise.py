"""Which triangle is seen in each pixel: a z-buffer for many meshes of one topology at once, in plain torch, on any device.

Most of a body's triangles are tiny in a crop, but some are not, above all from close by. So the rectangle around each is cut into as
many blocks of a few pixels as it needs, and all pixels of all blocks are tested at once. The number of blocks is the only value that
the CPU has to wait for; in return there are no limits, and triangles that are not seen cost nothing. The nearest triangle wins by an
atomic maximum over (1 / depth, triangle) packed into 64 bits: the result does not depend on the order of threads.

Pixel centres have integer coordinates; depth is along the optical axis.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from training.constants import constant

NEAR_M = 0.1
"""Triangles that reach nearer to the camera's plane are not drawn, as in `hmr_ros.draw`."""
BLOCK_PX = 4
SLACK = 1e-3
"""Barycentric coordinates may be this far below 0: rounding must not open a seam between two triangles."""


class Triangles(NamedTuple):
    """Meshes ready to draw: B of F triangles each."""

    planes: Tensor
    """(B, F, 9): u, v of the first corner, pixels; gradients along u and v of the first, then of the second corner's barycentric
    coordinate in the flat, projected triangle; 1 / depth of the three corners."""
    low: Tensor
    """(B, F, 2) int64: column and row of the first pixel that it may cover."""
    blocks: Tensor
    """(B, F, 2) int64: how many blocks it takes along u and v; 0: it is not seen."""


def project_triangles(uvz: Tensor, faces: Tensor, size: tuple[int, int]) -> Triangles:
    """uvz: (B, V, 3) pixels and depth in metres; faces: (F, 3) int64, counter-clockwise from outside; size: height and width, pixels."""
    corners = uvz.index_select(1, faces.flatten()).unflatten(1, (-1, 3))  # (B, F, 3 corners, 3)
    uv, z = corners[..., :2], corners[..., 2]
    limit = constant((size[1] - 1, size[0] - 1), uv.device)
    low = torch.minimum(uv.amin(2).ceil().clamp_min(0), limit)
    count = torch.minimum(uv.amax(2).floor(), limit) - low + 1  # of pixels
    (u0, v0), (u1, v1), (u2, v2) = (corner.unbind(-1) for corner in uv.unbind(2))
    area = (u1 - u0) * (v2 - v0) - (u2 - u0) * (v1 - v0)  # twice; negative, as v points down, where the front is seen
    seen = (area < 0) & (z.amin(2) > NEAR_M) & (count.amin(-1) > 0)
    gradients = ((v1 - v2) / area, (u2 - u1) / area, (v2 - v0) / area, (u0 - u2) / area)
    planes = torch.stack([u0, v0, *gradients, *(1 / z).unbind(-1)], dim=-1)
    blocks = torch.where(seen.unsqueeze(-1), (count / BLOCK_PX).ceil(), 0)
    return Triangles(planes, low.long(), blocks.long())


def rasterise(triangles: Triangles, size: tuple[int, int]) -> Tensor:
    """(B, H, W) int64: index of the triangle seen in each pixel; -1: none. size: height and width, as for `project_triangles`."""
    height, width = size
    batch, count = triangles.planes.shape[:2]
    across, down = triangles.blocks.flatten(0, 1).unbind(-1)
    each = across * down
    before = each.cumsum(0)
    total = int(before[-1])
    row = torch.arange(batch * count, device=each.device)
    row = torch.repeat_interleave(row, each, output_size=total)  # (N,): the triangle of each block
    number = torch.arange(total, device=each.device) - (before - each)[row]  # of the block in its triangle
    low = triangles.low.flatten(0, 1)[row]
    step = torch.arange(BLOCK_PX, device=each.device)
    # A block that reaches beyond the picture tests the pixels of the border again.
    u = (low[:, :1] + number.remainder(across[row])[:, None] * BLOCK_PX + step).clamp_max(width - 1)
    v = (low[:, 1:] + number.div(across[row], rounding_mode="floor")[:, None] * BLOCK_PX + step).clamp_max(height - 1)
    u0, v0, u_first, v_first, u_second, v_second, w0, w1, w2 = (
        triangles.planes.flatten(0, 1)[row].unsqueeze(-1).unbind(1)
    )
    x, y = u - u0, v - v0

    def plane(at_corner: Tensor | float, along_u: Tensor, along_v: Tensor) -> Tensor:
        """(N, BLOCK_PX, BLOCK_PX)."""
        return (at_corner + along_v * y).unsqueeze(-1) + (along_u * x).unsqueeze(-2)

    first, second = plane(1.0, u_first, v_first), plane(0.0, u_second, v_second)
    inside = torch.minimum(torch.minimum(first, second), 1 - first - second) >= -SLACK
    inverse = plane(w0, (w0 - w2) * u_first + (w1 - w2) * u_second, (w0 - w2) * v_first + (w1 - w2) * v_second)
    # Bits of positive floats are ordered as the floats are.
    face = row.remainder(count) + 1
    key = torch.where(inside, (inverse.view(torch.int32).long() << 32) | face[:, None, None], 0)
    person = row.div(count, rounding_mode="floor")
    index = ((person * height)[:, None] + v).mul(width).unsqueeze(-1) + u.unsqueeze(-2)
    nearest = torch.zeros(batch * height * width, dtype=torch.int64, device=each.device)
    nearest.scatter_reduce_(0, index.flatten(), key.flatten(), "amax")
    return ((nearest & 0xFFFFFFFF) - 1).reshape(batch, height, width)


class Fragments(NamedTuple):
    """The P pixels of all pictures in which something is seen."""

    pixel: Tensor
    """(P,) int64: index into (B H W,)."""
    person: Tensor
    """(P,) int64."""
    face: Tensor
    """(P,) int64: triangle."""
    weights: Tensor
    """(P, 3): perspective-correct barycentric coordinates on its triangle; rows sum to 1."""


def fragments(triangles: Triangles, face: Tensor) -> Fragments:
    """face: (B, H, W), of `rasterise`. Waits for the device to count them, which pays because most of a picture is background."""
    _, height, width = face.shape
    pixel = (face.flatten() >= 0).nonzero().squeeze(1)
    person = pixel.div(height * width, rounding_mode="floor")
    which = face.flatten()[pixel]
    planes = triangles.planes.flatten(0, 1)[person * len(triangles.planes[0]) + which]
    u0, v0, u_first, v_first, u_second, v_second = planes[:, :6].unbind(1)
    x = pixel.remainder(width) - u0
    y = pixel.div(width, rounding_mode="floor").remainder(height) - v0
    first, second = 1 + u_first * x + v_first * y, u_second * x + v_second * y
    flat = torch.stack([first, second, 1 - first - second], dim=1)
    weights = flat * planes[:, 6:]  # a value divided by depth is linear in the picture
    return Fragments(pixel, person, which, weights / weights.sum(1, keepdim=True))


def interpolate(values: Tensor, faces: Tensor, seen: Fragments) -> Tensor:
    """Values of vertices (B, V, C) at each fragment, (P, C). faces: (F, 3)."""
    corners = faces[seen.face] + values.shape[1] * seen.person[:, None]
    rows = values.flatten(0, 1)
    return sum(rows[corners[:, k]] * seen.weights[:, k : k + 1] for k in range(3))


def paint(values: Tensor, seen: Fragments, shape: tuple[int, int, int]) -> Tensor:
    """Values of fragments (P, C) as pictures (B, C, H, W), 0 elsewhere. shape: B, H, W."""
    batch, height, width = shape
    layer = values.new_zeros(batch * height * width, values.shape[1])
    return layer.index_copy_(0, seen.pixel, values).reshape(batch, height, width, -1).permute(0, 3, 1, 2)
