"""Accuracy of a bundle, run as it ships: `python -m training.evaluate --data mocap-val --json FILE`.

The bundle's graphs run on ONNX Runtime through the runtime's own regressor and optimisation loop, one person at a time as far
as results go (people in a batch never influence each other), with the shipped convergence criterion and no deadline.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import tyro
from tqdm import tqdm

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.bundle import Bundle, load_bundle
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig, ModelConfig, PipelineConfig, TtoConfig
from hmr_ros.factory import build_pipeline, load_model
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.metrics import mpjpe, pa_mpjpe, pve
from hmr_ros.regressor import Observation, Regressor, observe
from hmr_ros.tto import Optimiser
from hmr_ros.types import BodyPose, Frame, Keypoints
from training import detector_loop
from training.body import BodyArrays
from training.config import NoiseConfig
from training.synthesis import Poses, Synthesis

STEPS = (0, 1, 2, 5, 14)
CHUNK = 64
LIMBS = tuple(
    f"{side}_{part}" for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle") for side in ("left", "right")
)
EXACT = NoiseConfig(sigma=0, outliers=0, swaps=0, dropout=0, occlusion=0, truncation=0)


@dataclass(frozen=True)
class EvaluateConfig:
    data: Literal["mocap-val", "detector-loop", "pose2sim-cam1"] = "mocap-val"
    json: Path | None = None
    """Where to write the figures."""
    record: bool = False
    """Write the figures into the bundle's manifest too, and from them which prediction it returns when no step fits."""
    bundle: str = "default"
    body: str = "open"
    root: Path = Path("../shared/data")
    """Folder that holds `mocap/` and `pose2sim_cam1/`."""
    pairs: Path = Path("runs/loop_val.npz")
    """File of `training.detector_loop`, for --data detector-loop."""
    keypoints: Literal["detector-like", "exact"] = "detector-like"
    """2D source of mocap-val: with a detector's errors (`training.synthesis`), or the true projections."""
    limit: int = 0
    """Use this many frames only; 0: all."""
    seed: int = 0
    noise: NoiseConfig = field(default_factory=NoiseConfig)


def figures(errors: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean of each error, and the median of each."""
    means = {f"{name}_mm": round(float(values.mean()), 2) for name, values in errors.items()}
    return means | {f"{name}_median_mm": round(float(np.median(values)), 2) for name, values in errors.items()}


def evaluate_mocap(config: EvaluateConfig) -> dict:
    """Held-out motion capture under random bodies, cameras and detector-like noise."""
    body, bundle, _ = model = load_model(ModelConfig(bundle=config.bundle, body=config.body))
    poses = Poses(config.root / "mocap" / "poses_cmu_val.npz").rotvec[: config.limit or None]
    noise = EXACT if config.keypoints == "exact" else config.noise
    sample = Synthesis(BodyArrays.of(body), noise)(poses, torch.Generator().manual_seed(config.seed), augment=False)
    truth = BodyPose(*(a.numpy() for a in (sample.truth.rotmat, sample.truth.betas, sample.transl)))
    result = errors_by_steps(Observation(*(a.numpy() for a in sample.inputs)), truth, model)
    source = {"source_2d": f"synthetic, {config.keypoints}", "noise": asdict(noise)}
    return {**result, "frames": len(poses), **source, **provenance(config, bundle)}


def evaluate_pairs(config: EvaluateConfig) -> dict:
    """Rendered people whose keypoints the real detector found (`training.detector_loop`); those it missed do not count."""
    body, bundle, _ = model = load_model(ModelConfig(bundle=config.bundle, body=config.body))
    settings = KeypointsConfig()
    pairs = {name: array[: config.limit or None] for name, array in detector_loop.load(config.pairs).items()}
    usable = (pairs["confidence"] >= settings.min_confidence).sum(1) >= settings.min_keypoints
    found = pairs["found"].astype(bool) & usable
    rotmat, betas, transl, uv, confidence, world = (
        pairs[name][found] for name in ("rotmat", "betas", "transl", "uv", "confidence", "world")
    )
    confidence = np.where(confidence >= settings.min_confidence, confidence, 0)
    world = np.where(np.abs(world).sum(-1, keepdims=True) > 0, world, np.nan)
    ideal = Camera(np.eye(3), 1, 1)  # uv is in normalised image coordinates already
    seen = observe(Keypoints(uv, confidence, np.ones(len(uv), np.float32), world), ideal)
    result = errors_by_steps(seen, BodyPose(rotmat, betas, transl), model)
    source = {"source_2d": "BlazePose on renders (detected)", "missed": int((~found).sum())}
    return {**result, "frames": int(found.sum()), **source, **provenance(config, bundle)}


def errors_by_steps(seen: Observation, truth: BodyPose, model: tuple) -> dict:
    """MPJPE, PA-MPJPE, PVE and root translation error, by number of steps, and of the auxiliary prediction.

    Joints are SMPL's 24; MPJPE and PVE after moving both pelvises to the origin. model: as `factory.load_model` returns it.
    """
    body, bundle, graphs = model
    regressor = Regressor(graphs["encode"], graphs["regress"], bundle.loss_weights)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    errors: dict[str, dict[str, list]] = {}
    for start in tqdm(range(0, len(truth), CHUNK), desc="people", unit=f"x{CHUNK}", mininterval=2):
        part = slice(start, start + CHUNK)
        regression = regressor(Observation(*(array[part] for array in vars(seen).values())))
        answers = {str(s): optimiser(regression, TtoConfig(max_steps=s)).pose for s in STEPS}
        true = points_of(body, truth[part])
        for name, pose in (answers | {"auxiliary": regression.auxiliary}).items():
            for metric, values in body_errors(points_of(body, pose), true).items():
                errors.setdefault(name, {}).setdefault(metric, []).append(values)
    table = {name: figures({m: np.concatenate(v) for m, v in by.items()}) for name, by in errors.items()}
    return {"steps": {str(s): table[str(s)] for s in STEPS}, "auxiliary": table["auxiliary"]}


def points_of(body: BodyModel, pose: BodyPose) -> tuple[np.ndarray, np.ndarray]:
    """Joints (N, 24, 3) and vertices (N, 6890, 3), metres."""
    parameters = (pose.rotmat, pose.betas, pose.transl)
    return body.joints(*parameters)[0], body.vertices(*parameters)


def body_errors(found: tuple[np.ndarray, np.ndarray], true: tuple[np.ndarray, np.ndarray]) -> dict[str, np.ndarray]:
    """Errors of N people, mm, (N,) each. found, true: as `points_of` returns them."""
    (joints, vertices), (true_joints, true_vertices) = found, true
    return {
        "mpjpe": mpjpe(joints, true_joints),
        "pa_mpjpe": pa_mpjpe(joints, true_joints),
        "pve": pve(vertices, true_vertices, joints[:, 0], true_joints[:, 0]),
        "root_translation": 1000 * np.linalg.norm(joints[:, 0] - true_joints[:, 0], axis=-1),
    }


class Replay:
    """Keypoints detected once, handed out again frame by frame: a KeypointSource."""

    def __init__(self, detections: Iterable[Keypoints]):
        self.config = None
        self.play(detections)

    def play(self, detections: Iterable[Keypoints]) -> None:
        """Go on with these."""
        self._detections = iter(detections)

    def detect(self, frame: Frame) -> Keypoints:
        return next(self._detections)

    def reset(self) -> None:
        pass


def evaluate_pose2sim(config: EvaluateConfig) -> dict:
    """A real man before a calibrated camera: 12 limb joints, detected keypoints, the whole pipeline, against its detector's
    own 3D (BlazePose world landmarks) on the same frames."""
    frames, truth = read_pose2sim(config.root / "pose2sim_cam1", config.limit)
    detector = BlazePose(PipelineConfig().keypoints)
    detections, worlds = [], []
    for frame in tqdm(frames, desc="BlazePose", unit="frame"):
        seen, world = detector.detect_with_world(frame)
        detections.append(seen[:1])
        worlds.append(skeleton.from_blazepose(world[0]) if len(world) else np.full((23, 3), np.nan, np.float32))
    limbs = [skeleton.KEYPOINT_NAMES.index(name) for name in LIMBS]
    found = np.array([len(d) > 0 for d in detections])
    peer = np.stack(worlds)[:, limbs]
    table = {}
    for steps in STEPS:
        settings = PipelineConfig(
            model=ModelConfig(bundle=config.bundle, body=config.body), tto=TtoConfig(max_steps=steps)
        )
        pipeline = build_pipeline(settings, source=Replay(detections))
        points = np.full((len(frames), 23, 3), np.nan, np.float32)
        for i, frame in enumerate(frames):
            for person in pipeline(frame).people[:1]:
                fitted = (person.rotmat[None], person.betas[None], person.transl[None])
                points[i] = pipeline.body.keypoints(*fitted)[0]
        table[str(steps)] = limb_figures(points[:, limbs], truth, found)
    return {
        "steps": table,
        "peer": {"name": "BlazePose world landmarks", **limb_figures(peer, truth, found)},
        "frames": len(frames),
        "frames_with_person": int(found.sum()),
        "joints": LIMBS,
        "source_2d": "BlazePose (detected)",
        **provenance(config, load_model(settings.model)[1]),
    }


def limb_figures(points: np.ndarray, truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """MPJPE with the mid-hip as root, and PA-MPJPE, over frames where the person was found and every joint is known."""
    usable = found & np.isfinite(points).all((1, 2)) & np.isfinite(truth).all((1, 2))
    hips = [LIMBS.index("left_hip"), LIMBS.index("right_hip")]
    points, truth = points[usable], truth[usable]
    rooted = [x - x[:, hips].mean(axis=1, keepdims=True) for x in (points, truth)]
    return figures({"mpjpe": mpjpe(*rooted, root=None), "pa_mpjpe": pa_mpjpe(points, truth)}) | {
        "frames": int(usable.sum())
    }


def read_pose2sim(folder: Path, limit: int = 0) -> tuple[list[Frame], np.ndarray]:
    """Frames of the clip with their camera, and the limbs' true positions (T, 12, 3), metres, optical frame."""
    import cv2

    data = np.load(folder / "pose2sim_cam1.npz")
    video = cv2.VideoCapture(str(folder / "cam01.mp4"))
    images = []
    while (read := video.read())[0]:
        images.append(cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB))
    if len(images) != len(data["joints3d_cam"]):
        raise ValueError(f"{folder}: {len(images)} images for {len(data['joints3d_cam'])} frames of truth")
    names = list(data["joint_names"])
    order = [names.index(("L" if n.startswith("left") else "R") + n.split("_")[1].capitalize()) for n in LIMBS]
    camera = Camera(data["K"], images[0].shape[1], images[0].shape[0], D=data["dist"])
    period_ns = int(1e9 / int(data["fps"]))
    frames = [Frame(image, camera, i * period_ns, "cam01") for i, image in enumerate(images)]
    return frames[: limit or None], data["joints3d_cam"][: limit or None, order]


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
    """Add the figures to the bundle's manifest, which no digest covers."""
    name = f"{result['data']}, {result['source_2d']}"
    metrics = {
        **bundle.manifest["metrics"],
        name: {k: result[k] for k in ("steps", "auxiliary", "peer") if k in result},
    }
    manifest = {**bundle.manifest, "metrics": metrics}
    if "auxiliary" in result and "detector-like" in result["source_2d"]:
        better = result["auxiliary"]["mpjpe_mm"] < result["steps"]["0"]["mpjpe_mm"]
        manifest["without_steps"] = "auxiliary" if better else "regressor"
    (bundle.path / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")


def markdown(result: dict) -> str:
    """The figures as a table, one row per number of steps."""
    columns = [c for c in next(iter(result["steps"].values())) if c.endswith("_mm")]
    lines = [
        "| TTO steps | " + " | ".join(c.removesuffix("_mm") for c in columns) + " |",
        "|---" * (len(columns) + 1) + "|",
    ]
    rows = dict(result["steps"]) | {k: result[k] for k in ("auxiliary", "peer") if k in result}
    for name, row in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{row[c]:.1f}" if c in row else "" for c in columns) + " |")
    return "\n".join(lines)


def main(config: EvaluateConfig) -> dict:
    torch.set_num_threads(1)
    protocols = {"mocap-val": evaluate_mocap, "detector-loop": evaluate_pairs, "pose2sim-cam1": evaluate_pose2sim}
    result = protocols[config.data](config)
    print(f"{result['data']}: {result['frames']} frames, 2D: {result['source_2d']}, bundle {result['bundle']}; mm\n")
    print(markdown(result))
    if config.json:
        config.json.write_text(json.dumps(result, indent=2) + "\n")
    if config.record:
        record(load_bundle(config.bundle), result)
    return result


if __name__ == "__main__":
    main(tyro.cli(EvaluateConfig))
