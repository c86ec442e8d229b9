"""Accuracy of a bundle, run as it ships: `python -m training.evaluate --data mocap-val --json FILE`.

The bundle's graphs run on ONNX Runtime through the runtime's own regressor and optimisation loop, with the shipped
convergence criterion and no deadline. Results are as for one person at a time: people in a batch never influence each other.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
import tyro
from tqdm import tqdm

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.bundle import Bundle, load_bundle
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig, ModelConfig, TtoConfig
from hmr_ros.factory import load_model, make_regressor
from hmr_ros.metrics import mpjpe, pa_mpjpe, pve
from hmr_ros.regressor import Observation, Regressor, observe
from hmr_ros.tto import Optimiser
from hmr_ros.types import BodyPose, Frame, Keypoints
from training import detector_loop
from training.body import BodyArrays
from training.command import errors_in_one_line
from training.config import NoiseConfig
from training.datasets.protocols import PROTOCOLS
from training.evaluate_report import Case, draw_plot, draw_worst, frames, markdown
from training.synthesis import Poses, Synthesis

STEPS = (0, 1, 2, 5, 14)
CHUNK = 64
LOOKED_AT = "5"
"""Steps after which the worst cases are drawn."""
CASES = 12
TIMED = 40
"""People on whom time is measured."""
EXACT = NoiseConfig(sigma=0, outliers=0, swaps=0, dropout=0, occlusion=0, truncation=0)


@dataclass(frozen=True)
class EvaluateConfig:
    data: Literal[("mocap-val", "detector-loop", "pose2sim-cam1", *PROTOCOLS)] = "mocap-val"
    json: Path | None = None
    """Where to write the figures."""
    plot: Path | None = None
    """Where to draw them (PNG)."""
    worst: Path | None = None
    """Where to draw the people with the largest errors (PNG)."""
    pve_unaligned: bool = False
    """Also report vertex errors without aligning the pelvises, as in the published evaluation of Nie et al. 2024: of bodies
    posed at the model's own origin."""
    record: bool = False
    """Also write the figures into the bundle's manifest."""
    bundle: str = "default"
    body: str = "open"
    root: Path = Path("../shared/data")
    """Folder that holds `mocap/` and `pose2sim_cam1/`; for a benchmark: the file that `training.prepare` made of it."""
    images: Path | None = None
    """The folder that a benchmark's image paths are relative to: for bundles that read images."""
    h36m_regressor: Path | None = None
    """Your J_regressor_h36m.npy, for the benchmarks that regress their joints with it."""
    smpl: Path | None = None
    """Folder of your SMPL_FEMALE, SMPL_MALE and SMPL_NEUTRAL, for the benchmarks whose ground truth is SMPL bodies."""
    pairs: Path = Path("runs/loop_val.npz")
    """File of `training.detector_loop`, for --data detector-loop."""
    keypoints: Literal["detector-like", "exact"] = "detector-like"
    """2D keypoints of mocap-val and the benchmarks: with a detector's errors (`training.synthesis`; in benchmarks, detected), or ground truth."""
    landmarks: Literal["lite", "full", "heavy"] = "full"
    """BlazePose's landmark model, for pose2sim-cam1."""
    limit: int = 0
    """Use only this many frames; 0: all."""
    seed: int = 0
    noise: NoiseConfig = field(default_factory=NoiseConfig)


def figures(errors: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean of each error, and the median of each."""
    means = {f"{name}_mm": round(float(values.mean()), 2) for name, values in errors.items()}
    return means | {f"{name}_median_mm": round(float(np.median(values)), 2) for name, values in errors.items()}


class Evaluation(NamedTuple):
    figures: dict
    """As written to JSON."""
    worst: list[Case]
    """The largest errors first."""


def evaluate_mocap(config: EvaluateConfig) -> Evaluation:
    """Held-out motion capture under random bodies, cameras and detector-like noise."""
    body, bundle, _ = model = load_model(ModelConfig(bundle=config.bundle, body=config.body, backend="onnxruntime"))
    poses = Poses(config.root / "mocap" / "poses_cmu_val.npz").rotvec[: config.limit or None]
    noise = EXACT if config.keypoints == "exact" else config.noise
    sample = Synthesis(BodyArrays.of(body), noise)(poses, torch.Generator().manual_seed(config.seed), augment=False)
    truth = BodyPose(*(a.numpy() for a in (sample.truth.rotmat, sample.truth.betas, sample.transl)))
    result, worst = errors_by_steps(
        Observation(*(a.numpy() for a in sample.inputs)), truth, model, config.pve_unaligned
    )
    source = {"source_2d": f"synthetic, {config.keypoints}", "noise": asdict(noise)}
    return Evaluation({**result, "frames": len(poses), **source, **provenance(config, bundle)}, worst)


def evaluate_pairs(config: EvaluateConfig) -> Evaluation:
    """Rendered people whose keypoints the real detector found (`training.detector_loop`); those it missed do not count."""
    body, bundle, _ = model = load_model(ModelConfig(bundle=config.bundle, body=config.body, backend="onnxruntime"))
    settings = KeypointsConfig()
    pairs = detector_loop.load(config.pairs, body.shape_space)
    pairs = {name: array[: config.limit or None] for name, array in pairs.items()}
    usable = (pairs["confidence"] >= settings.min_confidence).sum(1) >= settings.min_keypoints
    found = pairs["found"].astype(bool) & usable
    rotmat, betas, transl, uv, confidence, world = (
        pairs[name][found] for name in ("rotmat", "betas", "transl", "uv", "confidence", "world")
    )
    confidence = np.where(confidence >= settings.min_confidence, confidence, 0)
    world = np.where(np.abs(world).sum(-1, keepdims=True) > 0, world, np.nan)
    ideal = Camera(np.eye(3), 1, 1)  # uv is in normalised image coordinates already
    seen = observe(Keypoints(uv, confidence, np.ones(len(uv), np.float32), world), ideal)
    result, worst = errors_by_steps(seen, BodyPose(rotmat, betas, transl), model, config.pve_unaligned)
    source = {"source_2d": "BlazePose on renders (detected)", "missed": int((~found).sum())}
    return Evaluation({**result, "frames": int(found.sum()), **source, **provenance(config, bundle)}, worst)


def errors_by_steps(seen: Observation, truth: BodyPose, model: tuple, pve_unaligned: bool = False) -> Evaluation:
    """MPJPE, PA-MPJPE, PVE and root translation error, by number of steps, and of the auxiliary prediction; joint by joint; and time.

    Joints are SMPL's 24; MPJPE and PVE after moving both pelvises to the origin. model: as `factory.load_model` returns it.
    """
    body, bundle, graphs = model
    regressor = make_regressor(bundle, graphs)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    errors: dict[str, dict[str, list]] = {}
    poses: list[BodyPose] = []
    for start in tqdm(range(0, len(truth), CHUNK), desc="people", unit=f"x{CHUNK}", mininterval=2):
        part = slice(start, start + CHUNK)
        regression = regressor(rows(seen, part))
        answers = {str(s): optimiser(regression, TtoConfig(max_steps=s)).pose for s in STEPS}
        poses.append(answers[LOOKED_AT])
        true = points_of(body, truth[part])
        for name, pose in (answers | {"auxiliary": regression.auxiliary}).items():
            for metric, values in body_errors(points_of(body, pose), true, pve_unaligned).items():
                errors.setdefault(name, {}).setdefault(metric, []).append(values)
    whole = {name: {m: np.concatenate(v) for m, v in by.items()} for name, by in errors.items()}
    joints = {name: by.pop("joints").mean(0) for name, by in whole.items()}
    table = {name: figures(by) for name, by in whole.items()}
    result = {
        "steps": {str(s): table[str(s)] for s in STEPS},
        "auxiliary": table["auxiliary"],
        "per_joint": per_joint(skeleton.JOINT_NAMES, {str(s): joints[str(s)] for s in STEPS}),
        "milliseconds": milliseconds(seen, regressor, optimiser),
    }
    fitted = BodyPose(
        *(np.concatenate([getattr(pose, name) for pose in poses]) for name in ("rotmat", "betas", "transl"))
    )
    return Evaluation(result, worst_bodies(body, seen, fitted, truth, whole[LOOKED_AT]["mpjpe"]))


def rows(seen: Observation, part: slice | np.ndarray) -> Observation:
    """The observation of some of the people."""
    return Observation(*(array[part] for array in vars(seen).values()))


class Points(NamedTuple):
    """N posed bodies, metres."""

    joints: np.ndarray
    """(N, 24, 3)."""
    vertices: np.ndarray
    """(N, 6890, 3)."""
    transl: np.ndarray
    """(N, 3): where the model's origin is."""


def points_of(body: BodyModel, pose: BodyPose) -> Points:
    parameters = (pose.rotmat, pose.betas, pose.transl)
    return Points(body.joints(*parameters)[0], body.vertices(*parameters), pose.transl)


def body_errors(found: Points, true: Points, pve_unaligned: bool) -> dict[str, np.ndarray]:
    """Errors of N people, mm, (N,) each, and "joints" (N, 24)."""
    rooted = (found.joints - found.joints[:, :1]) - (true.joints - true.joints[:, :1])
    errors = {
        "mpjpe": mpjpe(found.joints, true.joints),
        "pa_mpjpe": pa_mpjpe(found.joints, true.joints),
        "pve": pve(found.vertices, true.vertices, found.joints[:, 0], true.joints[:, 0]),
    }
    if pve_unaligned:
        errors["pve_unaligned"] = pve(found.vertices, true.vertices, found.transl, true.transl)
    errors["root_translation"] = 1000 * np.linalg.norm(found.joints[:, 0] - true.joints[:, 0], axis=-1)
    return errors | {"joints": 1000 * np.linalg.norm(rooted, axis=-1)}


def per_joint(names: Iterable[str], errors: dict[str, np.ndarray]) -> dict[str, dict[str, float]]:
    """Errors by joint, then by steps. errors: by steps, (J,) mm."""
    return {name: {step: round(float(by[j]), 1) for step, by in errors.items()} for j, name in enumerate(names)}


def milliseconds(
    seen: Observation, regressor: Regressor, optimiser: Optimiser, show: Callable[[int], Frame | None] = lambda i: None
) -> dict[str, float]:
    """Median time for one person alone, from keypoints to the result, by maximum number of steps; each number in turn on every person.

    show: returns a person's frame, if the encoder reads images.
    """
    seconds: dict[str, list[float]] = {str(s): [] for s in STEPS}
    for i in range(min(TIMED, len(seen.keypoints))):
        frame = show(i)
        for steps in STEPS:
            began = time.perf_counter()
            optimiser(regressor(rows(seen, slice(i, i + 1)), frame), TtoConfig(max_steps=steps))
            seconds[str(steps)].append(time.perf_counter() - began)
    return {name: round(1000 * float(np.median(values)), 3) for name, values in seconds.items()}


def worst_bodies(
    body: BodyModel, seen: Observation, fitted: BodyPose, truth: BodyPose, errors: np.ndarray
) -> list[Case]:
    """The people with the largest errors (N,), mm, as cases to draw."""
    order = np.argsort(-errors)[:CASES]
    found, true = (body.keypoints(p.rotmat[order], p.betas[order], p.transl[order]) for p in (fitted, truth))
    center, half = seen.bbox_info[order, None, :2], seen.bbox_info[order, None, 2:] / 2
    uv = (found[..., :2] / np.maximum(found[..., 2:], 0.1) - center) / half
    roots = [points - pose.transl[order, None] for points, pose in ((found, fitted), (true, truth))]
    return [
        Case(f"person {i}", float(errors[i]), seen.keypoints[i], seen.confidence[i], *drawn)
        for i, *drawn in zip(order, uv, *roots)
    ]


class Replay:
    """A KeypointSource that replays earlier detections, frame by frame."""

    def __init__(self, detections: Iterable[Keypoints]):
        self.config = None
        self.play(detections)

    def play(self, detections: Iterable[Keypoints]) -> None:
        """Continue with these detections."""
        self._detections = iter(detections)

    def detect(self, frame: Frame) -> Keypoints:
        return next(self._detections)

    def reset(self) -> None:
        pass


def evaluate_pose2sim(config: EvaluateConfig) -> Evaluation:
    """The calibrated clip."""
    from training import evaluate_pose2sim  # not at the top: it imports this file

    return evaluate_pose2sim.evaluate_clip(config)


def evaluate_published(config: EvaluateConfig) -> Evaluation:
    """One of `training.datasets.protocols`."""
    from training.evaluate_benchmark import evaluate_benchmark  # not at the top: it imports this file

    return evaluate_benchmark(config)


def provenance(config: EvaluateConfig, bundle: Bundle) -> dict:
    return {
        "data": config.data,
        "bundle": bundle.name,
        "bundle_sha256": bundle.sha256,
        "backend": "onnxruntime",
        "batch": 1,
        "seed": config.seed,
        "machine": f"{platform.machine()}, {platform.python_version()}",
    }


def record(bundle: Bundle, result: dict) -> None:
    """Add the figures to the bundle's manifest; no digest covers the manifest itself."""
    name = f"{result['data']}, {result['source_2d']}"
    metrics = {
        **bundle.manifest["metrics"],
        name: {k: result[k] for k in ("steps", "auxiliary", "peer") if k in result},
    }
    manifest = {**bundle.manifest, "metrics": metrics}
    (bundle.path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def main(config: EvaluateConfig) -> dict:
    torch.set_num_threads(1)
    protocols = {"mocap-val": evaluate_mocap, "detector-loop": evaluate_pairs, "pose2sim-cam1": evaluate_pose2sim}
    result, worst = protocols.get(config.data, evaluate_published)(config)
    print(f"{result['data']}: {frames(result)}, 2D: {result['source_2d']}, bundle {result['bundle']}; mm\n")
    print(markdown(result))
    if config.json:
        config.json.write_text(json.dumps(result, indent=2) + "\n")
    if config.plot:
        draw_plot(result, config.plot)
    if config.worst:
        draw_worst(worst, config.worst)
    if config.record:
        record(load_bundle(config.bundle), result)
    return result


if __name__ == "__main__":
    with errors_in_one_line():
        main(tyro.cli(EvaluateConfig))
