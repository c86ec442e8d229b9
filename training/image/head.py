"""The iterative SMPL head of HMR and CLIFF, and the conversion of its camera to ours.

The published camera (s, tx, ty) is weak perspective in the crop: `transl` = (tx, ty) + the box's centre at the depth
2 / (s * size), all in normalised image coordinates (CLIFF, Li et al., ECCV 2022, section 3.2, divided by the focal length). For
HMR, which does not know the full image, it is read in the same way, but its perspective is wrong then.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from hmr_ros import skeleton
from training.body import BodyArrays
from training.head import BETAS, CAMERA, POSE, PREDICTION
from training.image.config import Head
from training.model import NEAR_M
from training.rotation import rot6d_to_rotmat

HIDDEN = 1024
SMALLEST_SCALE = 0.1
"""Of the weak-perspective camera; smaller scales are bent so that they never reach zero (`positive`)."""


class Published(NamedTuple):
    """The network's output, in the published format."""

    pose: Tensor
    """(B, 144): 24 rotations, each a 3x2 matrix row by row."""
    betas: Tensor
    """(B, 10)."""
    camera: Tensor
    """(B, 3): s, tx, ty."""


class IterativeHead(nn.Module):
    """Corrects a body a few times, starting from the mean one (iterative error feedback). It has no nonlinear layers."""

    def __init__(self, features: int, kind: Head, iterations: int):
        super().__init__()
        self.kind, self.iterations = kind, iterations
        self.fc1 = nn.Linear(features + PREDICTION + (3 if kind == "cliff" else 0), HIDDEN)
        self.drop1 = nn.Dropout()
        self.fc2 = nn.Linear(HIDDEN, HIDDEN)
        self.drop2 = nn.Dropout()
        self.decpose = nn.Linear(HIDDEN, POSE)
        self.decshape = nn.Linear(HIDDEN, BETAS)
        self.deccam = nn.Linear(HIDDEN, CAMERA)
        for layer in (self.decpose, self.decshape, self.deccam):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
            nn.init.zeros_(layer.bias)
        upright = torch.tensor([1.0, 0, 0, 1, 0, 0]).repeat(skeleton.NUM_JOINTS)
        upright[3] = -1  # the root's, in a camera whose y points down
        self.register_buffer("init_pose", upright[None])
        self.register_buffer("init_shape", torch.zeros(1, BETAS))
        self.register_buffer("init_cam", torch.tensor([[0.9, 0, 0]]))

    def forward(self, features: Tensor, bbox_info: Tensor) -> Published:
        """features: (B, F); bbox_info: (B, 3), as everywhere in this project."""
        known = [features, cliff_bbox_info(bbox_info)] if self.kind == "cliff" else [features]
        answer = [x.expand(features.shape[0], -1) for x in (self.init_pose, self.init_shape, self.init_cam)]
        for _ in range(self.iterations):
            x = self.drop1(self.fc1(torch.cat([*known, *answer], 1)))
            x = self.drop2(self.fc2(x))
            answer = [old + layer(x) for old, layer in zip(answer, (self.decpose, self.decshape, self.deccam))]
        return Published(*answer)


def cliff_bbox_info(bbox_info: Tensor) -> Tensor:
    """Our box (centre x, y, size; normalised image coordinates) in the units CLIFF's weights were trained with. (B, 3)."""
    center, size = bbox_info.split([2, 1], dim=-1)
    return torch.cat([2.8 * center, (size - 0.24) / 0.06], dim=-1)


def to_prediction(published: Published, bbox_info: Tensor, body: BodyArrays) -> Tensor:
    """The same body as a prediction vector of `training.model`, (B, 157): 6D column by column, and the pelvis in the image.

    Columns are made orthonormal, because the longer they are, the less a step of adaptation turns the rotation.
    """
    columns = published.pose.unflatten(-1, (skeleton.NUM_JOINTS, 3, 2)).transpose(-1, -2).flatten(-2)
    pose = rot6d_to_rotmat(columns).transpose(-1, -2).split([2, 1], dim=-2)[0].flatten(1)
    center, size = bbox_info.split([2, 1], dim=-1)
    transl = published_transl(published.camera, bbox_info)
    rest = body.J_template[0] + published.betas @ body.J_shapedirs[0].T
    pelvis_xy, z = (transl + rest).split([2, 1], dim=-1)
    z = z.clamp_min(NEAR_M)
    scale = 2 / (z * size)
    raw_scale = scale + torch.log(-torch.expm1(-scale)) - 0.5413  # inverse of softplus, see MetaHmr.unpack
    return torch.cat([pose, published.betas, raw_scale, (pelvis_xy / z - center) / (size / 2)], dim=-1)


def published_transl(camera: Tensor, bbox_info: Tensor) -> Tensor:
    """(s, tx, ty) of a crop as `transl` in the frame of the full camera, (B, 3) metres."""
    center, size = bbox_info.split([2, 1], dim=-1)
    scale, shift = camera.split([1, 2], dim=-1)
    z = 2 / (positive(scale) * size)
    return torch.cat([shift + center * z, z], dim=-1)


def positive(scale: Tensor) -> Tensor:
    """The scale itself, if above SMALLEST_SCALE; below, a hyperbola that joins it with the same value and slope, so that training can
    recover."""
    bent = SMALLEST_SCALE / (2 - (scale / SMALLEST_SCALE).clamp_max(1))
    return torch.where(scale > SMALLEST_SCALE, scale, bent)
