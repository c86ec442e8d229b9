"""BVH files (Biovision): a skeleton of offsets and channels, and a line of channel values per frame.

Parsed here because the reader that our tests compare with (bvhio) waits forever for the rest of a file that was cut off.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.datasets.motion import Motion, euler_to_rotmat
from training.datasets.people import DatasetError

WHAT = "a BVH file"


def read_bvh(path: Path) -> Motion:
    """The skeleton and all frames. Rotations are multiplied in the order of the channels; lengths stay in the file's unit.

    Position channels of joints below the root, which some programs write, repeat the offsets and are not used.
    """
    if not path.is_file():
        raise DatasetError(f"No file at {path.absolute()}, where {WHAT} was expected.")
    header, mark, motion = path.read_text(encoding="latin1").partition("MOTION")
    if not mark or "HIERARCHY" not in header:
        raise DatasetError(f"{path}: no HIERARCHY or no MOTION, so this is not {WHAT}, or it was cut off.")
    names, parents, offsets, channels = _hierarchy(path, header)
    values, fps = _frames(path, motion, sum(map(len, channels)))
    rotmat = np.broadcast_to(np.eye(3), (len(values), len(names), 3, 3)).copy()
    root = np.broadcast_to(offsets[0], (len(values), 3)).copy()
    first = 0
    for joint, own in enumerate(channels):
        columns = values[:, first : first + len(own)]
        first += len(own)
        turns = [i for i, channel in enumerate(own) if channel.endswith("rotation")]
        axes = "".join(own[i][0] for i in turns)
        rotmat[:, joint] = euler_to_rotmat(np.radians(columns[:, turns]), axes)
        if joint == 0:
            for i, channel in enumerate(own):
                if channel.endswith("position"):
                    root[:, "xyz".index(channel[0])] = columns[:, i]
    return Motion(tuple(names), tuple(parents), np.array(offsets), rotmat, root, fps)


def _hierarchy(path: Path, text: str):
    """Names, parents, offsets (3,) and channels of every joint, in the order of the motion's columns; end sites are joints too."""
    tokens = iter(text.split())
    names, parents, offsets, channels, open_joints = [], [], [], [], []
    try:
        for token in tokens:
            if token in ("ROOT", "JOINT", "End"):
                name = next(tokens)
                names.append(f"{names[open_joints[-1]]}_end" if token == "End" else name)
                parents.append(open_joints[-1] if open_joints else -1)
                offsets.append(np.zeros(3))
                channels.append([])
            elif token == "{":
                open_joints.append(len(names) - 1)
            elif token == "}":
                open_joints.pop()
            elif token == "OFFSET":
                offsets[-1] = np.array([float(next(tokens)) for _ in range(3)])
            elif token == "CHANNELS":
                channels[-1] = [next(tokens).lower() for _ in range(int(next(tokens)))]
            elif token != "HIERARCHY":
                raise ValueError(f"{token!r} was not expected")
        known = {f"{axis}{kind}" for axis in "xyz" for kind in ("position", "rotation")}
        if unknown := {channel for own in channels for channel in own} - known:
            raise ValueError(f"channels {sorted(unknown)} are not known")
        if open_joints or not names or parents.count(-1) != 1:
            raise ValueError("its brackets do not close around one root")
    except (ValueError, IndexError, StopIteration) as error:
        raise DatasetError(f"{path}: HIERARCHY cannot be read ({error or 'it was cut off'}).") from error
    return names, parents, offsets, channels


def _frames(path: Path, text: str, columns: int) -> tuple[np.ndarray, float]:
    """Channel values (T, columns) and frames per second."""
    try:
        head, _, rest = text.partition("Frame Time:")
        frames = int(head.split("Frames:")[1])
        period, *values = rest.split()
        table = np.array(values, np.float64)
        fps = 1 / float(period)
    except (ValueError, IndexError, ZeroDivisionError) as error:
        raise DatasetError(f"{path}: MOTION cannot be read ({error}).") from error
    if table.size != frames * columns or not frames:
        raise DatasetError(
            f"{path}: {table.size:,} values after MOTION, {frames} frames of {columns} channels have {frames * columns:,}. "
            "Was the file cut off?"
        )
    if not np.isfinite(table).all() or not np.isfinite(fps):
        raise DatasetError(f"{path}: MOTION holds NaN or infinite values.")
    return table.reshape(frames, columns), fps
