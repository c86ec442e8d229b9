"""Acclaim's ASF (skeleton) and AMC (motion), the format of the CMU motion capture database (mocap.cs.cmu.edu).

A bone of an ASF has a direction and a length in the rest pose, and axes C (Euler angles) in which its rotations M are given; its
turn relative to its parent is then C M C^-1, with the identity at rest (research.cs.wisc.edu/graphics/Courses/cs-838-1999/Jeff/
ASF-AMC.html). A bone starts where its parent ends: here it becomes a joint at its start, named after it, and a bone without children
a further joint at its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.datasets.motion import Motion, euler_to_rotmat
from training.datasets.people import DatasetError

CMU_FPS = 120.0
"""AMC files do not state their frame rate; CMU captured at 120 Hz (a few early trials at 60)."""


@dataclass(frozen=True)
class Bone:
    offset: np.ndarray
    """(3,): from its start to its end in the rest pose."""
    axes: np.ndarray
    """(3, 3): C, the axes of its rotations."""
    dof: tuple[str, ...]
    """Which channels it has, in the order of the AMC: rx, ry, rz, for the root tx, ty, tz too."""


@dataclass(frozen=True)
class Skeleton:
    bones: dict[str, Bone]
    """`root` among them, first."""
    parents: dict[str, str]
    degrees: bool


def read_amc(path: Path, skeleton: Path | None = None, fps: float = CMU_FPS) -> Motion:
    """One trial. skeleton: its .asf; None looks for the subject's beside it (01_02.amc: 01.asf), or the only one there."""
    if not path.is_file():
        raise DatasetError(f"No file at {path.absolute()}, where an AMC file was expected.")
    body = read_asf(skeleton or _skeleton_of(path))
    order = _parents_first(body)
    frames = list(_frames(path, body))
    if not frames:
        raise DatasetError(f"{path}: not a single frame, so this is not an AMC file, or it was cut off.")
    names, parents, offsets, rotmat = [], [], [], []
    for name in order:
        bone, parent = body.bones[name], body.parents.get(name)
        parents.append(names.index(parent) if parent else -1)
        names.append(name)
        offsets.append(body.bones[parent].offset if parent else np.zeros(3))
        turns = [i for i, channel in enumerate(bone.dof) if channel.startswith("r")]
        angles = np.array([[frame[name][i] for i in turns] for frame in frames]).reshape(len(frames), -1)
        angles = np.radians(angles) if body.degrees else angles
        # The first channel turns first, so its matrix stands rightmost.
        moved = euler_to_rotmat(angles[:, ::-1], "".join(bone.dof[i][1] for i in reversed(turns)))
        rotmat.append(bone.axes @ moved @ bone.axes.T)
    for name in order:
        if name not in body.parents.values():
            parents.append(names.index(name))
            names.append(f"{name}_end")
            offsets.append(body.bones[name].offset)
            rotmat.append(np.broadcast_to(np.eye(3), (len(frames), 3, 3)))
    root_dof = body.bones["root"].dof
    position = [root_dof.index(channel) for channel in ("tx", "ty", "tz")]
    root = np.array([[frame["root"][i] for i in position] for frame in frames])
    return Motion(tuple(names), tuple(parents), np.array(offsets), np.stack(rotmat, axis=1), root, fps)


def read_asf(path: Path) -> Skeleton:
    if not path.is_file():
        raise DatasetError(f"No file at {path.absolute()}, where an ASF skeleton was expected.")
    sections = _sections(path.read_text(encoding="latin1"))
    try:
        units = {line[0].lower(): line[1] for line in sections["units"] if len(line) > 1}
        degrees = units.get("angle", "deg").lower().startswith("deg")
        root = {line[0].lower(): line[1:] for line in sections["root"] if line}
        bones = {"root": _bone(np.zeros(3), root["orientation"], root["axis"][0], root["order"], degrees)}
        for entry in _entries(sections["bonedata"]):
            offset = float(entry["length"][0]) * np.array(entry["direction"][:3], float)
            *angles, order = entry["axis"]
            bones[entry["name"][0]] = _bone(offset, angles, order, entry.get("dof", []), degrees)
        parents = {
            child: line[0] for line in sections["hierarchy"] if line[0] not in ("begin", "end") for child in line[1:]
        }
        if unknown := ({*parents} | {*parents.values()}) - {*bones}:
            raise ValueError(f"bones {sorted(unknown)} are in its hierarchy and not in its bone data")
    except (KeyError, IndexError, ValueError) as error:
        raise DatasetError(f"{path}: not a readable ASF skeleton ({type(error).__name__}: {error}).") from error
    return Skeleton(bones, parents, degrees)


def _skeleton_of(amc: Path) -> Path:
    subject = amc.with_name(f"{amc.stem.split('_')[0]}.asf")
    beside = sorted(amc.parent.glob("*.asf"))
    if not subject.is_file() and len(beside) != 1:
        raise DatasetError(
            f"{amc}: no {subject.name} beside it, and {len(beside)} other .asf files: put its skeleton there."
        )
    return subject if subject.is_file() else beside[0]


def _sections(text: str) -> dict[str, list[list[str]]]:
    """The words of every line below each :keyword."""
    sections: dict[str, list[list[str]]] = {}
    lines: list[list[str]] = []
    for line in text.splitlines():
        words = line.split("#")[0].replace("(", " ").replace(")", " ").split()
        if words and words[0].startswith(":"):
            lines = sections.setdefault(words[0][1:].lower(), [])
        elif words:
            lines.append(words)
    return sections


def _entries(lines: list[list[str]]) -> Iterator[dict[str, list[str]]]:
    """The keywords of every begin ... end."""
    entry: dict[str, list[str]] = {}
    for word, *rest in lines:
        if word == "begin":
            entry = {}
        elif word == "end":
            yield entry
        else:
            entry.setdefault(word, rest)


def _bone(offset: np.ndarray, angles: list[str], order: str, dof: list[str], degrees: bool) -> Bone:
    turn = np.array(angles, float)
    turn = np.radians(turn) if degrees else turn
    axes = euler_to_rotmat(turn[::-1], order.lower()[::-1])
    return Bone(offset, axes, tuple(channel.lower() for channel in dof))


def _parents_first(body: Skeleton) -> list[str]:
    order = ["root"]
    for name in order:
        order.extend(child for child, parent in body.parents.items() if parent == name)
    return order


def _frames(path: Path, body: Skeleton) -> Iterator[dict[str, list[float]]]:
    """Channel values by bone, per frame; bones without channels have none."""
    frame: dict[str, list[float]] | None = None
    with path.open(encoding="latin1") as file:
        for number, line in enumerate(file, 1):
            words = line.split()
            if not words or words[0][0] in "#:":
                continue
            if len(words) == 1 and words[0].isdigit():
                if frame is not None:
                    yield _whole(path, number, frame, body)
                frame = {}
                continue
            try:
                bone, values = words[0], [float(word) for word in words[1:]]
                if frame is None or len(values) != len(body.bones[bone].dof):
                    raise ValueError(f"{len(values)} values for {bone}")
            except (KeyError, ValueError) as error:
                raise DatasetError(
                    f"{path}, line {number}: does not fit the skeleton ({error}). Is it this subject's?"
                ) from error
            frame[bone] = values
        if frame is not None:
            yield _whole(path, number, frame, body)


def _whole(path: Path, number: int, frame: dict[str, list[float]], body: Skeleton) -> dict[str, list[float]]:
    missing = [name for name, bone in body.bones.items() if bone.dof and name not in frame]
    if missing:
        raise DatasetError(f"{path}, line {number}: a frame without {', '.join(missing)}. Was the file cut off?")
    return {name: frame.get(name, []) for name in body.bones}
