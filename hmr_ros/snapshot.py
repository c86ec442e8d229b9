"""One frame's result on disk, to look at or to attach to a bug report: the overlay and everything that was published."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from pathlib import Path

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.draw import draw_overlay
from hmr_ros.types import Frame, FrameResult


def default_folder() -> Path:
    """Beside ROS's logs, whatever the working directory is."""
    return Path(os.environ.get("ROS_HOME") or Path.home() / ".ros") / "hmr_snapshots"


def write_snapshot(
    folder: Path, frame: Frame, result: FrameResult, body: BodyModel, description: dict
) -> tuple[Path, Path]:
    """Writes <stamp>.png (the overlay) and <stamp>.json; returns both paths. Raises OSError where it cannot write.

    description: `pipeline.describe()`. People are in the camera's optical frame, whatever `output_frame` is.
    """
    import cv2

    folder.mkdir(parents=True, exist_ok=True)
    stem = f"hmr_{frame.stamp_ns // 10**9}_{frame.stamp_ns % 10**9:09d}"
    picture, numbers = folder / f"{stem}.png", folder / f"{stem}.json"
    overlay = draw_overlay(frame.image, result, body, frame.camera)
    done, png = cv2.imencode(".png", cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR))
    if not done:
        raise OSError(f"the overlay of {overlay.shape[1]}x{overlay.shape[0]} pixels cannot be encoded as PNG")
    try:
        picture.write_bytes(png.tobytes())
        numbers.write_text(json.dumps(_plain(to_json(frame, result, description)), indent=1) + "\n")
    except OSError:  # such as a full disk: leave no incomplete files
        for path in (picture, numbers):
            path.unlink(missing_ok=True)
        raise
    return picture, numbers


def to_json(frame: Frame, result: FrameResult, description: dict) -> dict:
    """Names, units and shapes as in `hmr_ros.types`. In the file, numbers that are not finite are null."""
    return {
        **description,
        "stamp_ns": frame.stamp_ns,
        "frame_id": frame.frame_id,
        "image_size": [frame.camera.width, frame.camera.height],
        "K": frame.camera.K,
        "stages_ms": result.stages_ms,
        "fit": None if result.fit is None else dataclasses.asdict(result.fit),
        "people": [
            {**dataclasses.asdict(person), "global_orient": person.global_orient, "body_pose": person.body_pose}
            for person in result.people
        ],
    }


def _plain(value):
    """The same in JSON's types. JSON has no NaN and no infinity: such a number becomes null."""
    if isinstance(value, (np.ndarray, np.generic)):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, (int, str)) else str(value)
