"""From 2D keypoints to a first body and everything test-time optimisation needs, for all people at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hmr_ros.backends.graph import Graph
from hmr_ros.camera import Camera
from hmr_ros.crop import crop_people, keypoint_box
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
    """The regressor's answer."""

    state: np.ndarray
    """(N, S) float32: what adaptation moves; only the bundle's graphs know what it means."""
    fit_inputs: dict[str, np.ndarray]
    """All other inputs of `adapt` and `readout`; constant during the loop."""
    auxiliary: BodyPose
    """The auxiliary head's prediction."""


def observe(keypoints: Keypoints, camera: Camera, aspect: float = 1.0) -> Observation:
    """Undistort, normalise, and put every person in a box of their own, `aspect` as wide as it is high. Everyone needs at least two
    seen keypoints."""
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


class Regressor:
    """The bundle's `encode` and `regress` graphs in a row.

    crop_px: height and width of what `encode` wants to see of each person, or None: it reads keypoints.
    """

    def __init__(self, encode: Graph, regress: Graph, loss_weights: np.ndarray, crop_px: tuple[int, int] | None = None):
        self._encode, self._regress, self._loss_weights = encode, regress, loss_weights
        self._crop_px = crop_px

    def look(self, keypoints: Keypoints, frame: Frame) -> Regression:
        """Everyone whose keypoints were found in `frame`."""
        if self._crop_px is None:
            return self(observe(keypoints, frame.camera))
        height, width = self._crop_px
        seen = observe(keypoints, frame.camera, width / height)
        return self(seen, crop_people(frame.image, frame.camera, seen.bbox_info, self._crop_px))

    def __call__(self, seen: Observation, crop: np.ndarray | None = None) -> Regression:
        """crop: (N, 3, *crop_px), where the encoder reads images."""
        if (crop is None) != (self._crop_px is None):
            raise ValueError("encoders of images need a crop of every person, those of keypoints none")
        features = self._encode(**(vars(seen) if crop is None else {"crop": crop}))["features"]
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
            array.flags.writeable = False  # a backend on a GPU sends up once what cannot change between steps
        auxiliary = BodyPose(answer["target_rotmat"], answer["target_betas"], answer["target_transl"])
        return Regression(answer["state"], fit_inputs, auxiliary)
