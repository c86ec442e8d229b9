"""Evaluate on a real man in front of a calibrated camera: `python -m training.evaluate --data pose2sim-cam1`.

The pose2sim demo clip: 100 frames, the limbs' positions triangulated from four cameras.
"""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hmr_ros import skeleton
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig, ModelConfig, PipelineConfig, TtoConfig
from hmr_ros.factory import build_pipeline, load_model
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.metrics import mpjpe, pa_mpjpe
from hmr_ros.skeleton import LIMBS
from hmr_ros.types import Frame, Keypoints
from training.evaluate import (
    CASES,
    LOOKED_AT,
    STEPS,
    EvaluateConfig,
    Evaluation,
    Replay,
    figures,
    per_joint,
    provenance,
)
from training.evaluate_report import Case


def evaluate_clip(config: EvaluateConfig) -> Evaluation:
    """Evaluate the whole pipeline on the clip: 12 limb joints, detected keypoints, compared with the detector's own 3D
    (BlazePose world landmarks) on the same frames."""
    frames, truth = read_pose2sim(config.root / "pose2sim_cam1", config.limit)
    settings = KeypointsConfig(landmarks=config.landmarks)
    detector, plain = BlazePose(settings), BlazePose(replace(settings, flip_test=False))
    detections, worlds = [], []
    for frame in tqdm(frames, desc="BlazePose", unit="frame"):
        detections.append(detector.detect(frame)[:1])
        _, world = plain.detect_with_world(frame)
        worlds.append(skeleton.from_blazepose(world[0]) if len(world) else np.full((23, 3), np.nan, np.float32))
    limbs = [skeleton.KEYPOINT_NAMES.index(name) for name in LIMBS]
    found = np.array([len(d) > 0 for d in detections])
    peer = np.stack(worlds)[:, limbs]
    table, joints, clock, worst = {}, {}, {}, []
    for steps in STEPS:
        settings = PipelineConfig(
            model=ModelConfig(bundle=config.bundle, body=config.body, backend="onnxruntime"),
            tto=TtoConfig(max_steps=steps),
        )
        pipeline = build_pipeline(settings, source=Replay(detections))
        points, seconds = np.full((len(frames), 23, 3), np.nan, np.float32), []
        for i, frame in enumerate(frames):
            began = time.perf_counter()
            people = pipeline(frame).people[:1]
            seconds.append(time.perf_counter() - began)
            for person in people:
                fitted = (person.rotmat[None], person.betas[None], person.transl[None])
                points[i] = pipeline.body.keypoints(*fitted)[0]
        name, usable = str(steps), usable_frames(points[:, limbs], truth, found)
        table[name] = limb_figures(points[:, limbs], truth, found)
        joints[name] = 1000 * np.linalg.norm(
            np.subtract(*rooted_limbs(points[usable][:, limbs], truth[usable])), axis=-1
        ).mean(0)
        clock[name] = round(1000 * float(np.median(seconds)), 3)
        if name == LOOKED_AT:
            worst = worst_frames(frames, detections, points, truth, np.flatnonzero(usable))
    result = {
        "steps": table,
        "per_joint": per_joint(LIMBS, joints),
        "milliseconds": clock,
        "peer": {"name": f"BlazePose {config.landmarks}'s world landmarks", **limb_figures(peer, truth, found)},
        "frames": len(frames),
        "frames_with_person": int(found.sum()),
        "joints": LIMBS,
        "source_2d": f"BlazePose {config.landmarks} (detected)",
        **provenance(config, load_model(settings.model)[1]),
    }
    return Evaluation(result, worst)


def worst_frames(
    frames: list[Frame], detections: list[Keypoints], points: np.ndarray, truth: np.ndarray, usable: np.ndarray
) -> list[Case]:
    """The usable frames with the largest MPJPE, with their pictures. points: (T, 23, 3)."""
    limbs = [skeleton.KEYPOINT_NAMES.index(name) for name in LIMBS]
    rooted = rooted_limbs(points[usable][:, limbs], truth[usable])
    errors = mpjpe(*rooted, root=None)
    cases = []
    for k in np.argsort(-errors)[:CASES]:
        i = usable[k]
        frame, seen = frames[i], detections[i]
        uv = frame.camera.project(points[i])
        known = np.concatenate([uv, seen.uv[0][seen.confidence[0] > 0]])
        low = np.maximum(known.min(0) - 30, 0).astype(int)
        high = np.minimum(known.max(0) + 30, frame.image.shape[1::-1]).astype(int)
        crop = frame.image[low[1] : high[1], low[0] : high[0]]
        drawn = (seen.uv[0] - low, seen.confidence[0], uv - low, rooted[0][k], rooted[1][k])
        cases.append(Case(f"frame {i}", float(errors[k]), *drawn, names=LIMBS, image=crop))
    return cases


def usable_frames(points: np.ndarray, truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """(T,) bool: where the person was found and every joint is known."""
    return found & np.isfinite(points).all((1, 2)) & np.isfinite(truth).all((1, 2))


def rooted_limbs(*points: np.ndarray) -> list[np.ndarray]:
    """Each (T, 12, 3), relative to the hips' centre."""
    hips = [LIMBS.index("left_hip"), LIMBS.index("right_hip")]
    return [x - x[:, hips].mean(axis=1, keepdims=True) for x in points]


def limb_figures(points: np.ndarray, truth: np.ndarray, found: np.ndarray) -> dict[str, float]:
    """MPJPE with the mid-hip as root, and PA-MPJPE, over frames where the person was found and every joint is known."""
    usable = usable_frames(points, truth, found)
    points, truth = points[usable], truth[usable]
    return figures({"mpjpe": mpjpe(*rooted_limbs(points, truth), root=None), "pa_mpjpe": pa_mpjpe(points, truth)}) | {
        "frames": int(usable.sum())
    }


def read_pose2sim(folder: Path, limit: int = 0) -> tuple[list[Frame], np.ndarray]:
    """Frames of the clip with their camera, and the limbs' true positions (T, 12, 3), metres, optical frame."""
    import cv2

    if not (folder / "pose2sim_cam1.npz").is_file():
        raise FileNotFoundError(f"no clip in {folder.resolve()}: give --root the folder that holds pose2sim_cam1/")
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
