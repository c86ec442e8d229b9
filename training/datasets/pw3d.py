"""3DPW's own pickles (von Marcard et al., ECCV 2018): sequenceFiles/{train,validation,test}/NAME.pkl, images in imageFiles/NAME/.

Keys (its readme.txt), P people, F image frames: sequence; poses, P times (F, 72), and trans, P times (F, 3), SMPL in the world;
betas, P times at least 10; genders, P times m or f; jointPositions, P times (F, 72), SMPL's joints in the world, metres; poses2d, P
times (F, 3, 18), OpenPose's x, y, confidence; cam_poses (F, 4, 4), world to camera; cam_intrinsics (3, 3); campose_valid, P times
(F,). Everything is turned into the camera's optical frame here. The pelvis, about which SMPL turns the body, is taken from jointPositions.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hmr_ros.crop import keypoint_box
from training.datasets import joint_orders
from training.datasets.axes import turn_root
from training.datasets.fields import Fields, gender_of
from training.datasets.people import DatasetError, People, join, people_of
from training.datasets.pickled import open_pickle

WHAT = "a 3DPW sequence"
SPLITS = ("train", "validation", "test")
MIN_BOX_KEYPOINTS = 2
"""Fewer span no box."""


def sequence_files(root: Path, split: str) -> list[Path]:
    """The pickles of a split, below the folder that holds sequenceFiles/ and imageFiles/."""
    folder = root / "sequenceFiles" / split
    files = sorted(folder.glob("*.pkl"))
    if split not in SPLITS or not files:
        raise DatasetError(
            f"No .pkl in {folder.absolute()}: --root is the folder with sequenceFiles/, --split one of {SPLITS}."
        )
    return files


def read_pw3d(path: Path) -> People:
    """All people of one sequence in the frames whose camera is aligned to them (campose_valid)."""
    file = open_pickle(path, WHAT)
    file.need("cam_poses", None, 4, 4)
    actors = _per_person(file, "poses")
    return join([_person(file, number) for number in range(len(actors))])


def _per_person(file: Fields, key: str) -> list:
    """The list under `key`, one entry per person."""
    values = file.value(key)
    if not isinstance(values, list | np.ndarray) or not len(values):
        raise DatasetError(f"{file.where}: {key} is no list with one entry per person, so this is not {WHAT}.")
    return list(values)


def _person(file: Fields, number: int) -> People:
    cam = file.need("cam_poses", None, 4, 4)
    one = Fields(
        f"{file.where}, person {number}", {key: _entry(file, key, number) for key in _KEYS if key in file}, WHAT
    )
    frames = len(cam)
    pose = one.need("poses", frames, 72).reshape(-1, 24, 3)
    joints = one.need("jointPositions", frames, 72).reshape(-1, 24, 3)
    turn, shift = cam[:, :3, :3], cam[:, :3, 3]
    joints_cam = np.einsum("nij,nkj->nki", turn, joints) + shift[:, None]
    # `transl` is the posed pelvis minus that of the shaped rest pose, which follows from `trans` in the world.
    rest_pelvis = joints[:, 0] - one.need("trans", frames, 3)
    gender = gender_of(one.value("genders"), file.where, "genders")
    name = str(file.value("sequence"))
    K = file.need("cam_intrinsics", 3, 3)
    people = people_of(
        frames, "optical",
        image=np.array([f"imageFiles/{name}/image_{i:05d}.jpg" for i in range(frames)]),
        sequence=f"{name}/{number}", frame=np.arange(frames),
        K=K, joints=joints_cam, poses=turn_root(pose, turn), transl=joints_cam[:, 0] - rest_pelvis,
        betas=one.value("betas").reshape(-1)[:10], shape_space=f"smpl_{gender}", gender=gender,
        **_projected(joints_cam, K), **_detected(one, frames),
    )  # fmt: skip
    return people[one.need("campose_valid", frames) > 0]


_KEYS = ("poses", "trans", "betas", "genders", "jointPositions", "poses2d", "campose_valid")


def _entry(file: Fields, key: str, number: int):
    values = _per_person(file, key)
    if number >= len(values):
        raise DatasetError(f"{file.where}: {key} has {len(values)} people, poses has more.")
    return values[number]


def _projected(joints: np.ndarray, K: np.ndarray) -> dict[str, np.ndarray]:
    """True 2D of the keypoints that are joints of SMPL."""
    uv = joints @ K.T
    in_front = uv[..., 2] > 0.1
    uv = uv[..., :2] / np.maximum(uv[..., 2:], 0.1)
    points, known = joint_orders.smpl_onto_keypoints(uv, joint_orders.SMPL_24, in_front.astype(np.float32))
    return {"keypoints_2d": points, "confidence_2d": known}


def _detected(one: Fields, frames: int) -> dict[str, np.ndarray]:
    """OpenPose's keypoints and the square box around them, as SPIN's preprocessing makes it."""
    if "poses2d" not in one:
        return {}
    seen = np.swapaxes(one.need("poses2d", frames, 3, 18), 1, 2)
    center, side = keypoint_box(seen[..., :2], seen[..., 2])
    points, confidence = joint_orders.onto_keypoints(
        seen[..., :2], joint_orders.OPENPOSE_18, np.clip(seen[..., 2], 0, 1)
    )
    usable = (seen[..., 2] > 0).sum(1) >= MIN_BOX_KEYPOINTS
    box = np.column_stack([center, side])
    return {"detected_2d": points, "confidence_detected": confidence, "box": box, "box_known": usable}
