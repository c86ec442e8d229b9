"""BlazePose's model files: what they are, where they live, and whether they are intact. Standard library only."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

FETCH_COMMAND = "python -m hmr_ros.tools.fetch_keypoint_models"


class KeypointModelError(ValueError):
    """The keypoint models cannot be used. The message says why, where we looked and what to do."""


@dataclass(frozen=True)
class ModelFile:
    name: str
    sha256: str
    member: str
    """Path inside the package that holds it: mediapipe's wheel, or the npm package's archive."""


DETECTOR = ModelFile(
    "pose_detection.tflite",
    "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "mediapipe/modules/pose_detection/pose_detection.tflite",
)
LANDMARKS = ModelFile(
    "pose_landmark_full.tflite",
    "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
    "mediapipe/modules/pose_landmark/pose_landmark_full.tflite",
)
MODEL_FILES = (DETECTOR, LANDMARKS)
"""The files that are always needed; all in mediapipe's wheel."""
LANDMARKS_HEAVY = ModelFile(
    "pose_landmark_heavy.tflite",
    "59e42d71bcd44cbdbabc419f0ff76686595fd265419566bd4009ef703ea8e1fe",
    "package/pose_landmark_heavy.tflite",
)
LANDMARKS_LITE = ModelFile(
    "pose_landmark_lite.tflite",
    "f17bfbecadb61c3be1baa8b8d851cc6619c870a87167b32848ad20db306b9d61",
    "package/pose_landmark_lite.tflite",
)
OTHER_LANDMARKS = {"heavy": LANDMARKS_HEAVY, "lite": LANDMARKS_LITE}
"""Only in the npm package; fetched only when asked for by name."""


def default_model_dir() -> Path:
    """`hmr_ros/blazepose` in the user's cache: $XDG_CACHE_HOME, or ~/.cache where that is not set."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hmr_ros" / "blazepose"


def is_intact(path: Path, model: ModelFile) -> bool:
    """Whether `path` exists and holds exactly `model`."""
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == model.sha256


def find_models(model_dir: str = "", landmarks: str = "full") -> tuple[Path, Path]:
    """Paths of detector and landmark model. Raises KeypointModelError when one is missing or damaged.

    model_dir: the folder that holds both; empty for `default_model_dir`. landmarks: full, heavy or lite.
    """
    folder = Path(model_dir).expanduser() if model_dir else default_model_dir()
    option = f" --dir {folder}" if model_dir else ""
    detector, wanted = MODEL_FILES
    if landmarks in OTHER_LANDMARKS:
        wanted, option = OTHER_LANDMARKS[landmarks], f"{option} --landmarks {landmarks}"
    for model in (detector, wanted):
        path = folder / model.name
        if not path.is_file():
            raise KeypointModelError(
                f"no keypoint model {model.name} in {folder}: fetch it with `{FETCH_COMMAND}{option}`"
            )
        if not is_intact(path, model):
            raise KeypointModelError(
                f"{path} is not the keypoint model we know (its sha256 is not {model.sha256[:12]}...; a truncated copy?): "
                f"fetch it again with `{FETCH_COMMAND}{option}`"
            )
    return folder / detector.name, folder / wanted.name
