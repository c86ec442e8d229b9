"""Frozen values that the parts of the package exchange. No behaviour beyond small derived properties, no imports of heavy libraries.

Frames: image coordinates in pixels with the first pixel's centre at (0, 0); 3D in the camera's optical frame (x right, y down, z
forward, metres; REP-103). N is the number of people, the first axis wherever there is more than one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hmr_ros.camera import Camera
from hmr_ros.rotation import rotmat_to_rotvec


@dataclass(frozen=True)
class Keypoints:
    """2D keypoints of N people in one image, in the order of `skeleton.KEYPOINT_NAMES`."""

    uv: np.ndarray
    """(N, 23, 2) float32, pixels. A keypoint with confidence 0 holds no information."""
    confidence: np.ndarray
    """(N, 23) float32 in [0, 1]."""
    score: np.ndarray
    """(N,) float32 in [0, 1]: how sure the detector is that this is a person."""
    xyz: np.ndarray | None = None
    """(N, 23, 3) float32, metres: the detector's own rough 3D, from the hips' centre, x right, y down, z along the ray to the
    person; NaN for keypoints it has no 3D of. None: it has none at all."""

    def __len__(self) -> int:
        return len(self.score)

    @staticmethod
    def empty() -> Keypoints:
        return Keypoints(np.zeros((0, 23, 2), np.float32), np.zeros((0, 23), np.float32), np.zeros(0, np.float32))

    def __getitem__(self, index) -> Keypoints:
        """Some of the people: an index array, a mask or a slice."""
        xyz = None if self.xyz is None else self.xyz[index]
        return Keypoints(self.uv[index], self.confidence[index], self.score[index], xyz)


@dataclass(frozen=True)
class Frame:
    """One camera image with everything needed to understand it."""

    image: np.ndarray
    """(H, W, 3) uint8, RGB."""
    camera: Camera
    stamp_ns: int = 0
    """Capture time, nanoseconds on the clock of the source."""
    frame_id: str = ""
    """Name of the camera's optical frame."""
    depth: np.ndarray | None = None
    """(h, w) float32, metres along z, 0 or NaN where unknown: the same view, perhaps at another resolution; None without a depth image."""
    boxes: np.ndarray | None = None
    """(M, 4) float32, pixels: left, top, right, bottom of people from an external detector, most confident first; None: none was used."""
    keypoints: Keypoints | None = None
    """Of people from an external keypoint detector; None: none was used."""


@dataclass(frozen=True)
class BodyPose:
    """SMPL parameters of N people in the camera's optical frame."""

    rotmat: np.ndarray
    """(N, 24, 3, 3) float32: each joint's rotation relative to its parent; joint 0 relative to the camera."""
    betas: np.ndarray
    """(N, 10) float32, in the body's own shape space."""
    transl: np.ndarray
    """(N, 3) float32, metres: added to every joint and vertex after posing, as in `smplx`."""

    def __len__(self) -> int:
        return len(self.betas)

    def __getitem__(self, index) -> BodyPose:
        return BodyPose(self.rotmat[index], self.betas[index], self.transl[index])


@dataclass(frozen=True)
class FitReport:
    """What test-time optimisation did for N people in one frame."""

    steps: int
    """Adaptation steps taken: those of the person who took the most."""
    loss_before: np.ndarray
    """(N,) float32: objective at the regressor's output."""
    loss_after: np.ndarray
    """(N,) float32: objective of what is returned; never above `loss_before`."""
    stop: str
    """One of STOP_REASONS."""
    elapsed_s: float


BACK_S = 0.5
"""Stamps that go back by more mean a recording that began again; by less, an image that a later one overtook on its way."""
STOP_REASONS = ("converged", "max_steps", "deadline", "diverged", "no_keypoints")


@dataclass(frozen=True)
class Person:
    """One tracked person in one frame, with everything that users of the pipeline get."""

    id: int
    """Track id, stable over frames, never reused before `reset`."""
    score: float
    rotmat: np.ndarray
    """(24, 3, 3) float32, as BodyPose.rotmat."""
    betas: np.ndarray
    """(10,) float32."""
    transl: np.ndarray
    """(3,) float32, metres, optical frame."""
    joints: np.ndarray
    """(24, 3) float32, metres, optical frame."""
    joint_confidence: np.ndarray
    """(24,) float32 in [0, 1]."""
    joint_rotmat: np.ndarray
    """(24, 3, 3) float32: orientation of every joint in the camera frame."""
    keypoints_uv: np.ndarray
    """(23, 2) float32, pixels: what the detector saw."""
    keypoint_confidence: np.ndarray
    """(23,) float32."""
    reprojection_px: np.ndarray
    """(23, 2) float32, pixels: where the keypoints of this body fall in the image."""
    reprojection_px_before: np.ndarray
    """(23, 2) float32, pixels: those of the regressor's answer, before test-time optimisation."""
    reprojection_px_after: np.ndarray
    """(23, 2) float32, pixels: those of the optimised body, before smoothing and depth moved it."""
    angular_velocity: np.ndarray
    """(24, 3) float32, rad/s: of each joint's `rotmat`, in the parent's frame."""
    linear_velocity: np.ndarray
    """(3,) float32, m/s: of `transl`, optical frame."""
    loss_before: float
    loss_after: float
    steps: int
    """Adaptation steps that this person took; others in the frame may have taken more."""
    distance_measured: bool = False
    """Whether a depth image set the distance; otherwise it follows from how large the person appears."""

    @property
    def global_orient(self) -> np.ndarray:
        """(3,) float32, axis-angle, radians."""
        return rotmat_to_rotvec(self.rotmat[0])

    @property
    def body_pose(self) -> np.ndarray:
        """(69,) float32, axis-angle, radians."""
        return rotmat_to_rotvec(self.rotmat[1:]).reshape(69)


@dataclass(frozen=True)
class FrameResult:
    """What the pipeline returns for one frame."""

    people: tuple[Person, ...]
    fit: FitReport | None
    """None when nobody was found."""
    stages_ms: dict[str, float] = field(default_factory=dict)
    """Wall time of each stage of the pipeline, milliseconds, in the order they ran."""
