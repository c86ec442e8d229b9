"""One frame through all stages: detect, track, regress, optimise, smooth. The only file that knows this order."""

from __future__ import annotations

import dataclasses
import time
from contextlib import contextmanager

import numpy as np

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.camera import Camera
from hmr_ros.config import PipelineConfig
from hmr_ros.crop import BOX_MARGIN, keypoint_box
from hmr_ros.keypoints.flips import FlipRepair
from hmr_ros.keypoints.source import KeypointSource
from hmr_ros.latency_estimate import LatencyEstimate
from hmr_ros.metric_depth import MetricDepth
from hmr_ros.regressor import Regressor
from hmr_ros.smoothing import Smoother
from hmr_ros.tracker import Tracker
from hmr_ros.tto import Fit, Optimiser
from hmr_ros.types import BodyPose, Frame, FrameResult, Keypoints, Person
from hmr_ros.warm_start import WarmStart

RESIDUAL_SCALE = 0.1
"""In box sizes: a keypoint that the fitted body misses by this much loses 63 % of its confidence."""


class Pipeline:
    """Camera frames in, people out. Stages are made by `factory.build_pipeline`."""

    def __init__(
        self, config: PipelineConfig, body: BodyModel, source: KeypointSource, tracker: Tracker, flips: FlipRepair, regressor: Regressor,
        optimiser: Optimiser, warm_start: WarmStart, metric_depth: MetricDepth, smoother: Smoother, description: dict,
    ):  # fmt: skip
        self.body = body
        self._config = config
        self._source, self._tracker, self._flips, self._regressor = source, tracker, flips, regressor
        self._optimiser, self._warm_start, self._smoother = optimiser, warm_start, smoother
        self._metric_depth = metric_depth
        self._description = description
        self._after_tto = LatencyEstimate()

    def __call__(self, frame: Frame, deadline_s: float | None = None) -> FrameResult:
        """Everyone in `frame`. deadline_s: on the clock of time.monotonic(); optimisation stops early enough for the whole call to end by then."""
        clock = StageClock()
        with clock("detect"):
            seen = self._source.detect(frame)
            seen = dataclasses.replace(seen, confidence=seen.confidence * frame.camera.has_ray(seen.uv))
            seen = seen[(seen.confidence > 0).sum(axis=1) >= self._config.keypoints.min_keypoints]
        with clock("track"):
            ids = self._tracker.update(seen, frame.stamp_ns)
            stamp_ns = self._tracker.stamp_ns
            for stage in (self._flips, self._warm_start, self._smoother):
                stage.forget(self._tracker.lost_ids)
            seen, ids = seen[ids >= 0], ids[ids >= 0]
            if self._config.keypoints.repair_flips:
                seen = self._flips(ids, seen, stamp_ns)
        if not len(seen):
            return FrameResult((), None, clock.elapsed_ms)
        with clock("regress"):
            regression = self._regressor.look(seen, frame)
        with clock("tto"):
            warm = None  # without steps, the warm start itself would be the result
            if self._config.tto.max_steps:
                warm = self._warm_start.recall(ids, regression.state, stamp_ns)
            stop_s = None if deadline_s is None else deadline_s - self._after_tto.expect(len(ids))
            fit = self._optimiser(regression, self._config.tto, stop_s, warm)
            self._warm_start.remember(ids, fit.state, stamp_ns)
        with clock("smooth"):
            pose, measured = self._metric_depth(fit.pose, seen, frame)
            smooth = self._smoother(ids, pose.rotmat, pose.betas, pose.transl, stamp_ns)
        with clock("readout"):
            people = self._people(frame, seen, ids, fit, smooth, measured)
        self._after_tto.learn(len(ids), 1e-3 * (clock.elapsed_ms["smooth"] + clock.elapsed_ms["readout"]))
        return FrameResult(people, fit.report, clock.elapsed_ms)

    def _people(self, frame: Frame, seen: Keypoints, ids: np.ndarray, fit: Fit, smooth, measured) -> tuple[Person, ...]:
        pose = BodyPose(smooth.rotmat, smooth.betas, smooth.transl)
        joints, joint_rotmat = self.body.joints(pose.rotmat, pose.betas, pose.transl)
        before, after, published = self._keypoints_px(frame.camera, fit.before, fit.pose, pose)
        confidence = joint_confidence(seen, published, frame.camera.project(joints), frame.camera)
        if measured.any():
            # Depth moves people without resizing them: if their size was misjudged, they no longer cover what was seen. The uncorrected fit does.
            fitted = self.body.joints(fit.pose.rotmat, fit.pose.betas, fit.pose.transl)[0]
            as_fitted = joint_confidence(seen, after, frame.camera.project(fitted), frame.camera)
            confidence[measured] = as_fitted[measured]
        return tuple(
            Person(
                id=int(ids[i]),
                score=float(seen.score[i]),
                rotmat=pose.rotmat[i],
                betas=pose.betas[i],
                transl=pose.transl[i],
                joints=joints[i],
                joint_confidence=confidence[i],
                joint_rotmat=joint_rotmat[i],
                keypoints_uv=seen.uv[i],
                keypoint_confidence=seen.confidence[i],
                reprojection_px=published[i],
                reprojection_px_before=before[i],
                reprojection_px_after=after[i],
                angular_velocity=smooth.angular_velocity[i],
                linear_velocity=smooth.linear_velocity[i],
                loss_before=float(fit.report.loss_before[i]),
                loss_after=float(fit.report.loss_after[i]),
                steps=int(fit.steps[i]),
                distance_measured=bool(measured[i]),
            )
            for i in range(len(ids))
        )

    def _keypoints_px(self, camera: Camera, *poses: BodyPose) -> np.ndarray:
        """Where the keypoints of each pose's N people fall in the image, (len(poses), N, 23, 2) pixels."""
        joined = (np.concatenate([getattr(p, name) for p in poses]) for name in ("rotmat", "betas", "transl"))
        xyz = self.body.keypoints(*joined)
        return camera.project(xyz).reshape(len(poses), -1, skeleton.NUM_KEYPOINTS, 2)

    def update(self, config: PipelineConfig) -> None:
        """Take over settings that may change while running; takes effect with the next frame."""
        self._config = config
        self._source.config = config.keypoints
        self._warm_start.config = config.warm_start
        self._tracker.config = config.tracker
        self._smoother.config = config.smoothing

    def describe(self) -> dict:
        """What runs here: bundle, sha256, shape space, backend, keypoint source."""
        return dict(self._description)

    def reset(self) -> None:
        """Forget every person; ids start over."""
        for stage in (self._source, self._tracker, self._flips, self._warm_start, self._smoother):
            stage.reset()


def joint_confidence(seen: Keypoints, keypoints_px: np.ndarray, joints_px: np.ndarray, camera: Camera) -> np.ndarray:
    """(N, 24): the detector's confidence in the keypoints near each joint, reduced where the body misses them; 0 outside the image.

    keypoints_px: (N, 23, 2) and joints_px: (N, 24, 2), where the body's own keypoints and joints project to in the image.
    """
    size = keypoint_box(seen.uv, seen.confidence)[1] / BOX_MARGIN
    off_px = np.where(seen.confidence[..., None] > 0, keypoints_px - seen.uv, 0)
    residual = np.linalg.norm(off_px, axis=-1) / np.maximum(size, 1)[:, None]
    trusted = seen.confidence * np.exp(-((residual / RESIDUAL_SCALE) ** 2))
    inside = ((joints_px >= -0.5) & (joints_px < np.array([camera.width, camera.height]) - 0.5)).all(axis=-1)
    return np.where(inside, trusted @ skeleton.JOINT_CONFIDENCE.T, 0).astype(np.float32)


class StageClock:
    """Wall time by stage, milliseconds."""

    def __init__(self):
        self.elapsed_ms: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str):
        began = time.perf_counter()
        try:
            yield
        finally:
            self.elapsed_ms[stage] = 1000 * (time.perf_counter() - began)
