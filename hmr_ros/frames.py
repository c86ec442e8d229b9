"""From the camera's optical frame to a robot's frames: rigid transforms, and people seen from another frame.

REP-103 knows two kinds of frame at a camera. The optical one, which images are stamped with, has x right, y down, z forward; every
other frame of a robot has x forward, y left, z up. If the two kinds are confused, people lie flat on the floor.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from hmr_ros.rotation import quat_to_rotmat
from hmr_ros.types import Person


@dataclass(frozen=True)
class RigidTransform:
    """`T_target_source`: takes points of the source frame to the target frame."""

    rotmat: np.ndarray
    """(3, 3)."""
    transl: np.ndarray
    """(3,) metres: the source's origin in the target frame."""

    @staticmethod
    def from_quat(xyzw, transl) -> RigidTransform:
        """xyzw: (4,), in ROS's order; transl: (3,) metres."""
        return RigidTransform(quat_to_rotmat(np.asarray(xyzw, float)), np.asarray(transl, float))

    def __matmul__(self, other: RigidTransform) -> RigidTransform:
        """T_a_b @ T_b_c = T_a_c."""
        return RigidTransform(self.rotmat @ other.rotmat, self.points(other.transl))

    def inverse(self) -> RigidTransform:
        return RigidTransform(self.rotmat.T, -self.rotmat.T @ self.transl)

    def points(self, xyz: np.ndarray) -> np.ndarray:
        """(..., 3) metres."""
        return xyz @ self.rotmat.T + self.transl

    def vectors(self, xyz: np.ndarray) -> np.ndarray:
        """(..., 3): velocities, directions."""
        return xyz @ self.rotmat.T


ROTMAT_LINK_OPTICAL = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
"""(3, 3): from a camera's optical frame to its link frame, at the same place: forward is x, left is y, up is z (REP-103)."""


def move_person(T_target_camera: RigidTransform, person: Person) -> Person:
    """The same person in another frame. Pixels do not change; velocities remain relative to the camera, but along the new axes.

    SMPL rotates the body about the pelvis, whose place depends on betas, and then adds `transl`. So the transform applies to the pelvis,
    not to `transl` itself.
    """
    T = T_target_camera
    rotmat = person.rotmat.copy()
    rotmat[0] = T.rotmat @ person.rotmat[0]
    angular_velocity = person.angular_velocity.copy()
    angular_velocity[0] = T.vectors(person.angular_velocity[0])
    pelvis = person.joints[0]
    moved = {
        "rotmat": rotmat,
        "transl": T.points(pelvis) - (pelvis - person.transl),
        "joints": T.points(person.joints),
        "joint_rotmat": T.rotmat @ person.joint_rotmat,
        "angular_velocity": angular_velocity,
        "linear_velocity": T.vectors(person.linear_velocity),
    }
    return dataclasses.replace(person, **{name: value.astype(np.float32) for name, value in moved.items()})
