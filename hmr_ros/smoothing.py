"""Smoothed motion and its velocity: the One Euro filter (Casiez et al., CHI 2012) on rotations and translation.

A low-pass filter whose cut-off rises with speed: steady at rest, quick in motion. Everything here is a step in a tangent
space: rotations move along the geodesic to the new value; translation is split into the direction in which the person is
seen (x/z, y/z) and the logarithm of depth, because a single camera measures the first well and the second badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hmr_ros.config import SmoothingConfig
from hmr_ros.per_track import PerTrack, take
from hmr_ros.rotation import rot6d_to_rotmat, rotmat_to_rot6d, rotmat_to_rotvec, rotvec_to_rotmat

BETAS_CUTOFF_HZ = 0.3
"""A body's shape does not change; what looks like change is noise."""
NEAREST_M = 0.1
"""Translations nearer to the camera's plane than this are treated as this far."""


@dataclass(frozen=True)
class Smoothed:
    """Filtered parameters of N people, in the order of the ids given, and their velocities."""

    rotmat: np.ndarray
    """(N, 24, 3, 3) float32."""
    betas: np.ndarray
    """(N, 10) float32."""
    transl: np.ndarray
    """(N, 3) float32, metres."""
    angular_velocity: np.ndarray
    """(N, 24, 3) float32, rad/s: of `rotmat`, in the parent's frame; 0 in a person's first frame."""
    linear_velocity: np.ndarray
    """(N, 3) float32, m/s: of `transl`; 0 in a person's first frame."""


class _State(NamedTuple):
    """Filters of T people, the first axis of each array. `place` is (x/z, y/z, log z) of the translation; `*_in` are the last raw values."""

    rotmat: np.ndarray
    rotmat_in: np.ndarray
    spin: np.ndarray
    betas: np.ndarray
    place: np.ndarray
    place_in: np.ndarray
    drift: np.ndarray


class Smoother(PerTrack[_State]):
    """Keeps one filter per track id; all are updated at once."""

    def __init__(self, config: SmoothingConfig):
        super().__init__(_begin(np.zeros((0, 24, 3, 3)), np.zeros((0, 10)), np.zeros((0, 3))))
        self.config = config

    def __call__(
        self, ids: np.ndarray, rotmat: np.ndarray, betas: np.ndarray, transl: np.ndarray, stamp_ns: int
    ) -> Smoothed:
        """One frame. ids: (N,) no id twice; rotmat: (N, 24, 3, 3); betas: (N, 10); transl: (N, 3), metres.

        A person's first frame passes unchanged. A repeated stamp gives the previous result again; one that goes back (a
        recording that loops) restarts the person's filter.
        """
        state = _begin(rotmat, betas, transl)
        known, elapsed_s, before = self._recall(ids, stamp_ns)
        for values, stepped in zip(state, self._step(before, take(state, known), elapsed_s)):
            values[known] = stepped
        self._remember(ids, stamp_ns, state)
        return self._result(state, rotmat, betas, transl)

    def _step(self, before: _State, new: _State, dt: np.ndarray) -> _State:
        """Filters of the same people `dt` (T,) seconds later; `new` holds the raw values."""
        config = self.config
        # Speeds are differences of raw values. Against the filtered values, as in the paper, they would be too high in motion.
        gain = _gain(config.velocity_cutoff_hz, dt)
        turn = rotmat_to_rotvec(new.rotmat @ np.swapaxes(before.rotmat_in, -1, -2))
        spin = before.spin + _each(gain, turn) * (_rate(turn, dt) - before.spin)
        move = new.place - before.place_in
        drift = before.drift + _each(gain, move) * (_rate(move, dt) - before.drift)

        cutoff = config.min_cutoff_hz + config.beta * np.linalg.norm(spin, axis=-1)
        step = rotmat_to_rotvec(new.rotmat @ np.swapaxes(before.rotmat, -1, -2))
        rotmat = rotvec_to_rotmat(_gain(cutoff, dt[:, None])[..., None] * step) @ before.rotmat
        across = config.direction_min_cutoff_hz + config.direction_beta * np.linalg.norm(drift[:, :2], axis=-1)
        depth = config.depth_min_cutoff_hz + config.depth_beta * np.abs(drift[:, 2])
        gain = _gain(np.stack([across, across, depth], axis=-1), dt[:, None])
        return _State(
            rotmat=rot6d_to_rotmat(rotmat_to_rot6d(rotmat)),  # orthonormal: else rounding adds up over hours
            rotmat_in=np.where(_each(dt, new.rotmat) > 0, new.rotmat, before.rotmat_in),
            spin=spin,
            betas=before.betas + _gain(BETAS_CUTOFF_HZ, dt)[:, None] * (new.betas - before.betas),
            place=before.place + gain * (new.place - before.place),
            place_in=np.where(_each(dt, move) > 0, new.place, before.place_in),
            drift=drift,
        )

    def _result(self, state: _State, rotmat: np.ndarray, betas: np.ndarray, transl: np.ndarray) -> Smoothed:
        if self.config.enabled:
            rotmat, betas, transl = state.rotmat, state.betas, _to_transl(state.place)
        # d/dt of (x/z, y/z, 1) z, with drift the rate of (x/z, y/z, log z).
        direction = transl / np.maximum(transl[:, 2:], NEAREST_M)
        across = np.concatenate([state.drift[:, :2], np.zeros_like(state.drift[:, :1])], axis=1)
        velocity = np.maximum(transl[:, 2:], NEAREST_M) * (across + state.drift[:, 2:] * direction)
        return Smoothed(*(np.asarray(v, np.float32) for v in (rotmat, betas, transl, state.spin, velocity)))


def _begin(rotmat: np.ndarray, betas: np.ndarray, transl: np.ndarray) -> _State:
    """Filters of people seen for the first time, at rest. Float64, because velocities are small differences of values."""
    rotmat, betas, place = rotmat.astype(np.float64), betas.astype(np.float64), _to_place(transl.astype(np.float64))
    return _State(
        rotmat=rotmat,
        rotmat_in=rotmat.copy(),
        spin=np.zeros(rotmat.shape[:-1]),
        betas=betas,
        place=place,
        place_in=place.copy(),
        drift=np.zeros(place.shape),
    )


def _to_place(transl: np.ndarray) -> np.ndarray:
    z = np.maximum(transl[:, 2:], NEAREST_M)
    return np.concatenate([transl[:, :2] / z, np.log(z)], axis=1)


def _to_transl(place: np.ndarray) -> np.ndarray:
    z = np.exp(place[:, 2:])
    return np.concatenate([place[:, :2] * z, z], axis=1)


def _gain(cutoff_hz, dt: np.ndarray) -> np.ndarray:
    """Weight of the new value in a first-order low-pass filter; 0 where no time passed."""
    turns = 2 * np.pi * cutoff_hz * dt
    return turns / (1 + turns)


def _rate(change: np.ndarray, dt: np.ndarray) -> np.ndarray:
    """Change per second; 0 where no time passed. change: (N, ...); dt: (N,), seconds."""
    dt = _each(dt, change)
    return np.where(dt > 0, change / np.where(dt > 0, dt, 1), 0)


def _each(per_person: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(N,) shaped to broadcast with (N, ...)."""
    return per_person.reshape(-1, *[1] * (like.ndim - 1))
