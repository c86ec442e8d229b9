"""The body model in torch: the counterpart of `hmr_ros.body_model`, twice differentiable.

Written for the compiled adaptation step as much as for training: no indexing (whose gradient would be a scatter), no loop over
joints. Kinematic chains are composed by pointer doubling, every selection is a product with a constant matrix.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hmr_ros import skeleton
from hmr_ros.bundle import BODY_INPUTS


class BodyArrays(NamedTuple):
    """What forward kinematics needs of a body, without its mesh: see `BodyModel.graph_inputs`."""

    J_template: Tensor
    """(24, 3) metres."""
    J_shapedirs: Tensor
    """(24, 3, 10) metres per unit of beta."""
    landmark_template: Tensor
    """(L, 3) metres."""
    landmark_shapedirs: Tensor
    """(L, 3, 10)."""
    landmark_posedirs: Tensor
    """(207, 3 L)."""
    landmark_weights: Tensor
    """(L, 24)."""

    @staticmethod
    def of(body) -> BodyArrays:
        """From a `hmr_ros.body_model.BodyModel`."""
        arrays = body.graph_inputs()
        return BodyArrays(*(torch.from_numpy(np.ascontiguousarray(arrays[name])) for name in BODY_INPUTS))

    def to(self, device: torch.device) -> BodyArrays:
        return BodyArrays(*(array.to(device) for array in self))


class Posed(NamedTuple):
    """A posed body, root joint at the origin of the camera's axes."""

    joints: Tensor
    """(B, 24, 3) metres, relative to the pelvis."""
    keypoints: Tensor
    """(B, 23, 3) metres, relative to the pelvis."""
    pelvis: Tensor
    """(B, 3) metres: where the pelvis of this shape lies before `transl`; pelvis + transl is where it ends up."""


class ForwardKinematics(nn.Module):
    """Joints and canonical keypoints of SMPL-format bodies. Holds only constants of the skeleton.

    Internally, components come first and joints last, (3, 4, B, 24): products of tiny matrices are then sums of long vectors, which is
    several times faster than any batched gemm, and selecting parents is one gemm over the last axis.
    """

    def __init__(self):
        super().__init__()
        n = skeleton.NUM_JOINTS
        parents = np.array(skeleton.PARENTS)
        bone = np.eye(n, dtype=np.float32)
        bone[np.arange(1, n), parents[1:]] = -1
        bone[0] = 0  # the root stays at the origin
        self._constant("bone", bone.T)
        self.levels = 0
        while (parents >= 0).any():  # ancestors 1, 2, 4, 8 generations up
            select = np.zeros((n, n), np.float32)
            select[np.flatnonzero(parents >= 0), parents[parents >= 0]] = 1
            self._constant(f"select{self.levels}", select.T)
            finished = np.eye(3, 4, dtype=np.float32)[:, :, None, None] * (parents < 0)
            self._constant(f"finished{self.levels}", finished.astype(np.float32))
            parents = np.where(parents >= 0, parents[parents], -1)
            self.levels += 1
        self._constant("from_joints", skeleton.keypoints_from_joints().T)
        self._constant("from_landmarks", skeleton.keypoints_from_landmarks().T)
        self._constant("identity", np.tile(np.eye(3, dtype=np.float32).ravel(), n))

    def _constant(self, name: str, value: np.ndarray) -> None:
        self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(value)), persistent=False)

    def forward(self, rotmat: Tensor, betas: Tensor, body: BodyArrays) -> Posed:
        """rotmat: (B, 24, 3, 3); betas: (B, 10)."""
        local = rotmat.permute(2, 3, 0, 1)
        rest = along_betas(body.J_template, body.J_shapedirs, betas)
        # Each joint's transform relative to its parent, then to its grandparent, then four generations up, ...
        world = torch.cat([local, (rest @ self.bone).unsqueeze(1)], dim=1)  # (3, 4, B, 24)
        for level in range(self.levels):
            ancestor = world @ getattr(self, f"select{level}") + getattr(self, f"finished{level}")
            turn, shift = ancestor.split([3, 1], dim=1)
            rotated, moved = compose(turn, world).split([3, 1], dim=1)
            world = torch.cat([rotated, moved + shift], dim=1)
        world_rotmat, joints = world.split([3, 1], dim=1)

        landmarks = along_betas(body.landmark_template, body.landmark_shapedirs, betas)
        bent = rotmat.flatten(1) - self.identity
        posedirs = nn.functional.pad(body.landmark_posedirs, (0, 0, 9, 0))  # pose correctives do not depend on the root
        landmarks = landmarks + (bent @ posedirs).unflatten(1, (-1, 3)).permute(2, 0, 1)
        offset = joints - compose(world_rotmat, rest.unsqueeze(1))
        skinning = torch.cat([world_rotmat, offset], dim=1) @ body.landmark_weights.T  # (3, 4, B, L)
        turn, shift = skinning.split([3, 1], dim=1)
        landmarks = compose(turn, landmarks.unsqueeze(1)) + shift

        keypoints = joints @ self.from_joints + landmarks @ self.from_landmarks
        pelvis = rest.split([1, skeleton.NUM_JOINTS - 1], dim=-1)[0]
        return Posed(*(x.reshape(3, *x.shape[-2:]).permute(1, 2, 0) for x in (joints, keypoints)), pelvis.squeeze(-1).T)


def along_betas(template: Tensor, shapedirs: Tensor, betas: Tensor) -> Tensor:
    """Points of bodies with these betas. (P, 3), (P, 3, 10), (B, 10) to (3, B, P)."""
    directions = shapedirs.permute(2, 1, 0).flatten(1)  # (10, 3 P)
    return (betas @ directions + template.T.flatten()).unflatten(1, (3, -1)).permute(1, 0, 2)


def compose(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product over the first two axes: (3, 3, ...) and (3, N, ...) to (3, N, ...)."""
    return (a.unsqueeze(2) * b.unsqueeze(0)).sum(1)
