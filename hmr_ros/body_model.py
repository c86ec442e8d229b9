"""An SMPL-format body: from pose, shape and translation to joints, keypoints and mesh. Numpy, no state.

The equations are SMPL's (Loper et al., SIGGRAPH Asia 2015, section 3): shape blend shapes, joints regressed from the shaped mesh,
pose blend shapes where the file has them, linear blend skinning along the kinematic tree. `transl` is added last and the root
turns about the pelvis joint, as in `smplx`. Files are read by `hmr_ros.smpl_file`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hmr_ros import skeleton

NUM_POSE_FEATURES = 9 * (skeleton.NUM_JOINTS - 1)


@dataclass(frozen=True)
class BodyModel:
    """A body's arrays, float32. V vertices, F triangles, N people; rotmat: (N, 24, 3, 3), betas: (N, 10), transl: (N, 3).

    In the rest pose y is up, the body faces +z, and its left is +x.
    """

    v_template: np.ndarray
    """(V, 3) metres: the mesh of betas = 0 in the rest pose."""
    shapedirs: np.ndarray
    """(V, 3, 10) metres per unit of beta."""
    posedirs: np.ndarray | None
    """(V, 3, 207) metres per entry of (rotmat[1:] - I), row-major, or None: no pose blend shapes."""
    weights: np.ndarray
    """(V, 24) skinning weights; rows sum to 1."""
    J_regressor: np.ndarray
    """(24, V): joints as blends of vertices; rows sum to 1."""
    faces: np.ndarray
    """(F, 3) int32, counter-clockwise seen from outside."""
    shape_space: str
    """Name of the shape space that betas belong to: those of one space mean nothing in another."""
    region: np.ndarray | None = None
    """(V,) uint8, index into `region_names`: skin, or the garment that covers the vertex, for colouring. None: unknown."""
    region_names: tuple[str, ...] = ()

    @cached_property
    def J_template(self) -> np.ndarray:
        """(24, 3) metres: joints of betas = 0 in the rest pose."""
        return self.J_regressor @ self.v_template

    @cached_property
    def J_shapedirs(self) -> np.ndarray:
        """(24, 3, 10) metres per unit of beta."""
        return np.tensordot(self.J_regressor, self.shapedirs, axes=1)

    @cached_property
    def landmarks(self) -> Landmarks:
        """The few vertices that the keypoints need."""
        at = skeleton.landmark_vertices()
        posedirs = None if self.posedirs is None else _pose_matrix(self.posedirs[at])
        return Landmarks(self.v_template[at], self.shapedirs[at], posedirs, self.weights[at])

    @cached_property
    def _mesh(self) -> Landmarks:
        """All vertices, in the same form."""
        posedirs = None if self.posedirs is None else _pose_matrix(self.posedirs)
        return Landmarks(self.v_template, self.shapedirs, posedirs, self.weights)

    def joints(self, rotmat: np.ndarray, betas: np.ndarray, transl: np.ndarray | None = None):
        """Posed joints (N, 24, 3) in metres, and their orientations (N, 24, 3, 3) in the frame of transl."""
        rest = self._rest_joints(betas)
        orientation, position = _forward_kinematics(rotmat, rest)
        return _moved(position, transl), orientation

    def keypoints(self, rotmat: np.ndarray, betas: np.ndarray, transl: np.ndarray | None = None) -> np.ndarray:
        """The canonical keypoints, (N, 23, 3) metres, without computing the mesh."""
        rest = self._rest_joints(betas)
        orientation, position = _forward_kinematics(rotmat, rest)
        landmarks = _skin(self.landmarks, rotmat, betas, rest, orientation, position)
        return _moved(_FROM_JOINTS @ position + _FROM_LANDMARKS @ landmarks, transl)

    def vertices(self, rotmat: np.ndarray, betas: np.ndarray, transl: np.ndarray | None = None) -> np.ndarray:
        """The posed mesh, (N, V, 3) metres."""
        rest = self._rest_joints(betas)
        orientation, position = _forward_kinematics(rotmat, rest)
        return _moved(_skin(self._mesh, rotmat, betas, rest, orientation, position), transl)

    def graph_inputs(self) -> dict[str, np.ndarray]:
        """What the compiled graphs need of this body, float32; bound once when a graph is loaded."""
        points = self.landmarks
        size = (NUM_POSE_FEATURES, points.template.size)
        return {
            "J_template": self.J_template,
            "J_shapedirs": self.J_shapedirs,
            "landmark_template": points.template,
            "landmark_shapedirs": points.shapedirs,
            "landmark_posedirs": np.zeros(size, np.float32) if points.posedirs is None else points.posedirs,
            "landmark_weights": points.weights,
        }

    def _rest_joints(self, betas: np.ndarray) -> np.ndarray:
        """Joints of these shapes in the rest pose, (N, 24, 3)."""
        return self.J_template + _along_betas(self.J_shapedirs, betas)


@dataclass(frozen=True)
class Landmarks:
    """Some vertices of a body, with everything needed to pose them."""

    template: np.ndarray
    """(L, 3)."""
    shapedirs: np.ndarray
    """(L, 3, 10)."""
    posedirs: np.ndarray | None
    """(207, 3 L)."""
    weights: np.ndarray
    """(L, 24)."""


_FROM_JOINTS = skeleton.keypoints_from_joints()
_FROM_LANDMARKS = skeleton.keypoints_from_landmarks()


def _pose_matrix(posedirs: np.ndarray) -> np.ndarray:
    """(L, 3, 207) to (207, 3 L), so that offsets = features @ matrix."""
    return np.ascontiguousarray(posedirs.reshape(-1, NUM_POSE_FEATURES).T)


def _along_betas(directions: np.ndarray, betas: np.ndarray) -> np.ndarray:
    """Offsets along shape directions: (L, 3, 10), (N, 10) to (N, L, 3)."""
    flat = directions.reshape(-1, directions.shape[-1])
    return (betas @ flat.T).reshape(len(betas), *directions.shape[:2])


def _forward_kinematics(rotmat: np.ndarray, rest: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One level of the kinematic tree at a time: orientations (N, 24, 3, 3) and positions (N, 24, 3)."""
    orientation, position = np.empty_like(rotmat), np.empty_like(rest)
    orientation[:, 0], position[:, 0] = rotmat[:, 0], rest[:, 0]
    for joints, parents in _LEVELS:
        above = orientation[:, parents]
        orientation[:, joints] = above @ rotmat[:, joints]
        bone = rest[:, joints] - rest[:, parents]
        position[:, joints] = position[:, parents] + (above @ bone[..., None])[..., 0]
    return orientation, position


def _tree_levels() -> list[tuple[np.ndarray, np.ndarray]]:
    """Joints grouped by their depth below the root, with their parents."""
    depth = [0] * skeleton.NUM_JOINTS
    for joint, parent in enumerate(skeleton.PARENTS[1:], 1):
        depth[joint] = depth[parent] + 1
    levels = [np.flatnonzero(np.array(depth) == d) for d in range(1, max(depth) + 1)]
    return [(joints, np.array(skeleton.PARENTS)[joints]) for joints in levels]


_LEVELS = _tree_levels()


def _skin(points: Landmarks, rotmat, betas, rest, orientation, position) -> np.ndarray:
    """Linear blend skinning of some vertices, (N, L, 3)."""
    shaped = points.template + _along_betas(points.shapedirs, betas)
    if points.posedirs is not None:
        feature = (rotmat[:, 1:] - np.eye(3, dtype=rotmat.dtype)).reshape(len(rotmat), NUM_POSE_FEATURES)
        shaped = shaped + (feature @ points.posedirs).reshape(shaped.shape)
    # Each joint's rest-to-posed transform is x -> R x + (position - R rest).
    offset = position - (orientation @ rest[..., None])[..., 0]
    transform = np.concatenate([orientation, offset[..., None]], axis=-1).reshape(len(rest), skeleton.NUM_JOINTS, 12)
    blended = (points.weights @ transform).reshape(*shaped.shape[:2], 3, 4)
    return np.einsum("nlij,nlj->nli", blended[..., :3], shaped) + blended[..., 3]


def _moved(points: np.ndarray, transl: np.ndarray | None) -> np.ndarray:
    return points if transl is None else points + transl[:, None]
