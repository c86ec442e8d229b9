"""From 2D keypoints to a first estimate of the body and everything test-time optimisation needs, for all people at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.camera import Camera
from hmr_ros.crop import keypoint_box
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.types import BodyPose, Frame, Keypoints


@dataclass(frozen=True)
class Observation:
    """N people as the networks see them: in normalised image coordinates, relative to a box around each."""

    keypoints: np.ndarray
    """(N, 23, 2) float32, box units: the box spans -1 to 1; zero where not seen."""
    confidence: np.ndarray
    """(N, 23) float32."""
    keypoints_3d: np.ndarray
    """(N, 23, 3) float32, metres, from the hips' centre, optical axes: the detector's own 3D; zero where it has none."""
    confidence_3d: np.ndarray
    """(N, 23) float32: 1 where there is such 3D, else 0."""
    bbox_info: np.ndarray
    """(N, 3) float32: the box's centre x, y and height, in normalised image coordinates."""


@dataclass(frozen=True)
class Regression:
    """The regressor's output."""

    state: np.ndarray
    """(N, S) float32: what adaptation updates; only the bundle's graphs know what it means."""
    fit_inputs: dict[str, np.ndarray]
    """All other inputs of `adapt` and `readout`; constant during the loop."""
    auxiliary: BodyPose
    """The auxiliary head's prediction."""


def observe(keypoints: Keypoints, camera: Camera, aspect: float = 1.0) -> Observation:
    """Undistort, normalise, and put every person in a box of their own, `aspect` times as wide as it is high. Everyone needs at least
    two keypoints with confidence."""
    xy = camera.normalise(keypoints.uv)
    center, size = keypoint_box(xy, keypoints.confidence, aspect)
    half = (size / 2)[:, None, None]
    relative = np.where(keypoints.confidence[..., None] > 0, (xy - center[:, None]) / half, 0)
    xyz = np.full((*keypoints.confidence.shape, 3), np.nan) if keypoints.xyz is None else keypoints.xyz
    known = np.isfinite(xyz).all(axis=-1)
    xyz = np.where(known[..., None], xyz, 0) @ np.swapaxes(axis_to_ray(center), -1, -2)
    return Observation(
        relative.astype(np.float32),
        keypoints.confidence.astype(np.float32),
        xyz.astype(np.float32),
        known.astype(np.float32),
        np.concatenate([center, size[:, None]], axis=-1).astype(np.float32),
    )


def axis_to_ray(xy: np.ndarray) -> np.ndarray:
    """Smallest rotation from the optical axis to the ray through xy. (..., 2) normalised coordinates to (..., 3, 3)."""
    tangent = np.linalg.norm(xy, axis=-1, keepdims=True)
    axis = np.concatenate([-xy[..., 1:], xy[..., :1]], axis=-1) / np.maximum(tangent, 1e-9)
    rotvec = np.concatenate([axis * np.arctan(tangent), np.zeros_like(tangent)], axis=-1)
    return rotvec_to_rotmat(rotvec)


class Encoder(Protocol):
    """Computes features of people; see `hmr_ros.encoders`."""

    @property
    def aspect(self) -> float:
        """Width over height of the boxes around people that it expects."""
        ...

    def __call__(self, seen: Observation, frame: Frame | None = None) -> np.ndarray:
        """(N, F) float32. frame: the one that `seen` comes from; encoders that read only keypoints do not need it."""
        ...


class Regressor:
    """The bundle's encoder, followed by its `regress` graph."""

    def __init__(self, encode: Encoder, regress: Graph, loss_weights: np.ndarray):
        self._encode, self._regress, self._loss_weights = encode, regress, loss_weights

    @property
    def aspect(self) -> float:
        """Width over height of the boxes around people that its encoder expects."""
        return self._encode.aspect

    def look(self, keypoints: Keypoints, frame: Frame) -> Regression:
        """Estimate everyone whose keypoints were found in `frame`."""
        return self(observe(keypoints, frame.camera, self.aspect), frame)

    def __call__(self, seen: Observation, frame: Frame | None = None) -> Regression:
        features = self._encode(seen, frame)
        answer = self._regress(features=features, bbox_info=seen.bbox_info)
        fit_inputs = {
            "features": features,
            "bbox_info": seen.bbox_info,
            "keypoints": seen.keypoints,
            "keypoints_3d": seen.keypoints_3d,
            "confidence_3d": seen.confidence_3d,
            "confidence": seen.confidence * answer["reliability"],
            "loss_weights": self._loss_weights,
            **{name: answer[name] for name in ("target_rotmat", "target_betas", "target_joints", "target_keypoints")},
        }
        for array in fit_inputs.values():
            array.flags.writeable = False  # a GPU backend uploads only once what cannot change between steps
        auxiliary = BodyPose(answer["target_rotmat"], answer["target_betas"], answer["target_transl"])
        return Regression(answer["state"], fit_inputs, auxiliary)
