"""The people of the study, as tensors: held-out motion capture, rendered people detected by BlazePose, a real man on video."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hmr_ros import skeleton
from hmr_ros.config import KeypointsConfig
from hmr_ros.keypoints.blazepose import BlazePose
from hmr_ros.metrics import mpjpe
from hmr_ros.regressor import observe
from hmr_ros.smpl_file import load_body
from training.body import BodyArrays
from training.config import NoiseConfig
from training.evaluate_pose2sim import read_pose2sim, rooted_limbs
from training.model import Prediction
from training.pairs import Pairs
from training.synthesis import Poses, Sample, Synthesis


@dataclass(frozen=True)
class StudyData:
    """N people as seen by a detector, and their true joints."""

    inputs: tuple[Tensor, ...]
    """What `MetaHmr.encode` takes, (N, ...) each."""
    truth: np.ndarray
    """(N, J, 3) metres: the 24 joints, or the limbs' keypoints of `skeleton.LIMBS`."""
    limbs: bool = False

    def points(self, prediction: Prediction) -> np.ndarray:
        """(B, J, 3): the points of a prediction that are compared with the truth."""
        if not self.limbs:
            return prediction.joints.numpy()
        return prediction.keypoints.numpy()[:, [skeleton.KEYPOINT_NAMES.index(name) for name in skeleton.LIMBS]]

    def rooted_error(self, points: np.ndarray, truth: np.ndarray) -> np.ndarray:
        """(B,) mm: MPJPE with the pelvis as root, or the hips' centre where there is no pelvis."""
        return mpjpe(*rooted_limbs(points, truth), root=None) if self.limbs else mpjpe(points, truth)

    @staticmethod
    def mocap(root: Path, body: BodyArrays, noise: NoiseConfig, people: int) -> dict[str, StudyData]:
        """Held-out people, the same without the detector's 3D, and people to choose learning rates on."""
        synthesis = Synthesis(body, noise)
        data = {}
        for name, split, count in (("mocap", "val", people), ("train", "train", 512)):
            poses, rng = Poses(root / "mocap" / f"poses_cmu_{split}.npz"), torch.Generator().manual_seed(7)
            pick = torch.randperm(len(poses), generator=rng)[:count]
            data[name] = StudyData.of(synthesis(poses.rotvec[pick], rng, augment=False))
        return data | {"mocap-2d": data["mocap"].without_3d()}

    @staticmethod
    def all_of(root: Path, pairs: Path, body: BodyArrays, noise: NoiseConfig, people: int) -> dict[str, StudyData]:
        """All of the study's data that exists, by name."""
        data = StudyData.mocap(root, body, noise, people)
        if pairs.is_file():
            data["detector-loop"] = rendered(pairs)
        if (root / "pose2sim_cam1").is_dir():
            data["pose2sim-cam1"] = real_man(root / "pose2sim_cam1")
        return data

    def without_3d(self) -> StudyData:
        """The same people seen by a detector that gives no 3D, as in the literature."""
        keypoints, confidence, keypoints_3d, confidence_3d, bbox_info = self.inputs
        blind = (torch.zeros_like(keypoints_3d), torch.zeros_like(confidence_3d))
        return replace(self, inputs=(keypoints, confidence, *blind, bbox_info))

    @staticmethod
    def of(sample: Sample) -> StudyData:
        return StudyData(sample.inputs, sample.truth.joints.numpy())


def rendered(file: Path) -> StudyData:
    """Pairs of `training.detector_loop`, without augmentation."""
    pairs = Pairs(file, load_body("open"))
    pelvis = pairs.transl + pairs.kinematics(pairs.rotmat, pairs.betas, pairs.body).pelvis
    return StudyData.of(pairs.sample(pairs.rotmat, pairs.betas, pelvis, pairs.uv, pairs.confidence, pairs.world))


def real_man(folder: Path) -> StudyData:
    """The calibrated clip, frame by frame: BlazePose's keypoints, no tracking, no smoothing."""
    frames, truth = read_pose2sim(folder)
    detector = BlazePose(KeypointsConfig())
    seen, kept = [], []
    for frame, points in zip(frames, truth):
        found = detector.detect(frame)[:1]
        if len(found) and np.isfinite(points).all():
            seen.append(vars(observe(found, frame.camera)).values())
            kept.append(points)
    inputs = tuple(torch.from_numpy(np.concatenate(arrays)) for arrays in zip(*seen))
    return StudyData(inputs, np.stack(kept).astype(np.float32), limbs=True)
