"""EMDB (Kaufmann et al., ICCV 2023): P*/SEQUENCE/P*_SEQUENCE_data.pkl, images in images/ beside it.

Keys (eth-ait/emdb, dataset.md), F frames: gender; name; emdb1 and emdb2, which of its evaluations it belongs to; n_frames;
good_frames_mask (F,); camera: intrinsics (3, 3), extrinsics (F, 4, 4) world to camera, width, height; smpl: poses_root (F, 3),
poses_body (F, 69), trans (F, 3), betas (10,), in the world; kp2d (F, 24, 2), SMPL's joints projected; bboxes: bboxes (F, 4) x_min,
y_min, x_max, y_max, invalid_idxs. SMPL's translation in the camera's frame depends on where the shaped body has its pelvis, which
the file does not say: it stays unknown. Evaluation aligns pelvises and does not need it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.crop import BOX_MARGIN
from training.datasets import joint_orders
from training.datasets.axes import turn_root
from training.datasets.fields import Fields, gender_of
from training.datasets.people import DatasetError, People, people_of
from training.datasets.pickled import open_pickle

WHAT = "an EMDB sequence"
SPLITS = ("emdb1", "emdb2", "all")


def sequence_files(root: Path, split: str = "all") -> list[Path]:
    """The pickles below the folder that holds P0 to P9; which split they belong to is in the files (`read_emdb`)."""
    files = sorted(root.glob("P*/*/*_data.pkl"))
    if not files or split not in SPLITS:
        raise DatasetError(
            f"No P*/*/*_data.pkl below {root.absolute()}: --root is the folder with P0 to P9, --split one of {SPLITS}."
        )
    return files


def read_emdb(path: Path, split: str = "all") -> People:
    """The good frames of one sequence; no people if it does not belong to `split`."""
    file = open_pickle(path, WHAT)
    good = file.need("good_frames_mask", None) > 0
    frames = len(good)
    camera, smpl = file.part("camera", WHAT), file.part("smpl", WHAT)
    pose = np.concatenate([smpl.need("poses_root", frames, 3), smpl.need("poses_body", frames, 69)], axis=1)
    turn = camera.need("extrinsics", frames, 4, 4)[:, :3, :3]
    gender = gender_of(file.value("gender"), path, "gender")
    folder = path.parent
    joints_2d = file.need("kp2d", frames, 24, 2)
    points, known = joint_orders.smpl_onto_keypoints(joints_2d, joint_orders.SMPL_24)
    people = people_of(
        frames, "optical",
        image=np.array([f"{folder.parent.name}/{folder.name}/images/{i:05d}.jpg" for i in range(frames)]),
        image_size=[int(camera.need(side)) for side in ("width", "height")],
        sequence=str(file.value("name")), frame=np.arange(frames),
        K=camera.need("intrinsics", 3, 3), poses=turn_root(pose.reshape(-1, 24, 3), turn),
        betas=smpl.need("betas", 10), shape_space=f"smpl_{gender}", gender=gender,
        keypoints_2d=points, confidence_2d=known, **_boxes(file, frames),
    )  # fmt: skip
    belongs = split == "all" or bool(file.value(split))
    return people[good & belongs]


def _boxes(file: Fields, frames: int) -> dict[str, np.ndarray]:
    """Square boxes with our margin around EMDB's, which span the projected body."""
    boxes = file.part("bboxes", WHAT)
    corners = boxes.need("bboxes", frames, 4)
    low, high = corners[:, :2], corners[:, 2:]
    valid = (high > low).all(axis=1)
    valid[boxes.need("invalid_idxs", None).astype(int)] = False
    side = BOX_MARGIN * (high - low).max(axis=1)
    return {"box": np.column_stack([(low + high) / 2, side]), "box_known": valid}
