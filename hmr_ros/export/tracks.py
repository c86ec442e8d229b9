"""One person's recovered motion, resampled to the constant frame rate that motion formats have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.recording import FrameRecord
from hmr_ros.rotation import rotmat_to_rotvec, rotvec_to_rotmat


@dataclass(frozen=True)
class Track:
    """T poses of one person at a constant rate, float64; in the camera's optical frame, metres."""

    id: int
    fps: float
    rotmat: np.ndarray
    """(T, 24, 3, 3), as `types.Person.rotmat`."""
    betas: np.ndarray
    """(T, 10)."""
    transl: np.ndarray
    """(T, 3)."""
    joints: np.ndarray
    """(T, 24, 3)."""
    score: np.ndarray
    """(T,)."""
    frame: np.ndarray
    """(T,) int: index of the source's frame."""
    stamp_ns: np.ndarray
    """(T,) int."""
    observed: np.ndarray
    """(T,) bool: False where the person was lost for a moment and the pose is interpolated."""

    @property
    def shape(self) -> np.ndarray:
        """(10,): the mean betas, for formats that have one shape per person."""
        return self.betas.mean(axis=0)


def tracks_of(frames: Sequence[FrameRecord], fps: float, body: BodyModel) -> list[Track]:
    """The track of everyone in `frames`, by id. fps: of the source. Frames that are missing in a track are interpolated; of two frames
    that fall on the same tick of the constant rate, the first counts."""
    people: dict[int, list] = {}
    for frame in frames:
        for person in frame.people:
            people.setdefault(person.id, []).append((frame, person))
    return [_track(track_id, rows, fps, body) for track_id, rows in sorted(people.items())]


def _track(track_id: int, rows: list, fps: float, body: BodyModel) -> Track:
    stamps = np.array([frame.stamp_ns for frame, _ in rows], np.int64)
    index = np.array([frame.index for frame, _ in rows], np.int64)
    beats, first = np.unique(_beats(stamps, index, fps), return_index=True)
    rows, stamps, index = [rows[i] for i in first], stamps[first], index[first]
    every = np.arange(beats[-1] + 1)
    left = np.searchsorted(beats, every, side="right") - 1
    right = np.minimum(left + 1, len(beats) - 1)
    share = (every - beats[left]) / np.maximum(beats[right] - beats[left], 1)

    def linear(name: str) -> np.ndarray:
        return _linear(np.array([getattr(person, name) for _, person in rows], np.float64), left, right, share)

    rotmat = _turned(np.array([person.rotmat for _, person in rows], np.float64), left, right, share)
    betas, transl = linear("betas"), linear("transl")
    return Track(
        id=track_id, fps=fps, rotmat=rotmat, betas=betas, transl=transl,
        joints=body.joints(rotmat, betas, transl)[0],
        score=linear("score"),
        frame=np.round(_linear(index, left, right, share)).astype(np.int64),
        stamp_ns=stamps[0] + np.round(_linear(stamps - stamps[0], left, right, share)).astype(np.int64),
        observed=np.isin(every, beats),
    )  # fmt: skip


def _beats(stamps: np.ndarray, index: np.ndarray, fps: float) -> np.ndarray:
    """The tick of the constant rate for every row, from 0, never falling: by its stamp, or by its index if most stamps do not rise."""
    steps = np.diff(stamps)
    if 2 * np.sum(steps <= 0) > len(steps):
        return index - index[0]
    rising = np.maximum.accumulate(stamps)  # a frame that came out of order gets the stamp of the one before it
    return np.round((rising - rising[0]) * fps / 1e9).astype(np.int64)


def _linear(values: np.ndarray, left: np.ndarray, right: np.ndarray, share: np.ndarray) -> np.ndarray:
    share = share.reshape(-1, *[1] * (values.ndim - 1))
    return values[left] + share * (values[right] - values[left])


def _turned(rotmat: np.ndarray, left: np.ndarray, right: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Interpolate along the shortest rotation from one to the next."""
    turn = rotmat_to_rotvec(np.swapaxes(rotmat[left], -1, -2) @ rotmat[right])
    return rotmat[left] @ rotvec_to_rotmat(share[:, None, None] * turn)
