"""The one record that every data set is read into: what is known of N people, and a mask for what is not.

Nothing here is ever filled in: a value that the data set lacks is zero *and* its mask is False (or its confidence 0), so that no
loss can take it for a target. Numpy alone; `People` has a length and hands out rows, which is all that a torch DataLoader asks of
a data set.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

GENDERS = ("", "neutral", "female", "male")
"""'' where a data set does not say."""
AXES = ("optical", "y_up")
"""Axes of all 3D values: a camera's optical frame (x right, y down, z forward), or a world with y up in which the rest pose faces +z."""


class DatasetError(ValueError):
    """Data that cannot be used. The message says which file, which key, what is wrong and what to do."""


@dataclass(frozen=True)
class People:
    """N people in N images or frames of motion capture; one person of one image is one row. Lengths in metres, angles in radians."""

    image: np.ndarray
    """(N,) str: path relative to the image folder, '' without image."""
    image_size: np.ndarray
    """(N, 2) int32: width, height, pixels; 0 where unknown."""
    turned: np.ndarray
    """(N,) bool: the file's picture lies on its side; all coordinates refer to the image turned 90 degrees clockwise."""
    sequence: np.ndarray
    """(N,) str: rows of one person in one clip share it, '' where rows do not follow each other."""
    frame: np.ndarray
    """(N,) int32: place in the sequence."""
    box: np.ndarray
    """(N, 3) float32: centre x, y and side of the square around the person, pixels."""
    box_known: np.ndarray
    """(N,) bool."""
    K: np.ndarray
    """(N, 3, 3) float32: intrinsics, pixels."""
    K_known: np.ndarray
    """(N,) bool."""
    keypoints_2d: np.ndarray
    """(N, 23, 2) float32, pixels: canonical keypoints, annotated or projected from the truth."""
    confidence_2d: np.ndarray
    """(N, 23) float32 in [0, 1]."""
    detected_2d: np.ndarray
    """(N, 23, 2) float32, pixels: canonical keypoints of a 2D detector: from the data set, or from `detect`."""
    confidence_detected: np.ndarray
    """(N, 23) float32 in [0, 1]."""
    detected_3d: np.ndarray
    """(N, 23, 3) float32: the detector's own 3D, from the hips' centre, as `types.Keypoints.xyz`."""
    detected_3d_known: np.ndarray
    """(N, 23) bool."""
    keypoints_3d: np.ndarray
    """(N, 23, 3) float32: canonical keypoints, from the pelvis."""
    confidence_3d: np.ndarray
    """(N, 23) float32 in [0, 1]."""
    joints_h36m: np.ndarray
    """(N, 17, 3) float32: from the pelvis, in the order `joint_orders.H36M_17`: what the published figures are measured on."""
    joints_h36m_known: np.ndarray
    """(N, 17) bool."""
    joints: np.ndarray
    """(N, 24, 3) float32: SMPL's joints."""
    joints_known: np.ndarray
    """(N, 24) bool."""
    poses: np.ndarray
    """(N, 24, 3) float32: SMPL's local rotations, axis-angle; joint 0 is relative to `axes`."""
    poses_known: np.ndarray
    """(N, 24) bool: motion capture often has no hands or toes."""
    betas: np.ndarray
    """(N, 10) float32, of the body `shape_space` names."""
    betas_known: np.ndarray
    """(N,) bool."""
    shape_space: np.ndarray
    """(N,) str: smpl_neutral, smpl_female, smplh_male, ...; betas mean nothing to another body."""
    gender: np.ndarray
    """(N,) str, one of GENDERS."""
    transl: np.ndarray
    """(N, 3) float32: added to joints and vertices after posing, as in `smplx`."""
    transl_known: np.ndarray
    """(N,) bool."""
    axes: str = "optical"
    """One of AXES."""

    def __len__(self) -> int:
        return len(self.image)

    def __getitem__(self, index):
        """One row as a dictionary of arrays (for an int), or some of the people (for a slice, a mask or an index array)."""
        if isinstance(index, int | np.integer):
            row = {name: getattr(self, name)[index] for name in SHAPES}
            return {n: value if np.ndim(value) == 0 else value.copy() for n, value in row.items()} | {"axes": self.axes}
        count = len(np.arange(len(self))[index])
        arrays = {name: getattr(self, name) for name in SHAPES}
        chosen = {n: _nothing(n, count) if _is_nothing(array) else array[index] for n, array in arrays.items()}
        return People(**chosen, axes=self.axes)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def betas_fit(self, shape_space: str) -> np.ndarray:
        """(N,) bool: whose betas mean something to a body of this shape space."""
        return self.betas_known & (self.shape_space == shape_space)

    def summary(self) -> str:
        """One line: how many people, and for how many of them each kind of data is known."""
        known = {
            "images": self.image != "", "2D keypoints": self.confidence_2d.any(1),
            "detections": self.confidence_detected.any(1), "3D keypoints": self.confidence_3d.any(1),
            "joints": self.joints_known.any(1), "poses": self.poses_known.any(1), "betas": self.betas_known,
            "intrinsics": self.K_known,
        }  # fmt: skip
        counts = ", ".join(f"{name} {count:,}" for name, mask in known.items() if (count := int(mask.sum())))
        return f"{len(self):,} people ({counts or 'nothing is known of them'}), axes {self.axes}"


_FLOAT, _BOOL, _INT, _TEXT = np.float32, np.bool_, np.int32, np.str_
SHAPES = {
    "image": ((), _TEXT), "image_size": ((2,), _INT), "turned": ((), _BOOL), "sequence": ((), _TEXT), "frame": ((), _INT),
    "box": ((3,), _FLOAT), "box_known": ((), _BOOL), "K": ((3, 3), _FLOAT), "K_known": ((), _BOOL),
    "keypoints_2d": ((23, 2), _FLOAT), "confidence_2d": ((23,), _FLOAT),
    "detected_2d": ((23, 2), _FLOAT), "confidence_detected": ((23,), _FLOAT),
    "detected_3d": ((23, 3), _FLOAT), "detected_3d_known": ((23,), _BOOL),
    "keypoints_3d": ((23, 3), _FLOAT), "confidence_3d": ((23,), _FLOAT),
    "joints_h36m": ((17, 3), _FLOAT), "joints_h36m_known": ((17,), _BOOL),
    "joints": ((24, 3), _FLOAT), "joints_known": ((24,), _BOOL),
    "poses": ((24, 3), _FLOAT), "poses_known": ((24,), _BOOL),
    "betas": ((10,), _FLOAT), "betas_known": ((), _BOOL), "shape_space": ((), _TEXT), "gender": ((), _TEXT),
    "transl": ((3,), _FLOAT), "transl_known": ((), _BOOL),
}  # fmt: skip
"""Shape of one row, and type, of every array of `People`."""
assert [*SHAPES, "axes"] == [field.name for field in fields(People)]

MASK_OF = {
    "keypoints_2d": "confidence_2d", "detected_2d": "confidence_detected", "keypoints_3d": "confidence_3d",
    **{name: f"{name}_known" for name in ("box", "K", "detected_3d", "joints_h36m", "joints", "poses", "betas", "transl")},
}  # fmt: skip


def people_of(count: int, axes: str = "optical", **known) -> People:
    """A record of what is known; everything else is masked out.

    known: arrays of `People` by name, of one row for all or of `count` rows. A value without its mask is known everywhere. Where
    a mask is False (a confidence 0) or a value is not finite, the value is zeroed and the mask says so.
    """
    arrays = {name: _rows(name, known[name], count) for name in known}
    for name, mask in MASK_OF.items():
        if name not in arrays:
            continue
        value = arrays[name]
        given = arrays.get(mask, _rows(mask, np.ones(SHAPES[mask][0]), count))
        trailing = tuple(range(given.ndim, value.ndim))
        usable = np.isfinite(value).all(axis=trailing) & np.isfinite(given) & (given > 0)
        arrays[mask] = np.where(usable, given, 0).astype(SHAPES[mask][1])
        arrays[name] = np.where(np.expand_dims(usable, trailing), value, 0)
    return People(**arrays, **{name: _nothing(name, count) for name in SHAPES if name not in arrays}, axes=axes)


def _nothing(name: str, count: int) -> np.ndarray:
    """Zeros that take no memory: most data sets know little, and some have millions of rows."""
    shape, kind = SHAPES[name]
    return np.broadcast_to(np.zeros((), kind), (count, *shape))


def _is_nothing(array: np.ndarray) -> bool:
    return len(array) > 0 and not any(array.strides) and not array.flat[0]


def _rows(name: str, value, count: int) -> np.ndarray:
    shape, kind = SHAPES[name]
    value = np.asarray(value)
    if kind is _TEXT:
        return np.broadcast_to(value.astype(kind), (count,))
    return np.ascontiguousarray(np.broadcast_to(value, (count, *shape)), kind)


def join(parts: Sequence[People]) -> People:
    """All people of several records, in order."""
    axes = {part.axes for part in parts}
    if len(axes) != 1:
        raise DatasetError(f"records with axes {sorted(axes)} cannot be joined.")
    total, joined = sum(map(len, parts)), {}
    for name in SHAPES:
        arrays = [getattr(part, name) for part in parts if len(part)]
        joined[name] = _nothing(name, total) if all(map(_is_nothing, arrays)) else np.concatenate(arrays)
    return People(**joined, axes=axes.pop())


def save(path: Path, people: People) -> None:
    """Write one .npz by atomic rename; arrays of which nothing is known are left out."""
    arrays = {name: getattr(people, name) for name in SHAPES}
    arrays = {name: array for name, array in arrays.items() if name == "image" or not _is_nothing(array)}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays, axes=np.array(people.axes))
    partial.replace(path)


def load(path: Path) -> People:
    """A file that `save` wrote (`python -m training.prepare` makes them)."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        axes = str(arrays.pop("axes"))
        people = people_of(len(arrays["image"]), axes, **arrays)
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(f"{path}: not a file of `python -m training.prepare` ({error}). Make it again.") from error
    if axes not in AXES:
        raise DatasetError(f"{path}: axes is {axes!r}, not one of {AXES}. Make the file again.")
    return people


def check_images(people: People, folder: Path, source: str) -> np.ndarray:
    """(N,) bool: whose image exists. source: file and key that name the images, for the message.

    Raises DatasetError when none exists.
    """
    names, inverse = np.unique(people.image, return_inverse=True)
    there = np.array([bool(name) and (folder / str(name)).is_file() for name in names], bool)[inverse]
    if len(people) and not there.any():
        raise DatasetError(
            f"{source}: not one of its {len(names):,} images is under {folder.absolute()}, the first would be "
            f"{folder / str(people.image[0])}. Name the folder that its paths start from (--images)."
        )
    return there
