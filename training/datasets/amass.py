"""AMASS npz (Mahmood et al., ICCV 2019), and BEDLAM's animations, which use the same keys.

SMPL+H files: poses (T, 156), trans (T, 3), betas (16,), gender, mocap_framerate. SMPL-X files: poses (T, 165), mocap_frame_rate,
surface_model_type. BEDLAM's motion_seq.npz: gender_sub and motion_info, no rate (30 Hz). Axis-angle; joints up to the wrists are SMPL's,
then come fingers, so SMPL's hands stay unknown. The world of AMASS has z up, BEDLAM's y. Subjects' shape.npz have no motion.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.datasets.axes import R_y_up_z_up, turn_root
from training.datasets.bedlam import body_poses
from training.datasets.fields import Fields, gender_of, open_npz
from training.datasets.people import DatasetError, People, people_of

WHAT = "an AMASS npz"
MODELS = {156: "smplh", 165: "smplx", 72: "smpl"}
BEDLAM_FPS = 30.0


def read_amass(path: Path, fps: float = 30.0) -> People:
    """One motion at about `fps`, by leaving frames out."""
    file = open_npz(path, WHAT)
    poses = file.need("poses", None, None)
    if poses.shape[1] not in MODELS:
        raise DatasetError(f"{path}: poses has shape {poses.shape}, {WHAT} has (T, 156) or (T, 165).")
    step = max(1, round(_rate(file) / fps))
    local, known = body_poses(poses[::step])
    model = MODELS[poses.shape[1]]
    gender = gender_of(file.value("gender"), path, "gender")
    # Thousands of subjects have betas of bodies that are not SMPL; `shape_space` keeps them apart.
    betas = {"betas": _first_ten(file), "shape_space": f"{model}_{gender}"} if "betas" in file else {}
    return people_of(
        len(local), "y_up",
        poses=local if _is_bedlam(file) else turn_root(local, R_y_up_z_up), poses_known=known,
        sequence=f"{path.parent.name}/{path.stem}", frame=np.arange(0, len(poses), step), gender=gender, **betas,
    )  # fmt: skip


def _is_bedlam(file: Fields) -> bool:
    return "motion_info" in file


def _rate(file: Fields) -> float:
    key = "mocap_frame_rate" if "mocap_frame_rate" in file else "mocap_framerate"
    if _is_bedlam(file) and key not in file:
        return BEDLAM_FPS
    rate = float(file.need(key))
    if not 1 <= rate <= 1000:
        raise DatasetError(f"{file.where}: {key} is {rate}, which is not a frame rate from 1 to 1000.")
    return rate


def _first_ten(file: Fields) -> np.ndarray:
    betas = np.atleast_2d(np.asarray(file.value("betas"), np.float64))[0]
    if len(betas) < 10:
        raise DatasetError(f"{file.where}: betas has {len(betas)} numbers, {WHAT} has at least 10.")
    return betas[:10]
