"""Motion capture of any skeleton, before it becomes SMPL's."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmr_ros.rotation import rotvec_to_rotmat


@dataclass(frozen=True)
class Motion:
    """T frames of a skeleton of J joints, float64. In the rest pose every rotation is the identity."""

    names: tuple[str, ...]
    """(J,); where a bone ends without a child, a joint called `<name>_end`."""
    parents: tuple[int, ...]
    """(J,): -1 for the root; a parent comes before its children."""
    offsets: np.ndarray
    """(J, 3): from the parent in the rest pose, in the file's unit of length."""
    rotmat: np.ndarray
    """(T, J, 3, 3): local, relative to the parent."""
    root: np.ndarray
    """(T, 3): where the root is."""
    fps: float

    def __len__(self) -> int:
        return len(self.rotmat)

    def every(self, fps: float) -> Motion:
        """About `fps` frames per second, by leaving frames out."""
        step = max(1, round(self.fps / fps))
        return Motion(self.names, self.parents, self.offsets, self.rotmat[::step], self.root[::step], self.fps / step)

    def world(self) -> tuple[np.ndarray, np.ndarray]:
        """Orientations (T, J, 3, 3), relative to the rest pose, and positions (T, J, 3)."""
        orientation, position = np.empty_like(self.rotmat), np.empty((len(self), len(self.names), 3))
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                orientation[:, joint], position[:, joint] = self.rotmat[:, joint], self.root
            else:
                orientation[:, joint] = orientation[:, parent] @ self.rotmat[:, joint]
                position[:, joint] = position[:, parent] + orientation[:, parent] @ self.offsets[joint]
        return orientation, position

    def rest(self) -> np.ndarray:
        """(J, 3): joints of the rest pose, root at the origin."""
        return Motion(
            self.names, self.parents, self.offsets, _identities(len(self.names)), np.zeros((1, 3)), 1
        ).world()[1][0]


def _identities(joints: int) -> np.ndarray:
    return np.broadcast_to(np.eye(3), (1, joints, 3, 3)).copy()


def euler_to_rotmat(angles: np.ndarray, axes: str) -> np.ndarray:
    """Rotations about the named axes, multiplied from left to right. angles: (..., A) radians; axes: A of x, y, z. (..., 3, 3)."""
    out = np.broadcast_to(np.eye(3), (*angles.shape[:-1], 3, 3))
    for column, axis in enumerate(axes):
        out = out @ rotvec_to_rotmat(angles[..., column, None] * np.eye(3)["xyz".index(axis)])
    return out
