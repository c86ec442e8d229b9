"""Write every file that is made from a recording, for `hmr_run` and `hmr_demo`."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.export.amass import write_amass
from hmr_ros.export.bvh import write_bvh
from hmr_ros.export.tracks import tracks_of
from hmr_ros.media import Media, MediaError
from hmr_ros.recording import FrameRecord, PersonRecord
from hmr_ros.rotation import rotmat_to_rotvec

OUTPUTS = ("overlay.mp4", "overlay.png", "people.jsonl", "summary.json", "node.log", "bag")
"""What `hmr_run` and `hmr_demo` write, besides the tracks."""


def write_results(folder: Path, frames: Sequence[FrameRecord], fps: float, body: BodyModel) -> None:
    """`people.jsonl`, and the files of `write_tracks`."""
    with begin_lines(folder) as lines:
        for frame in frames:
            write_line(lines, frame)
    write_tracks(folder, frames, fps, body)


def written(folder: Path) -> list[str]:
    """Names of the files that a run has written into `folder`."""
    return sorted(path.name for path in folder.iterdir() if path.name in OUTPUTS or _is_track(path))


def keep_apart(media: Media, folder: Path) -> None:
    """Raise MediaError if results written into `folder` could overwrite their own source."""
    source, folder = Path(media.source).resolve(), folder.resolve()
    if media.kind == "camera" or folder not in (source, source.parent):
        return
    if source == folder or source.name in OUTPUTS or _is_track(source):
        raise MediaError(
            f"{source} would be written over: results go to {folder} (--out), which must be another folder"
        )


def _is_track(path: Path) -> bool:
    return re.fullmatch(r"person_\d+\.(npz|bvh)", path.name) is not None


def begin_lines(folder: Path) -> TextIO:
    """Open a new `people.jsonl` that keeps every line even if we are killed. Delete an earlier run's tracks, which could be taken for this one's."""
    for old in list(folder.iterdir()):
        if _is_track(old):
            old.unlink()
    return (folder / "people.jsonl").open("w", buffering=1)


def write_line(lines: TextIO, frame: FrameRecord) -> None:
    """One frame, in the camera's optical frame: frame, stamp_ns, latency_ms, people (see `person_to_dict`)."""
    line = {
        "frame": frame.index,
        "stamp_ns": frame.stamp_ns,
        "latency_ms": round(frame.latency_ms, 3),
        "people": [person_to_dict(person) for person in frame.people],
    }
    lines.write(json.dumps(line) + "\n")


def write_tracks(folder: Path, frames: Sequence[FrameRecord], fps: float, body: BodyModel) -> None:
    """`person_<id>.npz` (see export/amass.py) and `person_<id>.bvh` (export/bvh.py) per track."""
    for track in tracks_of(frames, fps, body):
        write_amass(folder / f"person_{track.id}.npz", track, body)
        write_bvh(folder / f"person_{track.id}.bvh", track, body)


def person_to_dict(person: PersonRecord) -> dict:
    """The fields of ~/smpl under the same names (rad, m, px), and joints (24, 3). What is not known is None."""
    rotvec = rotmat_to_rotvec(person.rotmat)
    numbers = {
        "score": person.score,
        "transl": person.transl,
        "global_orient": rotvec[0],
        "body_pose": rotvec[1:].reshape(69),
        "betas": person.betas,
        "confidence": person.joint_confidence,
        "joints": person.joints,
        "loss_before": person.loss_before,
        "loss_after": person.loss_after,
        "reprojection_px_before": person.reprojection_px_before,
        "reprojection_px_after": person.reprojection_px_after,
    }
    return {"id": person.id, "steps": person.steps, **{name: _plain(value) for name, value in numbers.items()}}


def _plain(value) -> float | list | None:
    """JSON has no NaN: such a number becomes null."""
    if np.ndim(value):
        return [_plain(item) for item in value]
    return round(float(value), 6) if np.isfinite(value) else None
