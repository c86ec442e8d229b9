"""Every data set that `python -m training.prepare` knows: what it needs, where from, under which licence, and its reader."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from hmr_ros.body_model import BodyModel
from hmr_ros.smpl_file import load_body
from training.datasets import emdb, pw3d
from training.datasets.amass import read_amass
from training.datasets.asf_amc import CMU_FPS, read_amc
from training.datasets.bedlam import read_bedlam
from training.datasets.bvh import read_bvh
from training.datasets.eft import read_eft
from training.datasets.people import DatasetError, People
from training.datasets.retarget import to_smpl
from training.datasets.spin import read_spin


@dataclass(frozen=True)
class Options:
    """Options that readers take."""

    split: str
    fps: float = 30.0
    reference: Literal["rest", "first-frame"] = "rest"
    mocap_fps: float = CMU_FPS


@dataclass(frozen=True)
class Source:
    """One data set in the form in which it is distributed."""

    title: str
    needs: str
    """What to download, from where, and what --root is."""
    licence: str
    splits: tuple[str, ...]
    """The first is the default."""
    files: Callable[[Path, str], list[Path]]
    """The annotation files of a split below --root."""
    read: Callable[[Path, Options], People]
    kind: Literal["images", "poses"] = "images"
    images_in_root: bool = False
    """Whether image paths start from --root; else they start from --images."""


def _one_of(**names: str) -> Callable[[Path, str], list[Path]]:
    """--root is the file itself, or the folder that holds it. names: by split, the usual file name, or several separated by spaces."""

    def files(root: Path, split: str) -> list[Path]:
        paths = [root] if root.is_file() else [root / name for name in names[split].split()]
        found = [path for path in paths if path.is_file()]
        if not found:
            tried = " or ".join(str(path.absolute()) for path in paths)
            raise DatasetError(f"No file at {tried}: --root is the file itself or its folder.")
        return found[:1]

    return files


def _all(*patterns: str) -> Callable[[Path, str], list[Path]]:
    """--root is a file, or a folder with any number of matching files below."""

    def files(root: Path, split: str) -> list[Path]:
        found = [root] if root.is_file() else sorted({path for pattern in patterns for path in root.rglob(pattern)})
        if not found:
            raise DatasetError(
                f"No {' or '.join(patterns)} below {root.absolute()}: --root is the folder that holds them."
            )
        return found

    return files


AMASS_HELD_OUT = {
    "val": ("HumanEva", "MPI_HDM05", "HDM05", "SFU", "MPI_mosh", "MoSh"),
    "test": ("Transitions_mocap", "Transitions", "SSM_synced", "SSM"),
}
"""The subsets that AMASS's authors hold out (nghorbani/amass, readme), under the names of both releases."""
CMU_HELD_OUT = (3, 9, 12, 17, 127)
"""Subjects of our validation poses."""


def _is_cmu_held_out(subject: str) -> bool:
    return subject.isdigit() and int(subject) in CMU_HELD_OUT


def _amass_files(root: Path, split: str) -> list[Path]:
    """The CMU subjects of our validation poses are validation here too. Folders above --root count as well: it may be a subset's own folder,
    or one file."""

    def split_of(path: Path) -> str:
        folders = path.absolute().parts[:-1]
        if any(_is_cmu_held_out(subject) for name, subject in zip(folders, folders[1:]) if name == "CMU"):
            return "val"
        return next((name for name, subsets in AMASS_HELD_OUT.items() if set(folders) & set(subsets)), "train")

    files = [
        path
        for path in _all("*.npz")(root, split)
        if path.stem not in ("shape", "neutral_stagei", "male_stagei", "female_stagei")
    ]
    chosen = files if split == "all" else [path for path in files if split_of(path) == split]
    if not chosen:
        raise DatasetError(f"None of the {len(files):,} npz below {root.absolute()} belong to split {split!r}.")
    return chosen


def _cmu_files(root: Path, split: str) -> list[Path]:
    """CMU's files are named after their subject: 09_12.amc."""
    files = _all("*.amc")(root, split)
    chosen = (
        files
        if split == "all"
        else [path for path in files if _is_cmu_held_out(path.stem.split("_")[0]) == (split == "val")]
    )
    if not chosen:
        raise DatasetError(f"None of the {len(files):,} amc below {root.absolute()} belong to split {split!r}.")
    return chosen


def _bvh_files(root: Path, split: str) -> list[Path]:
    """Without CMU's validation subjects, whose files are named as in `_cmu_files`."""
    files = _all("*.bvh")(root, split)
    chosen = [
        path
        for path in files
        if not re.fullmatch(r"\d+_\d+", path.stem) or not _is_cmu_held_out(path.stem.split("_")[0])
    ]
    if len(chosen) < len(files):
        subjects = ", ".join(map(str, CMU_HELD_OUT))
        tqdm.write(f"{len(files) - len(chosen)} bvh left out: of CMU's subjects {subjects}, which are validation poses")
    if not chosen:
        raise DatasetError(f"All of the {len(files):,} bvh below {root.absolute()} are of CMU's validation subjects.")
    return chosen


def _bedlam_files(root: Path, split: str) -> list[Path]:
    """Leave out the labels of AGORA, which lie among BEDLAM's own: their images are elsewhere, and they have neither intrinsics nor genders."""
    files = _all("*.npz")(root, split)
    chosen = [path for path in files if not path.stem.startswith("agora-")]
    if left_out := [path.name for path in files if path not in chosen]:
        tqdm.write(f"{', '.join(left_out)}: left out, these labels are of AGORA's images and not of BEDLAM's")
    if not chosen:
        raise DatasetError(f"None of the {len(files):,} npz below {root.absolute()} are labels of BEDLAM's own images.")
    return chosen


@cache
def t_pose() -> BodyModel:
    """The body whose T-pose other skeletons are matched to, and on which movement is measured."""
    return load_body("open")


def _mocap(path: Path, motion, options: Options) -> People:
    name = f"{path.parent.name}/{path.stem}"
    return to_smpl(motion.every(options.fps), t_pose(), str(path), options.reference, name)


def _spin(title: str, needs: str, licence: str, **names: str) -> Source:
    return Source(title, needs, licence, tuple(names), _one_of(**names), lambda path, options: read_spin(path))


_SPIN_NPZ = "SPIN's npz (github.com/nkolot/SPIN, fetch_data.sh), as --root, and the data set's images, as --images: "

SOURCES = {
    "h36m": _spin(
        "Human3.6M, SPIN format", _SPIN_NPZ + "register at vision.imar.ro/human3.6m, extract frames as SPIN's h36m.py names them",
        "academic use, by registration", train="h36m_train.npz", p1="h36m_valid_protocol1.npz", p2="h36m_valid_protocol2.npz",
    ),
    "3dhp": _spin(
        "MPI-INF-3DHP, SPIN format", _SPIN_NPZ + "vcai.mpi-inf.mpg.de/3dhp-dataset, frames as SPIN's mpi_inf_3dhp.py names them",
        "non-commercial research", train="mpi_inf_3dhp_train.npz", test="mpi_inf_3dhp_valid.npz mpi_inf_3dhp_test.npz",
    ),
    "lsp": _spin(
        "Leeds Sports Pose, SPIN format", _SPIN_NPZ + "sam.johnson.io/research/lsp.html", "see its page",
        train="lsp_dataset_original_train.npz", test="lsp_dataset_test.npz", lspet="hr-lspet_train.npz",
    ),
    "mpii": _spin(
        "MPII Human Pose, SPIN format", _SPIN_NPZ + "human-pose.mpi-inf.mpg.de", "see its page", train="mpii_train.npz",
    ),
    "coco": _spin(
        "COCO 2014, SPIN format", _SPIN_NPZ + "cocodataset.org, train2014", "annotations CC BY 4.0, images as on Flickr",
        train="coco_2014_train.npz",
    ),
    "3dpw-spin": _spin(
        "3DPW, SPIN format (no intrinsics, no 2D: prefer 3dpw)", _SPIN_NPZ + "virtualhumans.mpi-inf.mpg.de/3DPW",
        "non-commercial research", test="3dpw_test.npz",
    ),
    "cliff-coco": _spin(
        "CLIFF's pseudo ground truth for COCO",
        "coco2014part_cliffGT.npz (link in github.com/huawei-noah/noah-research, CLIFF), as --root; train2014's parent as --images",
        "see the repository; COCO's images as on Flickr", train="coco2014part_cliffGT.npz",
    ),
    "cliff-mpii": _spin(
        "CLIFF's pseudo ground truth for MPII",
        "mpii_cliffGT.npz (link in github.com/huawei-noah/noah-research, CLIFF), as --root; the parent of images/ as --images",
        "see the repository and MPII's page", train="mpii_cliffGT.npz",
    ),
    "eft": Source(
        "EFT's pseudo ground truth (COCO, MPII, LSPet, OCHuman, PoseTrack)",
        "one of the json of github.com/facebookresearch/eft (scripts/download_eft.sh), as --root; the folder of the images as --images",
        "CC BY-NC 4.0; the images as their own data set says", ("train",), _all("*.json"), lambda path, options: read_eft(path),
    ),
    "3dpw": Source(
        "3DPW, its own pickles", "sequenceFiles.zip and imageFiles.zip of virtualhumans.mpi-inf.mpg.de/3DPW, unpacked into --root",
        "non-commercial research", ("test", "train", "validation"), pw3d.sequence_files,
        lambda path, options: pw3d.read_pw3d(path), images_in_root=True,
    ),
    "emdb": Source(
        "EMDB", "apply at emdb.ait.ethz.ch; --root is the folder with P0 to P9", "by application, academic research",
        emdb.SPLITS, emdb.sequence_files, lambda path, options: emdb.read_emdb(path, options.split), images_in_root=True,
    ),
    "bedlam": Source(
        "BEDLAM, image labels (SMPL-X or SMPL)",
        "register at bedlam.is.tue.mpg.de; --root is the folder of label npz, --images the one with the scenes' folders "
        "(SCENE/png/seq_*/*.png)",
        "non-commercial research", ("train",), _bedlam_files, lambda path, options: read_bedlam(path),
    ),
    "bedlam-motion": Source(
        "BEDLAM, animations", "register at bedlam.is.tue.mpg.de; --root is the folder with motion_seq.npz files",
        "non-commercial research", ("train",), _all("motion_seq.npz"), lambda path, options: read_amass(path, options.fps), "poses",
    ),
    "amass": Source(
        "AMASS", "register at amass.is.tue.mpg.de, download SMPL+H G (or SMPL-X), unpack everything into --root",
        "non-commercial research", ("train", "val", "test", "all"), _amass_files,
        lambda path, options: read_amass(path, options.fps), "poses",
    ),
    "cmu": Source(
        "CMU motion capture, ASF and AMC", "mocap.cs.cmu.edu: subjects' .asf beside their .amc, below --root",
        "free, commercially too; acknowledge mocap.cs.cmu.edu, NSF EIA-0196217", ("train", "val", "all"), _cmu_files,
        lambda path, options: _mocap(path, read_amc(path, fps=options.mocap_fps), options), "poses",
    ),
    "bvh": Source(
        "Motion capture in BVH", "any folder of .bvh with common joint names, as --root", "that of the files", ("all",),
        _bvh_files, lambda path, options: _mocap(path, read_bvh(path), options), "poses",
    ),
}  # fmt: skip
