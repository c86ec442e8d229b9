"""EFT's pseudo ground truth (Joo et al., 3DV 2021): SMPL fits for COCO, MPII, LSPet, OCHuman and PoseTrack, as JSON.

{"ver": ..., "data": [{parm_pose (24, 3, 3) rotations, parm_shape (10,), parm_cam (3,), bbox_scale, bbox_center (2,), imageName,
annotId (COCO), smpltype, joint_validity_openpose18}]} (facebookresearch/eft, docs/README_dataformat.md). imageName is the file's
name without a folder. There are no 2D keypoints in it: they are in the data set that the fits are of.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from hmr_ros.rotation import rotmat_to_rotvec
from training.datasets.people import DatasetError, People, people_of
from training.datasets.spin import BOX_UNIT_PX

WHAT = "an EFT json"


def read_eft(path: Path) -> People:
    """Every fit of the file."""
    if not path.is_file():
        raise DatasetError(f"No file at {path.absolute()}, where {WHAT} was expected.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise DatasetError(f"{path}: not readable as JSON ({error}). Is the download complete?") from error
    entries = content.get("data") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise DatasetError(f"{path}: no list under 'data', so this is not {WHAT}.")
    rotmat = _column(path, entries, "parm_pose", (24, 3, 3))
    turned = np.abs(rotmat @ np.swapaxes(rotmat, -1, -2) - np.eye(3)).max(axis=(1, 2, 3))
    if (turned > 0.05).any():
        raise DatasetError(f"{path}: data[{int(turned.argmax())}].parm_pose holds matrices that are no rotations.")
    if others := {str(entry.get("smpltype", "smpl")) for entry in entries} - {"smpl"}:
        raise DatasetError(f"{path}: smpltype is {sorted(others)}; only fits of SMPL are read.")
    center, scale = _column(path, entries, "bbox_center", (2,)), _column(path, entries, "bbox_scale", ())
    return people_of(
        len(entries), "optical",
        image=np.array([_name(path, row, entry) for row, entry in enumerate(entries)]),
        box=np.column_stack([center, BOX_UNIT_PX * scale]),
        poses=rotmat_to_rotvec(rotmat),
        betas=_column(path, entries, "parm_shape", (10,)),
        shape_space="smpl_neutral",
    )  # fmt: skip


def _column(path: Path, entries: list, key: str, shape: tuple[int, ...]) -> np.ndarray:
    """(N, *shape) float64: the numbers under one key of every entry."""
    rows = []
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or key not in entry:
            raise DatasetError(f"{path}: data[{number}] has no {key}, so this is not {WHAT}.")
        try:
            row = np.asarray(entry[key], np.float64)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path}: data[{number}].{key} holds no numbers ({error}).") from error
        if row.size != int(np.prod(shape)):
            raise DatasetError(f"{path}: data[{number}].{key} has shape {row.shape}, {WHAT} has {shape}.")
        rows.append(row.reshape(shape))
    return np.array(rows)


def _name(path: Path, number: int, entry: dict) -> str:
    name = entry.get("imageName")
    if not isinstance(name, str) or not name:
        raise DatasetError(f"{path}: data[{number}].imageName is {name!r}, not the name of an image.")
    return name
