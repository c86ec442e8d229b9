"""The whole mesh of many bodies at once: `hmr_ros.body_model.BodyModel.vertices` in torch, with normals and an offset for clothes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.draw import face_normals


class Skinned(NamedTuple):
    vertices: Tensor
    """(B, V, 3) metres, before `transl`."""
    normals: Tensor
    """(B, V, 3) unit, outwards: the rest pose's, turned with the skin."""


class Skin:
    """A body's arrays on one device. V vertices."""

    def __init__(self, body: BodyModel, device: torch.device):
        def moved(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array)).to(device)

        self.template, self.weights, self.faces = moved(body.v_template), moved(body.weights), moved(body.faces).long()
        self.shapedirs = moved(body.shapedirs.reshape(-1, skeleton.NUM_BETAS).T)
        self.posedirs = None if body.posedirs is None else moved(body.posedirs.reshape(body.v_template.size, -1).T)
        self.J_template = moved(body.J_template)
        self.J_shapedirs = moved(body.J_shapedirs.reshape(-1, skeleton.NUM_BETAS).T)
        self.levels = [(moved(joints), moved(parents)) for joints, parents in tree_levels()]
        self.normals = moved(vertex_normals(body.v_template, body.faces))

    def __call__(self, rotmat: Tensor, betas: Tensor, thickness_m: Tensor | None = None) -> Skinned:
        """rotmat: (B, 24, 3, 3); betas: (B, 10); thickness_m: (B, V), of what is worn on the skin."""
        batch = len(rotmat)
        shaped = self.template + (betas @ self.shapedirs).reshape(batch, -1, 3)
        if self.posedirs is not None:
            bent = rotmat[:, 1:] - torch.eye(3, device=rotmat.device)
            shaped = shaped + (bent.flatten(1) @ self.posedirs).reshape(shaped.shape)
        if thickness_m is not None:
            shaped = shaped + thickness_m.unsqueeze(-1) * self.normals
        rest = self.J_template + (betas @ self.J_shapedirs).reshape(batch, -1, 3)
        motion = torch.cat(self._forward_kinematics(rotmat, rest.unsqueeze(-1)), dim=-1)
        turn, shift = (self.weights @ motion.flatten(2)).unflatten(2, (3, 4)).split([3, 1], dim=-1)
        # Sums of products, because matrix products of half a million 3x3 matrices are slow.
        vertices = (turn * shaped.unsqueeze(-2)).sum(-1) + shift.squeeze(-1)
        normals = (turn * self.normals.unsqueeze(-2)).sum(-1)
        return Skinned(vertices, torch.nn.functional.normalize(normals, dim=-1))

    def _forward_kinematics(self, rotmat: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
        """Each joint's motion out of the rest pose, x -> R x + t: R (B, 24, 3, 3) and t (B, 24, 3, 1). rest: (B, 24, 3, 1) joints."""
        orientation, position = rotmat.clone(), rest.clone()
        for joints, parents in self.levels:
            above = orientation[:, parents]
            orientation[:, joints] = above @ rotmat[:, joints]
            position[:, joints] = position[:, parents] + above @ (rest[:, joints] - rest[:, parents])
        return orientation, position - orientation @ rest


def tree_levels() -> list[tuple[np.ndarray, np.ndarray]]:
    """Joints grouped by their depth below the root, with their parents."""
    levels, parents = [], np.array(skeleton.PARENTS)
    while len(below := np.flatnonzero(np.isin(parents, levels[-1][0] if levels else [0]))):
        levels.append((below, parents[below]))
    return levels


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Mean normal of the faces around each vertex, (V, 3) float32, unit. vertices: (V, 3); faces: (F, 3)."""
    normals = np.zeros_like(vertices)
    for corner in faces.T:
        np.add.at(normals, corner, face_normals(vertices[faces]))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)
