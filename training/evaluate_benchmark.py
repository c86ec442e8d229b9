"""A bundle on a published benchmark, for `training.evaluate`: prepared data, the protocol's joints and alignment, the user's own SMPL."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from hmr_ros.body_model import BodyModel
from hmr_ros.config import KeypointsConfig, ModelConfig, TtoConfig
from hmr_ros.factory import load_model, make_regressor
from hmr_ros.regressor import Observation, Regressor, observe
from hmr_ros.tto import Optimiser
from hmr_ros.types import BodyPose, Keypoints
from training import evaluate
from training.datasets import people as records
from training.datasets.cameras import camera_of
from training.datasets.people import DatasetError, People
from training.datasets.protocols import PROTOCOLS, Points, Protocol, Ruler, acceleration_error, errors
from training.evaluate_report import Case


class Measured(NamedTuple):
    """What came out for N people, by number of steps, and of the `auxiliary` prediction."""

    errors: dict[str, dict[str, np.ndarray]]
    """By metric, as `protocols.errors`."""
    found: dict[str, Points]
    true: Points
    fitted_2d: np.ndarray
    """(N, 23, 2) box units: keypoints of the body after `evaluate.LOOKED_AT` steps."""


def evaluate_benchmark(config: evaluate.EvaluateConfig) -> evaluate.Evaluation:
    """Errors of everybody who has a truth and enough keypoints."""
    protocol, exact = PROTOCOLS[config.data], config.keypoints == "exact"
    ruler = Ruler(protocol, config.h36m_regressor, config.smpl)
    everybody = read(config.root, protocol)
    chosen = usable(everybody, ruler, exact)
    people = everybody[chosen][: config.limit or None]
    body, bundle, graphs = load_model(ModelConfig(bundle=config.bundle, body=config.body, backend="onnxruntime"))
    seen = observation(people, exact)
    regressor = make_regressor(bundle, graphs)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    measured = measure(people, seen, ruler, body, regressor, optimiser, config.pve_unaligned)
    by_step = {name: figures(measured, name, people) for name in measured.errors}
    joints = {str(s): measured.errors[str(s)]["joints"].mean(0) for s in evaluate.STEPS}
    result = {
        "steps": {step: by_step[step] for step in joints},
        "auxiliary": by_step["auxiliary"],
        "per_joint": evaluate.per_joint(protocol.joint_names, joints),
        "milliseconds": evaluate.milliseconds(seen, regressor, optimiser),
        "protocol": {name: getattr(protocol, name) for name in ("title", "frames", "joints", "root", "source")},
        "frames": len(people),
        "missed": int((~chosen).sum()),
        "source_2d": source_2d(people, exact),
        **evaluate.provenance(config, bundle),
    }
    return evaluate.Evaluation(result, worst(measured, seen, people, protocol))


def read(path: Path, protocol: Protocol) -> People:
    """The prepared file of a protocol."""
    if not path.is_file():
        name, split = protocol.data.split(", ")
        raise DatasetError(
            f"no file {path.absolute()}: make it with `python -m training.prepare {name} --split {split} --root ... --out FILE`, "
            "and name it with --root."
        )
    return records.load(path)


def usable(people: People, ruler: Ruler, exact: bool) -> np.ndarray:
    """(N,) bool: who has a truth for this protocol and enough 2D keypoints."""
    confidence = people.confidence_2d if exact else people.confidence_detected
    seen = (confidence > 0).sum(axis=1) >= KeypointsConfig().min_keypoints
    measurable = ruler.measurable(people)
    if not (measurable & seen).any():
        lacks = "enough annotated 2D" if exact else "detections (prepare with --detect)"
        lacks = lacks if measurable.any() else "the truth that this protocol is measured on"
        raise DatasetError(f"{ruler.protocol.title}: nobody of {people.summary()} has {lacks}.")
    return measurable & seen


def observation(people: People, exact: bool) -> Observation:
    """What the networks see of everybody. exact: the annotated or projected 2D, no 3D; else what the detector saw."""
    seen = []
    for row in range(len(people)):
        one = slice(row, row + 1)
        if exact:
            keypoints = Keypoints(people.keypoints_2d[one], people.confidence_2d[one], np.ones(1, np.float32))
        else:
            xyz = np.where(people.detected_3d_known[one, :, None], people.detected_3d[one], np.nan)
            keypoints = Keypoints(people.detected_2d[one], people.confidence_detected[one], np.ones(1, np.float32), xyz)
        seen.append(observe(keypoints, camera_of(people, row)))
    return Observation(*(np.concatenate([getattr(one, name) for one in seen]) for name in vars(seen[0])))


def measure(
    people: People, seen: Observation, ruler: Ruler, body: BodyModel, regressor: Regressor, optimiser: Optimiser,
    pve_unaligned: bool,
) -> Measured:  # fmt: skip
    """Everybody, a chunk at a time: meshes of all would not fit into memory."""
    tables: dict[str, dict[str, list]] = {}
    found: dict[str, list[Points]] = {}
    true, fitted_2d = [], []
    for start in tqdm(
        range(0, len(people), evaluate.CHUNK), desc=ruler.protocol.title, unit=f"x{evaluate.CHUNK}", mininterval=2
    ):
        part = slice(start, start + evaluate.CHUNK)
        truth, regression = ruler.of_truth(people[part]), regressor(evaluate.rows(seen, part))
        answers = {str(s): optimiser(regression, TtoConfig(max_steps=s)).pose for s in evaluate.STEPS}
        true.append(truth.without_mesh())
        fitted_2d.append(in_box(body, answers[evaluate.LOOKED_AT], seen.bbox_info[part]))
        for name, pose in (answers | {"auxiliary": regression.auxiliary}).items():
            points = ruler.of_body(body, pose.rotmat, pose.betas)
            found.setdefault(name, []).append(points.without_mesh())
            for metric, values in errors(ruler.protocol, points, truth, pve_unaligned).items():
                tables.setdefault(name, {}).setdefault(metric, []).append(values)
    whole = {name: {metric: np.concatenate(v) for metric, v in by.items()} for name, by in tables.items()}
    joined = {name: Points.join(parts) for name, parts in found.items()}
    return Measured(whole, joined, Points.join(true), np.concatenate(fitted_2d))


def in_box(body: BodyModel, pose: BodyPose, bbox_info: np.ndarray) -> np.ndarray:
    """The body's keypoints, (N, 23, 2) box units."""
    points = body.keypoints(pose.rotmat, pose.betas, pose.transl)
    uv = points[..., :2] / np.maximum(points[..., 2:], 0.1)
    return (uv - bbox_info[:, None, :2]) / (bbox_info[:, None, 2:] / 2)


def figures(measured: Measured, name: str, people: People) -> dict[str, float]:
    """Means and medians in mm, shares in percent, and the acceleration error where frames follow each other."""
    by = measured.errors[name]
    shares = {
        f"{metric}_percent": round(float(by[metric].mean()), 2) for metric in by if metric.endswith(("pck", "auc"))
    }
    in_mm = {metric: by[metric] for metric in by if f"{metric}_percent" not in shares and metric != "joints"}
    acceleration = acceleration_error(measured.found[name], measured.true, people)
    more = {} if acceleration is None else {"acceleration_mm_per_frame2": round(acceleration, 2)}
    return evaluate.figures(in_mm) | shares | more


def source_2d(people: People, exact: bool) -> str:
    if exact:
        return "exact (annotated or projected truth)"
    return f"{'BlazePose' if people.detected_3d_known.any() else 'the detections that the set brings along'} (detected)"


def worst(measured: Measured, seen: Observation, people: People, protocol: Protocol) -> list[Case]:
    """Those with the largest errors, first."""
    step = evaluate.LOOKED_AT
    mpjpe = measured.errors[step]["mpjpe"]
    fitted_3d, true_3d = measured.found[step].rooted, measured.true.rooted
    return [
        Case(
            str(people.image[i] or people.sequence[i] or i), float(mpjpe[i]), seen.keypoints[i], seen.confidence[i],
            measured.fitted_2d[i], fitted_3d[i], true_3d[i], protocol.joint_names,
        )
        for i in np.argsort(-mpjpe)[: evaluate.CASES]
    ]  # fmt: skip
