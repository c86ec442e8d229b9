"""Run the real keypoint detector on people with known ground truth: render our body, then run BlazePose on the picture.

    python -m training.detector_loop --split train --count 6000 --out runs/detector_loop_train.npz
    python -m training.detector_loop --report runs/detector_loop_train.npz

After an interruption, the same command continues where it stopped; a larger --count adds people.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.blazepose_detector import PersonDetector
from hmr_ros.keypoints.blazepose_landmarks import UNWANTED, LandmarkModel, Landmarks
from hmr_ros.keypoints.blazepose_models import find_models
from hmr_ros.keypoints.flip_test import look_both_ways
from hmr_ros.keypoints.litert import LiteRtModel
from hmr_ros.smpl_file import load_body
from training.command import errors_in_one_line
from training.render_person import SIDE_PX, Backgrounds, PersonRenderer, crop_camera
from training.synthesis import Poses, random_bodies

SHARD = 250
"""People per file while generating; a killed run loses at most this many."""
ARRAYS = {
    "rotmat": (24, 3, 3), "betas": (10,), "transl": (3,), "K": (3, 3),
    "keypoints_3d": (23, 3), "keypoints_2d": (23, 2),
    "found": (), "score": (), "uv": (23, 2), "confidence": (23,), "world": (23, 3),
}  # fmt: skip
"""What is stored for each person, float32 (`found`: bool), with its shape. Ground truth: SMPL parameters and keypoints in the optical
frame (metres), K of the picture (SIDE_PX square), keypoints in normalised image coordinates. Detected: uv in the same coordinates,
confidence (zero outside the picture), BlazePose's world landmarks (metres, from the hips' centre, z along the ray to the person);
zeros where nobody was found."""


@dataclass(frozen=True)
class DetectorLoopConfig:
    data: Path = Path("../shared/data/mocap")
    """Folder with `poses_cmu_train.npz` and `poses_cmu_val.npz`."""
    split: Literal["train", "val"] = "train"
    """Poses of val are used unchanged, those of train are augmented as in training."""
    count: int = 6000
    """People to render."""
    out: Path = Path("runs/detector_loop_train.npz")
    backgrounds: Path = Path("../shared/data/render/backgrounds")
    """Folder of background pictures."""
    seed: int = 0
    look: int = 0
    """Only draw this many people and their detected keypoints, into --out with suffix .png."""
    report: Path | None = None
    """Only print statistics of this file."""


class SingleLook:
    """BlazePose on unrelated pictures, each filled by one person: no tiles, no tracking.

    Otherwise as `hmr_ros.keypoints.blazepose` treats people whom it does not track yet.
    """

    def __init__(self, min_score: float):
        detector, landmarks = find_models()
        self.min_score = min_score
        self._detector = PersonDetector(LiteRtModel(detector))
        self._landmark_model = LandmarkModel(LiteRtModel(landmarks, UNWANTED))

    def __call__(self, picture: np.ndarray) -> Landmarks | None:
        """The person nearest to the middle of a square picture, if any: it was cut out around them."""
        regions, _ = self._detector(picture, np.zeros(2), len(picture), self.min_score)
        people = [self._landmark_model(picture, region) for region in regions[:2]]
        regions = [p.next_region for p in people if p.score >= self.min_score]
        people = [look_both_ways(self._landmark_model, picture, region, 0) for region in regions]
        people = [p for p in people if p.score >= self.min_score]
        middle = (len(picture) - 1) / 2
        return min(people, key=lambda p: float(np.linalg.norm(_middle(p) - middle)), default=None)


def _middle(person: Landmarks) -> np.ndarray:
    """(2,) pixels: the middle of the box around all landmarks."""
    return (person.uv.min(axis=0) + person.uv.max(axis=0)) / 2


class Loop:
    """Draws people, renders them, asks the detector."""

    def __init__(self, config: DetectorLoopConfig, body: BodyModel):
        self.config, self.body = config, body
        self.poses = Poses(config.data / f"poses_cmu_{config.split}.npz")
        self.renderer = PersonRenderer(body, Backgrounds(config.backgrounds))
        self.detector = SingleLook(KeypointsConfig().min_score)

    def people(self, shard: int, count: int):
        """Yields (record, picture) of each person of one shard; the same for the same seed."""
        torch_rng = torch.Generator().manual_seed(1_000_003 * self.config.seed + shard)
        rng = np.random.default_rng((self.config.seed, shard))
        pick = torch.randint(len(self.poses), (SHARD,), generator=torch_rng)
        drawn = random_bodies(self.poses.rotvec[pick], torch_rng, augment=self.config.split == "train")
        rotmat, betas, pelvis = (tensor.numpy() for tensor in drawn)
        rest = self.body.J_template[0] + betas @ self.body.J_shapedirs[0].T
        transl = pelvis - rest
        keypoints = self.body.keypoints(rotmat, betas, transl)
        for truth in zip(rotmat[:count], betas, transl, keypoints):
            yield self.person(*truth, rng)

    def person(self, rotmat, betas, transl, keypoints, rng: np.random.Generator) -> tuple[dict, np.ndarray]:
        """One record (see ARRAYS) and its picture."""
        xy = keypoints[:, :2] / np.maximum(keypoints[:, 2:], 0.1)
        camera = crop_camera(xy, rng)
        picture = self.renderer(rotmat, betas, transl, camera, rng)
        record = {name: np.zeros(shape, np.float32) for name, shape in ARRAYS.items()}
        record |= {"rotmat": rotmat, "betas": betas, "transl": transl, "K": camera.K}
        record |= {"keypoints_3d": keypoints, "keypoints_2d": xy}
        seen = self.detector(picture)
        if seen is not None:
            inside = ((seen.uv >= -0.5) & (seen.uv < SIDE_PX - 0.5)).all(axis=-1)
            # Confidences are stored unchanged: the reader of the data applies the threshold.
            confidence = skeleton.from_blazepose(np.where(inside, seen.confidence, 0)[:, None])[:, 0]
            record |= {"found": True, "score": seen.score, "confidence": confidence}
            record |= {
                "uv": skeleton.from_blazepose(camera.normalise(seen.uv)),
                "world": skeleton.from_blazepose(seen.world),
            }
        return record, picture


def generate(config: DetectorLoopConfig) -> None:
    """Write shards into a folder beside `out`, then merge them into `out`."""
    folder = config.out.with_suffix(".shards")
    folder.mkdir(parents=True, exist_ok=True)
    body = load_body("open")
    about = {**asdict(config), "shape_space": body.shape_space, "side_px": SIDE_PX}
    about = {key: str(value) for key, value in about.items() if key not in ("count", "look", "report", "out")}
    claim(folder, about)
    loop = Loop(config, body)
    tqdm.write(f"seed {config.seed}, split {config.split}: {len(loop.poses)} poses")
    shards = []
    with tqdm(total=config.count, desc="detector loop", unit="person", mininterval=5) as bar:
        for first in range(0, config.count, SHARD):
            count = min(SHARD, config.count - first)
            path = folder / f"{first // SHARD:05d}_{count}.npz"
            if not path.is_file():
                records = []
                for record, _ in loop.people(first // SHARD, count):
                    records.append(record)
                    bar.update()
                save(path, records)
            else:
                bar.update(count)
            shards.append(path)
    merge(shards, config.out, about)
    tqdm.write(f"{config.count} people in {config.out}")


def claim(folder: Path, about: dict[str, str]) -> None:
    """Record the shards' settings in `folder`. Raises ValueError if it holds others."""
    path = folder / "about.json"
    if path.is_file() and json.loads(path.read_text()) != about:
        raise ValueError(
            f"{folder} holds shards made with other settings ({path.name}): choose another --out, or delete it"
        )
    path.write_text(json.dumps(about, indent=2))


def save(path: Path, records: list[dict]) -> None:
    """Write all people's arrays under their names; the file appears only when it is complete."""
    types = {name: bool if name == "found" else np.float32 for name in ARRAYS}
    write(path, {name: np.array([record[name] for record in records], types[name]) for name in ARRAYS})


def merge(shards: list[Path], out: Path, about: dict[str, str]) -> None:
    parts = [dict(np.load(path)) for path in shards]
    write(out, {name: np.concatenate([part[name] for part in parts]) for name in ARRAYS} | {"about": json.dumps(about)})


def write(path: Path, arrays: dict) -> None:
    partial = path.with_suffix(".partial.npz")
    np.savez(partial, **arrays)
    partial.replace(path)


def load(path: Path, shape_space: str | None = None) -> dict[str, np.ndarray]:
    """The arrays of ARRAYS, each with a leading axis of people. Raises ValueError when `path` is not such a file.

    shape_space: the required shape space of the betas; None if they are not used.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"no such file: {path.resolve()}; make it with `python -m training.detector_loop --out {path}`, for evaluation with "
            "`--split val --count 1000 --seed 1` too"
        )
    with np.load(path) as data:
        missing = [name for name in ARRAYS if name not in data]
        if missing:
            raise ValueError(f"{path} was not made by training.detector_loop: it lacks {', '.join(missing)}")
        arrays = {name: data[name] for name in ARRAYS}
        about = json.loads(str(data["about"])) if "about" in data else {}
    if shape_space and about.get("shape_space") != shape_space:
        raise ValueError(
            f"{path}: its betas are of {about.get('shape_space', 'a body that it does not name')!r}, not of {shape_space!r}: "
            "use the --body it was made for, or make it again"
        )
    for name, shape in ARRAYS.items():
        if arrays[name].shape != (len(arrays["found"]), *shape):
            raise ValueError(f"{path}: {name} has shape {arrays[name].shape}, expected (people, {shape})")
    return arrays


def look(config: DetectorLoopConfig) -> Path:
    """Draw a sheet of pictures with the detected keypoints: left blue, right red."""
    import cv2

    from hmr_ros.camera import Camera
    from hmr_ros.draw import draw_skeleton

    tiles = []
    for record, picture in Loop(config, load_body("open")).people(0, config.look):
        uv = Camera(np.asarray(record["K"], float), SIDE_PX, SIDE_PX).project(
            np.concatenate([record["uv"], np.ones((23, 1))], axis=1)
        )
        tiles.append(draw_skeleton(picture, uv, record["confidence"] >= 0.5) if record["found"] else picture)
    tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % 6)
    rows = [np.hstack(tiles[i : i + 6]) for i in range(0, len(tiles), 6)]
    path = config.out.with_suffix(".png")
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.vstack(rows)[..., ::-1])
    return path


def main(config: DetectorLoopConfig) -> None:
    torch.set_num_threads(1)
    if config.report:
        from training.detector_report import report

        print(report(load(config.report), load_body("open")))
    elif config.look:
        print(look(config))
    else:
        try:
            generate(config)
        except KeyboardInterrupt:
            tqdm.write("interrupted; the same command continues from the last complete shard")


if __name__ == "__main__":
    with errors_in_one_line():
        main(tyro.cli(DetectorLoopConfig))
