"""How published figures on each benchmark are measured: which joints, how aligned with the truth, in which frames.

    h36m-14   regressed from the mesh with J_regressor_h36m.npy, LSP's 14 of its 17; truth likewise, or captured (Human3.6M)
    h36m-17   all 17
    smpl-24   SMPL's joints

The regressor (17 x 6890, `data/J_regressor_h36m.npy` of SPIN's fetch_data.sh) and SMPL's female, male and neutral bodies are under
licences that forbid us to redistribute them: they are read from the user's own files. They fit meshes of SMPL's own topology, so a
bundle for the open body cannot be measured by them; `3dpw-joints` measures any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hmr_ros.body_model import BodyModel
from hmr_ros.metrics import pa_mpjpe, procrustes_align, pve
from hmr_ros.rotation import rotvec_to_rotmat
from hmr_ros.smpl_file import load_body
from training.datasets import joint_orders
from training.datasets.people import DatasetError, People

PCK_MM = 150.0
"""Mehta et al. 2017: a joint is correct within this distance; the AUC is over 0 to this in steps of 5."""
PCK_JOINTS = list(joint_orders.H36M_14)
"""Of h36m-17: all but pelvis, which is always right, spine and head, as in their mpii_get_pck_auc_joint_groups.m."""


@dataclass(frozen=True)
class Protocol:
    """One benchmark."""

    title: str
    data: str
    """Set and split of `training.prepare`."""
    frames: str
    """Which of its frames count; the prepared file holds no others."""
    joints: Literal["h36m-14", "h36m-17", "smpl-24"]
    root: Literal["h36m-pelvis", "pelvis", "mid-hip"]
    """The point that is aligned before MPJPE and PVE; PA-MPJPE needs none."""
    truth: Literal["bodies", "joints_h36m", "joints"]
    """From SMPL parameters with the body of that gender, or captured joints."""
    reports: tuple[str, ...]
    source: str
    """Whose evaluation it follows."""

    @property
    def needs_regressor(self) -> bool:
        return self.joints.startswith("h36m")

    @property
    def joint_names(self) -> tuple[str, ...]:
        if self.joints == "h36m-14":
            return tuple(joint_orders.H36M_17[joint] for joint in joint_orders.H36M_14)
        return joint_orders.H36M_17 if self.joints == "h36m-17" else joint_orders.SMPL_24


PROTOCOLS = {
    "3dpw-test": Protocol(
        "3DPW test", "3dpw, test", "camera aligned to the person (campose_valid)", "h36m-14", "h36m-pelvis", "bodies",
        ("mpjpe", "pa_mpjpe", "pve"), "nkolot/SPIN, eval.py",
    ),
    "h36m-p2": Protocol(
        "Human3.6M protocol 2", "h36m, p2", "S9 and S11, camera 60457274, every fifth frame", "h36m-14", "h36m-pelvis",
        "joints_h36m", ("mpjpe", "pa_mpjpe"), "nkolot/SPIN, eval.py and datasets/preprocess/h36m.py",
    ),
    "3dhp-test": Protocol(
        "MPI-INF-3DHP test", "3dhp, test", "valid_frame, all joints inside the image", "h36m-17", "h36m-pelvis", "joints_h36m",
        ("mpjpe", "pa_mpjpe", "pck", "auc", "pa_pck", "pa_auc"),
        "nkolot/SPIN, eval.py and datasets/preprocess/mpi_inf_3dhp.py; Mehta et al., 3DV 2017",
    ),
    "emdb-1": Protocol(
        "EMDB 1", "emdb, emdb1", "good_frames_mask of sequences with emdb1", "smpl-24", "mid-hip", "bodies",
        ("mpjpe", "pa_mpjpe", "pve"), "eth-ait/emdb, evaluation_metrics.py",
    ),
    "3dpw-joints": Protocol(
        "3DPW test, SMPL's joints (ours: comparable among our own figures only)", "3dpw, test",
        "camera aligned to the person (campose_valid)", "smpl-24", "pelvis", "joints", ("mpjpe", "pa_mpjpe"), "this project",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Points:
    """N bodies as a protocol looks at them, metres, any axes, not yet aligned."""

    joints: np.ndarray
    """(N, J, 3), in the protocol's order."""
    root: np.ndarray
    """(N, 3)."""
    vertices: np.ndarray | None = None
    """(N, 6890, 3), where meshes can be compared."""

    def without_mesh(self) -> Points:
        return Points(self.joints, self.root)

    @property
    def rooted(self) -> np.ndarray:
        """(N, J, 3): joints from the root."""
        return self.joints - self.root[:, None]

    @staticmethod
    def join(parts: Sequence[Points]) -> Points:
        """All of them, without meshes."""
        return Points(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("joints", "root")))


class Ruler:
    """Points of predictions and of truths for one protocol."""

    def __init__(self, protocol: Protocol, regressor: Path | None = None, smpl: Path | None = None):
        """regressor: J_regressor_h36m.npy; smpl: folder with SMPL_FEMALE, SMPL_MALE and SMPL_NEUTRAL, .pkl or .npz."""
        self.protocol = protocol
        self.regressor = load_regressor(regressor) if protocol.needs_regressor else None
        self._bodies = GenderedBodies(smpl)

    def of_body(self, body: BodyModel, rotmat: np.ndarray, betas: np.ndarray) -> Points:
        """rotmat: (N, 24, 3, 3); betas: (N, 10), of `body`. Where it stands does not matter to any protocol."""
        joints = body.joints(rotmat, betas)[0]
        if self.regressor is None and "pve" not in self.protocol.reports:
            return Points(joints, _root(joints, self.protocol.root))
        if not body.shape_space.startswith("smpl"):
            raise DatasetError(
                f"{self.protocol.title} is measured on SMPL's own mesh, and body {body.shape_space!r} has another: use a bundle "
                "trained for SMPL and --body SMPL_NEUTRAL.pkl, or --data 3dpw-joints."
            )
        vertices = body.vertices(rotmat, betas)
        if self.regressor is None:
            return Points(joints, _root(joints, self.protocol.root), vertices)
        regressed = self.regressor @ vertices
        return Points(self._chosen(regressed), regressed[:, joint_orders.H36M_PELVIS], vertices)

    def of_truth(self, people: People) -> Points:
        """Of people who are `measurable`, in their order."""
        if self.protocol.truth == "joints_h36m":
            pelvis = people.joints_h36m[:, joint_orders.H36M_PELVIS]
            return Points(self._chosen(people.joints_h36m), pelvis)
        if self.protocol.truth == "joints":
            return Points(people.joints, _root(people.joints, self.protocol.root))
        parts, order = [], []
        for gender in sorted(set(people.gender)):
            rows = np.flatnonzero(people.gender == gender)
            part = people[rows]
            parts.append(self.of_body(self._bodies[gender], rotvec_to_rotmat(part.poses), part.betas))
            order.append(rows)
        back = np.argsort(np.concatenate(order))
        return Points(
            *(np.concatenate([getattr(part, name) for part in parts])[back] for name in ("joints", "root", "vertices"))
        )

    def measurable(self, people: People) -> np.ndarray:
        """(N,) bool: whose truth is complete."""
        if self.protocol.truth == "bodies":
            return people.poses_known.all(axis=1) & people.betas_known & (people.gender != "")
        if self.protocol.truth == "joints":
            return people.joints_known.all(axis=1)
        return (
            self._chosen(people.joints_h36m_known).all(axis=1) & people.joints_h36m_known[:, joint_orders.H36M_PELVIS]
        )

    def _chosen(self, joints: np.ndarray) -> np.ndarray:
        return joints[:, list(joint_orders.H36M_14)] if self.protocol.joints == "h36m-14" else joints


def _root(joints: np.ndarray, root: str) -> np.ndarray:
    """(N, 24, 3) to (N, 3)."""
    return joints[:, 1:3].mean(axis=1) if root == "mid-hip" else joints[:, 0]


def errors(protocol: Protocol, found: Points, true: Points, pve_unaligned: bool = False) -> dict[str, np.ndarray]:
    """(N,) each, mm, what the protocol reports and "joints" (N, J); pck and auc are shares in percent.

    pve_unaligned: also "pve_unaligned", of vertices where SMPL puts them before `transl`, as some publish it.
    """
    joints, truth = found.rooted, true.rooted
    distance = 1000 * np.linalg.norm(joints - truth, axis=-1)
    out = {"mpjpe": distance.mean(axis=-1), "pa_mpjpe": pa_mpjpe(joints, truth)}
    if "pve" in protocol.reports:
        out["pve"] = pve(found.vertices, true.vertices, found.root, true.root)
        if pve_unaligned:
            out["pve_unaligned"] = pve(found.vertices, true.vertices)
    if "pck" in protocol.reports:
        aligned = 1000 * np.linalg.norm(procrustes_align(joints, truth) - truth, axis=-1)
        for prefix, distances in (("", distance), ("pa_", aligned)):
            out[f"{prefix}pck"], out[f"{prefix}auc"] = _pck(distances[:, PCK_JOINTS])
    return out | {"joints": distance}


def _pck(distance_mm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Share of joints within PCK_MM, and its mean over thresholds up to there, percent. (N, J) to (N,), (N,)."""
    thresholds = np.arange(0, PCK_MM + 1, 5)
    within = [100 * (distance_mm < threshold).mean(axis=-1) for threshold in thresholds]
    return within[-1], np.mean(within, axis=0)


def acceleration_error(found: Points, true: Points, people: People) -> float | None:
    """Mean over joints and frames of the difference in acceleration, mm/frame^2 (Kanazawa et al., CVPR 2019), where three frames of
    a sequence follow each other; None where none do."""
    middle = np.flatnonzero(
        (people.sequence[2:] != "")
        & (people.sequence[:-2] == people.sequence[2:])
        & (people.frame[2:] - people.frame[:-2] == 2)
        & (people.frame[1:-1] - people.frame[:-2] == 1)
    )
    if not len(middle):
        return None
    moved = found.rooted - true.rooted
    second = moved[middle] - 2 * moved[middle + 1] + moved[middle + 2]
    return float(1000 * np.linalg.norm(second, axis=-1).mean())


# --- The user's own files --------------------------------------------------------------------------------------------------


def load_regressor(path: Path | None) -> np.ndarray:
    """(17, 6890) float32, rows as `joint_orders.H36M_17`."""
    where = "it is data/J_regressor_h36m.npy of SPIN's fetch_data.sh (github.com/nkolot/SPIN)"
    if path is None or not path.is_file():
        raise DatasetError(f"no joint regressor at {path}: name yours with --h36m-regressor; {where}.")
    try:
        regressor = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DatasetError(f"{path}: not a readable .npy ({error}); {where}.") from error
    if regressor.shape != (17, 6890) or not np.allclose(regressor.sum(axis=1), 1, atol=1e-2):
        raise DatasetError(
            f"{path}: has shape {regressor.shape}; a regressor of (17, 6890) whose rows sum to 1 is needed; {where}."
        )
    return regressor.astype(np.float32)


class GenderedBodies(Mapping):
    """SMPL's bodies by gender, each loaded when it is first asked for."""

    GENDERS = ("female", "male", "neutral")

    def __init__(self, folder: Path | None):
        self._folder, self._loaded = folder, {}

    def __getitem__(self, gender: str) -> BodyModel:
        if gender not in self._loaded:
            names = [f"SMPL_{gender.upper()}{suffix}" for suffix in (".npz", ".pkl")]
            paths = [self._folder / name for name in names] if self._folder else []
            path = next((path for path in paths if path.is_file()), None)
            if path is None:
                raise DatasetError(
                    f"no {' or '.join(names)} in {self._folder}: name the folder of your SMPL files with --smpl "
                    "(smpl.is.tue.mpg.de); the truth of this benchmark is a body of that gender."
                )
            self._loaded[gender] = load_body(path)
        return self._loaded[gender]

    def __iter__(self):
        return iter(self.GENDERS)

    def __len__(self) -> int:
        return len(self.GENDERS)
