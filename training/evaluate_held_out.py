"""Can held-out keypoints tell when the fit does harm? `python -m training.evaluate_held_out`.

Every person's keypoints are split into five parts. Each part in turn is held out (confidence 0), the rest is fitted as in the runtime,
and the projection of the fitted body is compared with the held-out keypoints. That is all that held-out keypoints can tell about a
person, at five times the cost that a robot could afford. The table says what it is worth: the error of people for whom it warns that
the optimisation made things worse, and the error with the regressor's prediction instead. Because of these figures, the
runtime does not use held-out keypoints.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro

from hmr_ros import skeleton
from hmr_ros.body_model import BodyModel
from hmr_ros.config import ModelConfig, TtoConfig
from hmr_ros.factory import load_model, make_regressor
from hmr_ros.metrics import mpjpe
from hmr_ros.regressor import Observation
from hmr_ros.tto import Optimiser
from hmr_ros.types import BodyPose
from training.body import BodyArrays
from training.command import errors_in_one_line
from training.config import NoiseConfig
from training.synthesis import Poses, Synthesis

PARTS = 5
ARMS = [i for i, name in enumerate(skeleton.KEYPOINT_NAMES) if name.endswith(("elbow", "wrist"))]


@dataclass(frozen=True)
class HeldOutConfig:
    bundle: str = "default"
    body: str = "open"
    data: Path = Path("../shared/data/mocap/poses_cmu_val.npz")
    people: int = 448
    seed: int = 0
    noise: NoiseConfig = field(default_factory=NoiseConfig)


def outliers(seen: Observation, rng: np.random.Generator) -> Observation:
    """Make four of each person's keypoints outliers."""
    keypoints = seen.keypoints.copy()
    for person, sure in zip(keypoints, seen.confidence):
        gone = rng.choice(np.flatnonzero(sure > 0), 4, replace=False)
        person[gone] += rng.normal(0, 0.5, (4, 2))
    return dataclasses.replace(seen, keypoints=keypoints)


def others_arms(seen: Observation, rng: np.random.Generator) -> Observation:
    """Replace everyone's elbows and wrists by another person's, as where people overlap."""
    keypoints = seen.keypoints.copy()
    keypoints[:, ARMS] = seen.keypoints[rng.permutation(len(keypoints))][:, ARMS]
    return dataclasses.replace(seen, keypoints=keypoints)


DAMAGE = {"none": lambda seen, rng: seen, "four outliers": outliers, "somebody else's arms": others_arms}


def misses(body: BodyModel, pose: BodyPose, seen: Observation) -> np.ndarray:
    """(N, 23) box units: distance of the body's keypoints from those detected."""
    points = body.keypoints(pose.rotmat, pose.betas, pose.transl)
    xy = points[..., :2] / np.maximum(points[..., 2:], 0.1)
    relative = (xy - seen.bbox_info[:, None, :2]) / (seen.bbox_info[:, None, 2:] / 2)
    return np.linalg.norm(relative - seen.keypoints, axis=-1)


def worth(model: tuple, seen: Observation, truth: np.ndarray, rng: np.random.Generator) -> dict[str, float]:
    """One row of the table. truth: (N, 24, 3) metres. Errors are MPJPE in mm."""
    body, bundle, graphs = model
    regression = make_regressor(bundle, graphs)(seen)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    fit = optimiser(regression, TtoConfig())
    sure = regression.fit_inputs["confidence"]
    part = np.argsort(rng.random(sure.shape), axis=1) % PARTS
    after = np.full(sure.shape, np.nan)
    for left_out in range(PARTS):
        held = (part == left_out) & (sure > 0)
        inputs = {**regression.fit_inputs, "confidence": np.where(held, 0, sure)}
        partial = optimiser(dataclasses.replace(regression, fit_inputs=inputs), TtoConfig())
        after = np.where(held, misses(body, partial.pose, seen), after)
    before = np.where(sure > 0, misses(body, fit.before, seen), np.nan)
    change = np.nanmedian(after, axis=1) / np.nanmedian(before, axis=1) - 1
    regressed, fitted = (mpjpe(body.joints(p.rotmat, p.betas, p.transl)[0], truth) for p in (fit.before, fit.pose))
    warned = change > 0
    return {
        "regressed": regressed.mean(),
        "fitted": fitted.mean(),
        "fitted, or regressed where warned": np.where(warned, regressed, fitted).mean(),
        "share warned": warned.mean(),
        "warned: regressed": regressed[warned].mean(),
        "warned: fitted": fitted[warned].mean(),
        "correlation of warning and harm": np.corrcoef(change, fitted - regressed)[0, 1],
    }


def main(config: HeldOutConfig) -> dict[str, dict[str, float]]:
    torch.set_num_threads(1)
    body, *_ = model = load_model(ModelConfig(bundle=config.bundle, body=config.body, backend="onnxruntime"))
    poses = Poses(config.data).rotvec
    poses = poses[np.linspace(0, len(poses) - 1, config.people).astype(int)]
    generator, rng = torch.Generator().manual_seed(config.seed), np.random.default_rng(config.seed)
    sample = Synthesis(BodyArrays.of(body), config.noise)(poses, generator, augment=False)
    truth = body.joints(*(a.numpy() for a in (sample.truth.rotmat, sample.truth.betas, sample.transl)))[0]
    seen = Observation(*(a.numpy() for a in sample.inputs))
    table = {name: worth(model, damage(seen, rng), truth, rng) for name, damage in DAMAGE.items()}
    for name, row in table.items():
        print(f"damage: {name}; " + ", ".join(f"{key} {value:.2f}" for key, value in row.items()))
    return table


if __name__ == "__main__":
    with errors_in_one_line():
        main(tyro.cli(HeldOutConfig))
