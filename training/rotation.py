"""6D rotations in torch: the counterpart of `hmr_ros.rotation`. No indexing, whose exported gradient would be a scatter."""

from __future__ import annotations

import torch
from torch import Tensor


def rot6d_to_rotmat(rot6d: Tensor) -> Tensor:
    """Gram-Schmidt on two columns (Zhou et al., CVPR 2019, section B). (B, J, 6) to (B, J, 3, 3).

    Computed with components as the first axis (see `training.body`); the result is a view with its axes in the usual order.
    """
    a, b = rot6d.permute(2, 0, 1).split(3)
    x = a * torch.rsqrt((a * a).sum(0, keepdim=True) + 1e-8)
    b = b - (x * b).sum(0, keepdim=True) * x
    y = b * torch.rsqrt((b * b).sum(0, keepdim=True) + 1e-8)
    (x0, x1, x2), (y0, y1, y2) = x.split(1), y.split(1)
    z = torch.cat([x1 * y2 - x2 * y1, x2 * y0 - x0 * y2, x0 * y1 - x1 * y0])
    return torch.stack([x, y, z], dim=1).permute(2, 3, 0, 1)


def axis_to_ray(xy: Tensor) -> Tensor:
    """`hmr_ros.regressor.axis_to_ray` in torch: the smallest rotation from the optical axis to the ray through xy.

    xy: (B, 2) normalised image coordinates. Returns (B, 3, 3).
    """
    tangent = xy.norm(dim=-1, keepdim=True)
    axis = torch.stack([-xy[:, 1], xy[:, 0], torch.zeros_like(xy[:, 0])], dim=-1) / tangent.clamp_min(1e-9)
    return rotvec_to_rotmat(axis * torch.atan(tangent))


def rotvec_to_rotmat(rotvec: Tensor) -> Tensor:
    """Rodrigues' formula, (..., 3) radians to (..., 3, 3). For data generation; not differentiable at zero."""
    angle = rotvec.norm(dim=-1, keepdim=True).clamp_min(1e-8)
    x, y, z = (rotvec / angle).unbind(-1)
    zero = torch.zeros_like(x)
    k = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], dim=-1).reshape(*rotvec.shape[:-1], 3, 3)
    s, c = torch.sin(angle)[..., None], torch.cos(angle)[..., None]
    return torch.eye(3, device=rotvec.device) + s * k + (1 - c) * (k @ k)
