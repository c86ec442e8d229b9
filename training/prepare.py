"""Check and convert a data set, as its authors distribute it, into one npz: `python -m training.prepare SET --root ... --out ...`.

Without --root, print what the set needs, where to get it and under which licence. After an interruption, the same command continues
where it stopped. Pose sets, named `poses_<set>_train.npz`, go into the folder that `training.train --data` is given; image sets are read with
`training.datasets.people.load`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro
from tqdm import tqdm

from hmr_ros.smpl_file import load_body
from training.command import errors_in_one_line
from training.datasets import people as records
from training.datasets.asf_amc import CMU_FPS
from training.datasets.catalog import SOURCES, Options, Source, t_pose
from training.datasets.detect import detect
from training.datasets.keypoint_pairs import write_pairs
from training.datasets.people import DatasetError, People
from training.datasets.thin import moved

SHARD = 500
"""People per saved part of the detections: the most that an interruption loses."""


@dataclass(frozen=True)
class PrepareConfig:
    set: Annotated[Literal[tuple(SOURCES)], tyro.conf.Positional]
    root: Path | None = None
    """Where the annotations are; without it, print what the set needs."""
    out: Path | None = None
    """The npz to write; for pose sets poses_<anything>_train.npz or _val.npz in the folder for `training.train --data`."""
    split: str = ""
    """Which part of the set; '': its first split."""
    images: Path | None = None
    """Folder that image paths start from, if it is not --root; without it, the images of such sets are not looked for."""
    skip_missing_images: bool = False
    """Leave out people whose image is missing, instead of stopping."""
    detect: bool = False
    """Run the runtime's keypoint detector on every person's image."""
    pairs: Path | None = None
    """Also write detections with true bodies as a file of training pairs (`training.train --pairs.file`), for image sets."""
    body: str = "open"
    """Body model of --pairs: 'open', or the path of an SMPL file. Only people whose betas belong to it become pairs."""
    shape_space: str = ""
    """Body that the betas belong to, if the set does not say and you know it: smpl_neutral, ..."""
    fps: float = 30.0
    """Frames per second to keep of motion capture."""
    min_move_mm: float = 15.0
    """Leave out frames of motion capture in which joints moved less than this, on average, since the last frame kept; 0: keep all."""
    reference: Literal["rest", "first-frame"] = "rest"
    """Which pose of a BVH or AMC file is its T-pose."""
    mocap_fps: float = CMU_FPS
    """Frame rate of AMC files, which do not state it."""


def prepare(config: PrepareConfig) -> People:
    """Convert one split of a set and write it."""
    source = SOURCES[config.set]
    split = config.split or source.splits[0]
    if split not in source.splits:
        raise DatasetError(f"{config.set} has no split {split!r}, but {', '.join(source.splits)}.")
    if config.root is None or config.out is None:
        raise DatasetError("--root and --out are both needed.")
    files = source.files(config.root, split)
    folder = config.out.with_suffix(".parts")
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    for file in tqdm(files, desc=f"{config.set} {split}", unit="file", mininterval=1):
        part = folder / f"{_identity(file, config, split)}.npz"
        if not part.is_file():
            records.save(part, _convert(file, source, config, split, part.with_suffix("")))
        parts.append(part)
    people = records.join([records.load(part) for part in parts])
    if not len(people):
        raise DatasetError(f"{config.root}: no people are left from {len(files):,} files; see the messages above.")
    records.save(config.out, people)
    shutil.rmtree(folder)
    return people


def _convert(file: Path, source: Source, config: PrepareConfig, split: str, shards: Path) -> People:
    people = source.read(file, Options(split, config.fps, config.reference, config.mocap_fps))
    if config.shape_space:
        names = np.full(len(people), config.shape_space)
        people = dataclasses.replace(people, shape_space=np.where(people.betas_known, names, people.shape_space))
    if source.kind == "poses":
        return people[moved(people, t_pose(), config.min_move_mm / 1000)] if config.min_move_mm else people
    folder = _image_folder(people, source, file, config)
    if folder is None or not len(people):
        return people
    people = _with_images(people, folder, file, config)
    return _detected(people, folder, shards) if config.detect else people


def _image_folder(people: People, source: Source, file: Path, config: PrepareConfig) -> Path | None:
    """Folder in which to look for images; None: do not look, because annotations alone are useful too."""
    folder = config.images or (config.root if source.images_in_root else None)
    if config.detect and folder is None:
        raise DatasetError("--detect looks at images: name the folder that their paths start from with --images.")
    if (
        len(people)
        and not config.images
        and not config.detect
        and folder
        and not (folder / people.image[0]).parent.is_dir()
    ):
        tqdm.write(f"{file}: its images are not below {folder.absolute()}; only the annotations are converted")
        return None
    return folder


def _with_images(people: People, folder: Path, file: Path, config: PrepareConfig) -> People:
    there = records.check_images(people, folder, f"{file}, imgname")
    if there.all() or config.skip_missing_images:
        if not there.all():
            tqdm.write(
                f"{file}: {int((~there).sum()):,} of {len(people):,} people left out because their images are missing"
            )
        return people[there]
    missing = sorted(set(people.image[~there]))
    raise DatasetError(
        f"{file}, imgname: {len(missing):,} of {len(set(people.image)):,} images are missing below {folder.absolute()}: "
        f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}. Complete the download, or use --skip-missing-images."
    )


def _detected(people: People, folder: Path, shards: Path) -> People:
    """Detect keypoints, saved in shards: detection takes hours for a large set, and one file may be all of it."""
    done = []
    for start in tqdm(
        range(0, len(people), SHARD), desc="detecting", unit=f"x{SHARD} people", leave=False, mininterval=1
    ):
        path = shards / f"{start:08d}.npz"
        if not path.is_file():
            records.save(path, detect(people[start : start + SHARD], folder))
        done.append(records.load(path))
    return records.join(done)


def _identity(file: Path, config: PrepareConfig, split: str) -> str:
    """Name of a part, made from everything that determines its content, so that a changed file or setting makes a new part."""
    about = {key: str(value) for key, value in asdict(config).items() if key not in ("out", "pairs", "body", "split")}
    status = file.stat()
    text = json.dumps([str(file.absolute()), status.st_size, status.st_mtime_ns, split, about], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def needs(name: str) -> str:
    """What a set needs, in words."""
    source = SOURCES[name]
    images = "" if source.kind == "poses" or source.images_in_root else " --images ..."
    out = f"poses_{name}_train.npz" if source.kind == "poses" else f"{name}.npz"
    return (
        f"{source.title}\n  needs:   {source.needs}\n  licence: {source.licence}\n  splits:  {', '.join(source.splits)}\n"
        f"  then:    python -m training.prepare {name} --root ...{images} --out {out}"
    )


def main(config: PrepareConfig) -> None:
    if config.root is None:
        print(needs(config.set))
        return
    people = prepare(config)
    print(f"{config.out}: {people.summary()}")
    if config.pairs:
        count = write_pairs(people, config.pairs, load_body(config.body))
        print(f"{config.pairs}: {count:,} pairs of detections and bodies")


if __name__ == "__main__":
    with errors_in_one_line():
        main(tyro.cli(PrepareConfig))
