"""People of image sets as pairs of detected keypoints and true bodies: the file that keypoint-encoder training reads (`training.pairs`)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.config import KeypointsConfig
from hmr_ros.rotation import rotvec_to_rotmat
from training.datasets.cameras import camera_of
from training.datasets.people import DatasetError, People
from training.datasets.place import placed


def complete(people: People, shape_space: str) -> np.ndarray:
    """(N,) bool: who has enough detected keypoints for the runtime, and known pose, translation and shape (in the body's own betas)."""
    seen = (people.confidence_detected > 0).sum(axis=1) >= KeypointsConfig().min_keypoints
    return seen & people.poses_known.all(axis=1) & people.transl_known & people.betas_fit(shape_space)


def whole(people: People, body: BodyModel) -> People:
    """The people who are `complete` for this body. Raises DatasetError if nobody is, saying what is lacking."""
    people, shape_space = placed(people, body), body.shape_space
    chosen = people[complete(people, shape_space)]
    if not len(chosen):
        spaces = sorted(set(people.shape_space[people.betas_known]))
        raise DatasetError(
            f"nobody of {people.summary()} has detections, a whole pose and betas of {shape_space!r}; "
            f"betas are of {spaces or 'nobody'}. Prepare with --detect, and train for the body whose betas these are."
        )
    return chosen


def write_pairs(people: People, path: Path, body: BodyModel) -> int:
    """Write the people who are `complete` for this body; return how many."""
    from training import detector_loop

    chosen = whole(people, body)
    cameras = [camera_of(chosen, row) for row in range(len(chosen))]
    rotmat = rotvec_to_rotmat(chosen.poses)
    keypoints = body.keypoints(rotmat, chosen.betas, chosen.transl)
    arrays = {
        "rotmat": rotmat, "betas": chosen.betas, "transl": chosen.transl, "K": np.stack([camera.K for camera in cameras]),
        "keypoints_3d": keypoints, "keypoints_2d": keypoints[..., :2] / np.maximum(keypoints[..., 2:], 0.1),
        "uv": np.stack([camera.normalise(uv) for camera, uv in zip(cameras, chosen.detected_2d)]),
        "confidence": chosen.confidence_detected, "world": chosen.detected_3d, "score": np.ones(len(chosen)),
    }  # fmt: skip
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    about = json.dumps({"shape_space": body.shape_space})
    detector_loop.write(path, {**arrays, "found": np.ones(len(chosen), bool), "about": about})
    return len(chosen)
