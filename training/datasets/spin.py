"""SPIN-format npz (Kolotouros et al., ICCV 2019): H36M, MPI-INF-3DHP, LSP, MPII, COCO, 3DPW; and CLIFF's pseudo ground truth.

Keys (nkolot/SPIN, datasets/base_dataset.py and preprocess/; CLIFF's readme): imgname; center (N, 2) pixels; scale (N,), box side
divided by 200 pixels; part (N, 24, 3), 2D x, y, confidence; S (N, 24, 4), 3D from the pelvis and confidence, metres; pose (N, 72) and
shape (N, 10) with has_smpl (N,); openpose (N, 25, 3); gender. CLIFF adds global_t (N, 3), SMPL's translation in the frame of a camera whose
focal length is focal_l. Only the first three are in every file. All 3D is in the camera's optical frame.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from training.datasets import joint_orders
from training.datasets.fields import Fields, genders_of, open_npz
from training.datasets.people import People, people_of

WHAT = "a SPIN-format npz"
BOX_UNIT_PX = 200
"""`scale` is the box's side in units of this many pixels."""


def read_spin(path: Path) -> People:
    """Every row of a SPIN-format file."""
    file = open_npz(path, WHAT)
    image = file.need("imgname", None, kind="text")
    box = np.column_stack([file.need("center", None, 2), _sides(file)])
    known = {"image": image, "box": box, **_keypoints(file), **_smpl(file)}
    return people_of(len(image), "optical", **known)


def _sides(file: Fields) -> np.ndarray:
    scale = file.need("scale", None)
    return BOX_UNIT_PX * scale


def _keypoints(file: Fields) -> dict[str, np.ndarray]:
    known = {}
    for key, length, name in (("part", 24, "keypoints_2d"), ("openpose", 25, "detected_2d")):
        if key in file:
            order = joint_orders.SPIN_24 if key == "part" else joint_orders.OPENPOSE_25
            points = file.need(key, None, length, 3)
            mask = "confidence_2d" if key == "part" else "confidence_detected"
            known[name], known[mask] = joint_orders.onto_keypoints(
                points[..., :2], order, np.clip(points[..., 2], 0, 1)
            )
    if "S" in file:
        points = file.need("S", None, 24, 4)
        confidence = np.clip(points[..., 3], 0, 1)
        spin = joint_orders.SPIN_24
        known["keypoints_3d"], known["confidence_3d"] = joint_orders.onto_keypoints(points[..., :3], spin, confidence)
        known["joints_h36m"], known["joints_h36m_known"] = joint_orders.onto_h36m(points[..., :3], spin, confidence)
    return known


def _smpl(file: Fields) -> dict[str, np.ndarray]:
    """Fits of SPIN and CLIFF are of the neutral body; where there is a gender (3DPW) they are of that gender's."""
    if "pose" not in file:
        return {}
    pose = file.need("pose", None, 72).reshape(-1, 24, 3)
    has_smpl = file.get("has_smpl", None)
    has_smpl = np.ones(len(pose), bool) if has_smpl is None else has_smpl > 0
    known = {"poses": pose, "poses_known": np.repeat(has_smpl[:, None], 24, axis=1)}
    if "gender" in file:
        known["gender"] = genders_of(file.need("gender", None, kind="text"), file.where, "gender")
        known["shape_space"] = np.char.add("smpl_", known["gender"])
    if "shape" in file:
        known["betas"], known["betas_known"] = file.need("shape", None, 10), has_smpl
        known.setdefault("shape_space", "smpl_neutral")
    if "global_t" in file:
        known["transl"], known["transl_known"] = file.need("global_t", None, 3), has_smpl
    return known
