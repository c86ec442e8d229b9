"""What was recovered from a source, frame by frame, and the files made of it.

Filled by `tools/run.py` from the pipeline and by `ros/demo.py` from the node's topics; the figures and files mean the same in both
cases.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hmr_ros.camera import Camera
from hmr_ros.draw import draw_overlay
from hmr_ros.media import VideoWriter, write_image
from hmr_ros.metrics import mpjpe, pa_mpjpe, reprojection_error
from hmr_ros.types import Person

if TYPE_CHECKING:
    from hmr_ros.body_model import BodyModel

SUSTAINED_FRAMES = 3
"""A number of people counts only if it was reached in this many frames: a detection that flickers up in one is not a person."""


@dataclass(frozen=True)
class PersonRecord:
    """The part of `types.Person` that is kept, and that also travels over the topic `~/smpl`."""

    id: int
    score: float
    rotmat: np.ndarray
    """(24, 3, 3) float32."""
    betas: np.ndarray
    """(10,) float32."""
    transl: np.ndarray
    """(3,) float32, metres, optical frame."""
    joints: np.ndarray
    """(24, 3) float32, metres, optical frame."""
    steps: int
    reprojection_px_before: float
    """Mean over the keypoints that were seen, before test-time optimisation."""
    reprojection_px_after: float
    """After it, before smoothing."""
    joint_confidence: np.ndarray
    """(24,) float32 in [0, 1]."""
    loss_before: float
    loss_after: float

    @staticmethod
    def of(person: Person) -> PersonRecord:
        seen = person.keypoints_uv, person.keypoint_confidence
        return PersonRecord(
            person.id, person.score, person.rotmat, person.betas, person.transl, person.joints, person.steps,
            reprojection_error(person.reprojection_px_before, *seen), reprojection_error(person.reprojection_px_after, *seen),
            person.joint_confidence, person.loss_before, person.loss_after,
        )  # fmt: skip


@dataclass(frozen=True)
class FrameRecord:
    """One frame that was answered (has a result), with or without people in it."""

    index: int
    """Of the frame in the source, from 0."""
    stamp_ns: int
    latency_ms: float
    people: tuple[PersonRecord, ...]


def summarise(frames: Sequence[FrameRecord], seconds: float, truth: dict[str, np.ndarray] | None = None) -> dict:
    """The figures of `summary.json`; None where there is nothing to measure.

    frames: frames that were answered; people: most people found at once, in at least SUSTAINED_FRAMES frames; fps: answered
    frames over `seconds`; tto_steps: mean steps of a person; reprojection_px: mean over people. With `truth` (`joints`: (T, 24, 3)
    metres, optical frame, row i of frame i): mpjpe_mm and pa_mpjpe_mm, mean over the frames in which somebody was found.
    """
    people = [person for frame in frames for person in frame.people]
    summary = {
        "frames": len(frames),
        "people": people_at_once(frames),
        "fps": _rounded(len(frames) / seconds if seconds > 0 else np.nan),
        "latency_ms": {name: _percentile([f.latency_ms for f in frames], q) for name, q in (("p50", 50), ("p99", 99))},
        "tto_steps": _mean([p.steps for p in people]),
        "reprojection_px": {
            "before": _mean([p.reprojection_px_before for p in people]),
            "after": _mean([p.reprojection_px_after for p in people]),
        },
    }
    return summary if truth is None else {**summary, **accuracy(frames, truth["joints"])}


def people_at_once(frames: Sequence[FrameRecord]) -> int:
    """The largest number of people that at least SUSTAINED_FRAMES frames (or all, if there are fewer) reach."""
    counts = sorted((len(f.people) for f in frames), reverse=True)
    return counts[min(SUSTAINED_FRAMES, len(counts)) - 1] if counts else 0


def accuracy(frames: Sequence[FrameRecord], truth_joints: np.ndarray) -> dict[str, float | None]:
    """MPJPE and PA-MPJPE, mm, against one person's ground-truth joints; of several people found, the one nearest to them counts."""
    found, truth = [], []
    for frame in frames:
        if frame.people and frame.index < len(truth_joints):
            goal = truth_joints[frame.index]
            found.append(min((p.joints for p in frame.people), key=lambda joints: np.linalg.norm(joints - goal)))
            truth.append(goal)
    errors = {"mpjpe_mm": mpjpe, "pa_mpjpe_mm": pa_mpjpe}
    return {name: _mean(error(np.array(found), np.array(truth))) if found else None for name, error in errors.items()}


def report(summary: dict) -> str:
    """The summary as human-readable text."""
    pixels, latency = summary["reprojection_px"], summary["latency_ms"]
    rows = [
        ("frames answered", summary["frames"]),
        ("people at once", summary["people"]),
        ("frames per second", summary["fps"]),
        ("latency p50 / p99", f"{latency['p50']} / {latency['p99']} ms"),
        ("optimisation steps", f"{summary['tto_steps']} a person"),
        ("reprojection error", f"{pixels['before']} px before, {pixels['after']} px after"),
    ]
    if "mpjpe_mm" in summary:
        rows.append(("MPJPE / PA-MPJPE", f"{summary['mpjpe_mm']} / {summary['pa_mpjpe_mm']} mm"))
    return "\n".join(f"  {name:<20}{value}" for name, value in rows)


class OverlayWriter:
    """`overlay.mp4` of every frame given and `overlay.png` of the best: most people, then nearest to the source's middle. A context manager."""

    def __init__(self, folder: Path, fps: float, body: BodyModel, frames: int | None = None):
        self._folder, self._body, self._middle = folder, body, (frames or 0) / 2
        self._video = VideoWriter(folder / "overlay.mp4", fps)
        self._best, self._rank = None, (-1, 0.0)

    def __enter__(self):
        return self

    def write(self, image: np.ndarray, frame: FrameRecord, camera: Camera, stamp_ns: int | None = None) -> np.ndarray:
        """Returns the image drawn. stamp_ns: when the frame was taken, see `VideoWriter.write`."""
        # A FrameRecord has every attribute of a FrameResult that drawing reads.
        picture = draw_overlay(image, frame, self._body, camera)  # type: ignore[arg-type]
        self._video.write(picture, stamp_ns)
        rank = (len(frame.people), -abs(frame.index - self._middle))
        if rank > self._rank:
            self._best, self._rank = picture, rank
        return picture

    def __exit__(self, *error) -> None:
        self._video.__exit__(*error)
        if self._best is not None:
            write_image(self._folder / "overlay.png", self._best)


def _rounded(value: float) -> float | None:
    return round(float(value), 2) if np.isfinite(value) else None


def _mean(values: Sequence[float] | np.ndarray) -> float | None:
    values = np.asarray(values, np.float64)
    values = values[np.isfinite(values)]
    return _rounded(values.mean()) if len(values) else None


def _percentile(values: Sequence[float], q: float) -> float | None:
    return _rounded(np.percentile(values, q)) if len(values) else None
