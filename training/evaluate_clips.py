"""Evaluate the whole runtime pipeline on people in motion: `python -m training.evaluate_clips --json FILE`.

Held-out motion capture at 30 frames/s, each clip by several random people in front of a camera that follows them slowly. Nothing
is rendered: the detector's errors are those of `training.synthesis`, made to persist from frame to frame as BlazePose's do. The
rest is the runtime as it ships: tracking, regression, optimisation, warm start, smoothing. The table shows how the last three
affect error, jitter, lag and the number of steps.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from hmr_ros.body_model import BodyModel
from hmr_ros.bundle import load_bundle
from hmr_ros.camera import Camera
from hmr_ros.config import ModelConfig, PipelineConfig, replace
from hmr_ros.crop import keypoint_box
from hmr_ros.factory import build_pipeline
from hmr_ros.metrics import mpjpe, pa_mpjpe
from hmr_ros.pipeline import Pipeline
from hmr_ros.regressor import axis_to_ray
from hmr_ros.smpl_file import load_body
from hmr_ros.types import Frame, Keypoints
from training.body import BodyArrays, ForwardKinematics
from training.command import errors_in_one_line
from training.config import NoiseConfig
from training.draws import Draw
from training.evaluate import Replay
from training.rotation import rotvec_to_rotmat
from training.synthesis import Synthesis, random_position, random_view

FPS = 30
CAMERA = Camera(np.array([[600.0, 0, 799.5], [0, 600.0, 599.5], [0, 0, 1]]), 1600, 1200)
ALWAYS, LASTING, FLEETING = 0.30, 0.64, 0.06
"""Shares of the variance of the detector's errors: the part constant in each clip, the slowly fading part, the part new in every frame.

BlazePose's errors on the demo clip (exact truth) and on the pose2sim clip (truth from four cameras) have these shares: bias 0.0055
and 0.0091 of the person's size beside a standard deviation of 0.0094 and 0.0122; the autocorrelation of the rest is 0.92 and
0.79 after 33 ms, 0.69 and 0.29 after 133 ms; second differences say that 5 and 6 % of its variance are white.
"""
LASTING_S = 0.2
"""Time constant of the errors that fade."""
FOLLOW_S = 0.7
"""The camera follows the person's position averaged over about this time."""


class PersistentErrors(Synthesis):
    """A detector whose errors persist: the batch is a clip, and every random number is correlated with that of the previous frame.

    Each number is replaced by a Gaussian process with the shares above; uniform numbers are its quantile ranks. So each error, dropout
    or exchange is as frequent as in training, and comes and goes as slowly as the real detector's.
    """

    def draws(self, rng: torch.Generator) -> tuple[Draw, Draw]:
        def normal(frames: int, *shape: int) -> Tensor:
            always, white = (torch.randn(n, *shape, generator=rng) for n in (1, frames))
            fading, keep = torch.randn(frames, *shape, generator=rng), math.exp(-1 / (FPS * LASTING_S))
            for i in range(1, frames):
                fading[i] = keep * fading[i - 1] + math.sqrt(1 - keep**2) * fading[i]
            return math.sqrt(ALWAYS) * always + math.sqrt(LASTING) * fading + math.sqrt(FLEETING) * white

        return lambda *shape: torch.special.ndtr(normal(*shape)), normal


class Clip(NamedTuple):
    """One person in motion, as detected, and the truth."""

    keypoints: list[Keypoints]
    """One person in each of T frames."""
    joints: np.ndarray
    """(T, 24, 3) metres, optical frame."""


def make_clip(rotvec: np.ndarray, trans: np.ndarray, body: BodyArrays, noise: NoiseConfig, seed: int) -> Clip:
    """rotvec: (T, 24, 3) axis-angle, trans: (T, 3) metres, in a y-up world."""
    rng, frames = torch.Generator().manual_seed(seed), len(rotvec)
    view, place = random_view(1, rng), random_position(1, rng)
    sway = rotvec_to_rotmat(0.1 * wander(frames, rng))
    rotmat = rotvec_to_rotmat(torch.from_numpy(rotvec))
    rotmat[:, 0] = sway @ view @ rotmat[:, 0]
    ahead = torch.from_numpy(trans - follow(trans))
    pelvis = ((sway @ view) @ ahead[..., None])[..., 0] + place
    pelvis[:, 2] += torch.clamp(1.3 - pelvis[:, 2].min(), min=0)
    posed = ForwardKinematics()(rotmat, torch.randn(1, 10, generator=rng).expand(frames, -1), body)
    seen = PersistentErrors(body, noise).look(posed.keypoints, pelvis, rng)
    detected = (seen.xy, seen.confidence, seen.xyz, seen.confidence_3d)
    return Clip(as_keypoints(*(a.numpy() for a in detected)), (posed.joints + pelvis[:, None]).numpy())


def as_keypoints(xy: np.ndarray, confidence: np.ndarray, xyz: np.ndarray, known: np.ndarray) -> list[Keypoints]:
    """What a detector with CAMERA would report. xy: normalised image coordinates; xyz: along the optical axes."""
    uv = (xy * CAMERA.focal + CAMERA.K[:2, 2]).astype(np.float32)
    along_ray = xyz @ axis_to_ray(keypoint_box(xy, confidence)[0])
    along_ray = np.where(known[..., None] > 0, along_ray, np.nan).astype(np.float32)
    one = np.ones(1, np.float32)
    return [Keypoints(uv[i : i + 1], confidence[i : i + 1], one, along_ray[i : i + 1]) for i in range(len(uv))]


def wander(frames: int, rng: torch.Generator) -> Tensor:
    """(T, 3): a hand-held camera's slow rotation about each axis, with unit amplitude and a period of 4 s or more."""
    period_s = 4 + 4 * torch.rand(1, 3, generator=rng)
    phase = 2 * math.pi * (torch.rand(1, 3, generator=rng) + torch.arange(frames)[:, None] / (FPS * period_s))
    return torch.sin(phase)


def follow(trans: np.ndarray) -> np.ndarray:
    """(T, 3): the path of somebody who walks along: a Gaussian mean with sigma FOLLOW_S, end values repeated."""
    reach = int(3 * FOLLOW_S * FPS)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / (FOLLOW_S * FPS)) ** 2)
    padded = np.pad(trans, ((reach, reach), (0, 0)), mode="edge")
    mean = [np.convolve(padded[:, axis], weights / weights.sum(), mode="valid") for axis in range(3)]
    return np.stack(mean, axis=1).astype(np.float32)


def read_clips(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Poses (T, 24, 3) and translations (T, 3) by name."""
    if not path.is_file():
        raise FileNotFoundError(f"no clips at {path.resolve()}: give --clips a file with NAME_poses and NAME_trans")
    with np.load(path) as data:
        names = [key.removesuffix("_poses") for key in data if key.endswith("_poses")]
        return {n: (data[f"{n}_poses"].astype(np.float32), data[f"{n}_trans"].astype(np.float32)) for n in names}


class Answer(NamedTuple):
    joints: np.ndarray
    """(T, 24, 3) metres; NaN where nobody was reported."""
    steps: np.ndarray
    """(T,)."""


def run(pipeline: Pipeline, replay: Replay, clip: Clip) -> Answer:
    """Run one clip from its first frame."""
    pipeline.reset()
    replay.play(clip.keypoints)
    image = np.zeros((CAMERA.height, CAMERA.width, 3), np.uint8)
    joints, steps = np.full_like(clip.joints, np.nan), np.zeros(len(clip.joints))
    for i in range(len(clip.joints)):
        result = pipeline(Frame(image, CAMERA, round(i * 1e9 / FPS), "camera"))
        for person in result.people:
            joints[i], steps[i] = person.joints, person.steps
    return Answer(joints, steps)


def figures(answers: list[Answer], truths: list[np.ndarray]) -> dict[str, float]:
    """Means over all frames of all clips; joints relative to the pelvis, except for the root's own error.

    acceleration_error: difference of second differences, which is jitter, and some lag; lag: the delay of the motion, by
    regression of the error on the true velocity. Movements that are too small or too large do not count as lag.
    """
    errors: dict[str, list] = {}
    late = moved = 0.0
    for answer, joints in zip(answers, truths):
        found, true = answer.joints - answer.joints[:, :1], joints - joints[:, :1]
        seen = np.isfinite(found).all((1, 2))
        by_frame = {
            "mpjpe_mm": mpjpe(found[seen], true[seen]),
            "pa_mpjpe_mm": pa_mpjpe(found[seen], true[seen]),
            "root_mm": 1000 * np.linalg.norm(answer.joints[seen, 0] - joints[seen, 0], axis=-1),
            "steps": answer.steps[seen],
        }
        jolt = np.linalg.norm(acceleration(found) - acceleration(true), axis=-1).mean(axis=-1)
        by_frame["acceleration_error_m_s2"] = jolt[np.isfinite(jolt)]
        for name, values in by_frame.items():
            errors.setdefault(name, []).append(values)
        velocity, error = (true[2:] - true[:-2]) * (FPS / 2), (found - true)[1:-1]
        both = np.isfinite(error)
        late, moved = late - (error * velocity)[both].sum(), moved + (velocity**2)[both].sum()
    means = {name: round(float(np.concatenate(values).mean()), 2) for name, values in errors.items()}
    missed = sum(int(np.isnan(answer.joints[:, 0, 0]).sum()) for answer in answers)
    return {**means, "lag_ms": round(1000 * float(late / moved), 1), "missed": missed}


def acceleration(points: np.ndarray) -> np.ndarray:
    """(T, ..., 3) metres to (T - 2, ..., 3) m/s^2."""
    return (points[2:] - 2 * points[1:-1] + points[:-2]) * FPS**2


COLD = {"warm_start.decay": 0.0}
UNSMOOTHED = {"smoothing.enabled": False}
VARIANTS: dict[str, dict] = {
    "regression only": COLD | UNSMOOTHED | {"tto.max_steps": 0},
    "cold start": COLD | UNSMOOTHED,
    "cold start, 2 steps": COLD | UNSMOOTHED | {"tto.max_steps": 2},
    **{f"warm start {decay}": UNSMOOTHED | {"warm_start.decay": decay} for decay in (0.5, 0.8, 0.95)},
    "warm start 0.8, 2 steps": UNSMOOTHED | {"warm_start.decay": 0.8, "tto.max_steps": 2},
    "smoothing alone, 5 Hz": COLD | {"smoothing.min_cutoff_hz": 5.0},
    "smoothing alone, 8 Hz": COLD | {"smoothing.min_cutoff_hz": 8.0},
    "defaults": {},
}
"""What is compared, as changes to the defaults."""


@dataclass(frozen=True)
class ClipsConfig:
    json: Path | None = None
    """Where to write the figures."""
    bundle: str = "default"
    body: str = "open"
    clips: Path = Path("../shared/data/mocap/seqs30_val.npz")
    """File with NAME_poses (T, 24, 3) and NAME_trans (T, 3) at 30 frames/s, as its README describes."""
    views: int = 2
    """People and cameras per clip."""
    limit: int = 0
    """Use only this many clips; 0: all."""
    seed: int = 0
    noise: NoiseConfig = field(default_factory=NoiseConfig)


def clips_of(config: ClipsConfig, body: BodyModel) -> Iterator[Clip]:
    arrays = BodyArrays.of(body)
    for number, motion in enumerate(list(read_clips(config.clips).values())[: config.limit or None]):
        for view in range(config.views):
            yield make_clip(*motion, arrays, config.noise, seed=1000 * config.seed + config.views * number + view)


def evaluate(config: ClipsConfig, variants: dict[str, dict] = VARIANTS) -> dict:
    """Figures by variant."""
    clips = list(clips_of(config, load_body(config.body)))
    base = PipelineConfig(model=ModelConfig(bundle=config.bundle, body=config.body, backend="onnxruntime"))
    replay = Replay(())
    pipeline = build_pipeline(base, source=replay)
    table = {}
    for name, changes in tqdm(variants.items(), desc="variants", disable=None):
        pipeline.update(replace(base, changes))
        table[name] = figures([run(pipeline, replay, clip) for clip in clips], [clip.joints for clip in clips])
        tqdm.write(f"{name}: {table[name]}")
    bundle = load_bundle(config.bundle)
    return {
        "variants": table,
        "clips": len(clips),
        "frames": sum(len(clip.joints) for clip in clips),
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "seed": config.seed,
        "noise": asdict(config.noise),
    }


def markdown(table: dict[str, dict[str, float]]) -> str:
    columns = list(next(iter(table.values())))
    rows = [f"| {name} | " + " | ".join(f"{row[c]:.1f}" for c in columns) + " |" for name, row in table.items()]
    return "\n".join(["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|", *rows])


def main(config: ClipsConfig) -> dict:
    torch.set_num_threads(1)
    result = evaluate(config)
    print(
        f"{result['clips']} clips, {result['frames']} frames, bundle {result['bundle']} {result['bundle_sha256'][:12]}\n"
    )
    print(markdown(result["variants"]))
    if config.json:
        config.json.write_text(json.dumps(result, indent=2) + "\n")
    return result


if __name__ == "__main__":
    with errors_in_one_line():
        main(tyro.cli(ClipsConfig))
