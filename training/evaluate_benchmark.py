"""Evaluate a bundle on a published benchmark, for `training.evaluate`: prepared data, the protocol's joints and alignment, the user's own
SMPL."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from hmr_ros.body_model import BodyModel
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig, ModelConfig, TtoConfig
from hmr_ros.factory import load_model, make_regressor
from hmr_ros.regressor import Observation, Regressor, observe
from hmr_ros.skeleton import NUM_KEYPOINTS
from hmr_ros.tto import Optimiser
from hmr_ros.types import BodyPose, Frame, Keypoints
from training import evaluate
from training.datasets import people as records
from training.datasets.cameras import camera_of
from training.datasets.detect import load_image
from training.datasets.people import DatasetError, People
from training.datasets.protocols import PROTOCOLS, Points, Protocol, Ruler, acceleration_error, errors
from training.evaluate_report import Case


class Measured(NamedTuple):
    """Results for N people, by number of steps, and of the `auxiliary` prediction."""

    errors: dict[str, dict[str, np.ndarray]]
    """By metric, as `protocols.errors`."""
    found: dict[str, Points]
    true: Points
    fitted_2d: np.ndarray
    """(N, 23, 2) box units: keypoints of the body after `evaluate.LOOKED_AT` steps."""


def evaluate_benchmark(config: evaluate.EvaluateConfig) -> evaluate.Evaluation:
    """Errors of everyone with ground truth, and with keypoints or at least a box, because public evaluations leave out nobody either."""
    protocol, exact = PROTOCOLS[config.data], config.keypoints == "exact"
    ruler = Ruler(protocol, config.h36m_regressor, config.smpl)
    everybody = read(config.root, protocol)
    measurable, seen_enough = usable(everybody, ruler, exact)
    chosen = np.flatnonzero(measurable & (seen_enough | everybody.box_known))[: config.limit or None]
    people, seen_enough = everybody[chosen], seen_enough[chosen]
    body, bundle, graphs = load_model(ModelConfig(bundle=config.bundle, body=config.body, backend="onnxruntime"))
    if bundle.crop_px and not config.images:
        raise DatasetError(
            f"bundle {bundle.name!r} looks at pictures: name the folder that image paths start from with --images."
        )
    regressor = make_regressor(bundle, graphs)
    show = partial(frame_of, people, config.images if bundle.crop_px else None)
    seen = observation(people, seen_enough, exact, regressor.aspect)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    parts = uniform_chunks(seen_enough, 1 if bundle.crop_px else evaluate.CHUNK)
    measured = measure(people, seen, show, parts, ruler, body, regressor, optimiser, config.pve_unaligned)
    by_step = {
        name: figures(by) | acceleration(measured.found[name], measured.true, people)
        for name, by in measured.errors.items()
    }
    with_keypoints = {metric: values[seen_enough] for metric, values in measured.errors[evaluate.LOOKED_AT].items()}
    joints = {str(s): measured.errors[str(s)]["joints"].mean(0) for s in evaluate.STEPS}
    result = {
        "steps": {step: by_step[step] for step in joints},
        "auxiliary": by_step["auxiliary"],
        "with_keypoints": figures(with_keypoints),
        "per_joint": evaluate.per_joint(protocol.joint_names, joints),
        "milliseconds": evaluate.milliseconds(seen, regressor, optimiser, show),
        "protocol": {name: getattr(protocol, name) for name in ("title", "frames", "joints", "root", "source")},
        "frames": len(people),
        "frames_with_truth": int(measurable.sum()),
        "frames_without_truth": int((~measurable).sum()),
        "answered_from_the_box_alone": int((~seen_enough).sum()),
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


def usable(people: People, ruler: Ruler, exact: bool) -> tuple[np.ndarray, np.ndarray]:
    """(N,) bool each: who has ground truth for this protocol; and who has as many 2D keypoints as the runtime requires."""
    confidence = people.confidence_2d if exact else people.confidence_detected
    seen = (confidence > 0).sum(axis=1) >= KeypointsConfig().min_keypoints
    measurable = ruler.measurable(people)
    if not (measurable & seen).any():
        lacks = "enough annotated 2D" if exact else "detections (prepare with --detect)"
        lacks = lacks if measurable.any() else "the truth that this protocol is measured on"
        raise DatasetError(f"{ruler.protocol.title}: nobody of {people.summary()} has {lacks}.")
    return measurable, seen


def frame_of(people: People, images: Path | None, row: int) -> Frame | None:
    """The frame of one person, for encoders that read images; None without a folder of images."""
    return Frame(load_image(people, row, images), camera_of(people, row)) if images else None


def observation(people: People, seen_enough: np.ndarray, exact: bool, aspect: float) -> Observation:
    """The networks' inputs for everyone. exact: the annotated or projected 2D, no 3D; else the detector's output."""
    seen = []
    for row in range(len(people)):
        one, camera = slice(row, row + 1), camera_of(people, row)
        if not seen_enough[row]:
            seen.append(box_alone(people.box[row], camera))
            continue
        if exact:
            keypoints = Keypoints(people.keypoints_2d[one], people.confidence_2d[one], np.ones(1, np.float32))
        else:
            xyz = np.where(people.detected_3d_known[one, :, None], people.detected_3d[one], np.nan)
            keypoints = Keypoints(people.detected_2d[one], people.confidence_detected[one], np.ones(1, np.float32), xyz)
        seen.append(observe(keypoints, camera, aspect))
    return Observation(*(np.concatenate([getattr(one, name) for one in seen]) for name in vars(seen[0])))


def box_alone(box: np.ndarray, camera: Camera) -> Observation:
    """The observation of a person without known keypoints. box: (3,) centre and side, pixels."""
    nothing = (np.zeros((1, NUM_KEYPOINTS, *shape), np.float32) for shape in ((2,), (), (3,), ()))
    bbox_info = np.array([[*camera.normalise(box[:2]), box[2] / camera.focal[1]]], np.float32)
    return Observation(*nothing, bbox_info)


def uniform_chunks(seen_enough: np.ndarray, size: int) -> list[slice]:
    """Split everyone into chunks of at most `size`, in which all have keypoints or none has: in a mixed chunk, people without would be
    fitted too."""
    starts = np.union1d(np.arange(0, len(seen_enough), size), np.flatnonzero(np.diff(seen_enough)) + 1)
    return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(seen_enough)])]


def measure(
    people: People, seen: Observation, show: Callable[[int], Frame | None], parts: list[slice], ruler: Ruler, body: BodyModel,
    regressor: Regressor, optimiser: Optimiser, pve_unaligned: bool,
) -> Measured:  # fmt: skip
    """Measure everyone, one part at a time: all meshes would not fit into memory. show: returns the frame of a part by its first row."""
    tables: dict[str, dict[str, list]] = {}
    found: dict[str, list[Points]] = {}
    true, fitted_2d = [], []
    for part in tqdm(parts, desc=ruler.protocol.title, unit="part", mininterval=2):
        truth, regression = ruler.of_truth(people[part]), regressor(evaluate.rows(seen, part), show(part.start))
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
    # For people without keypoints, a keypoint encoder may predict an infinite distance.
    with np.errstate(invalid="ignore"):
        uv = points[..., :2] / np.maximum(points[..., 2:], 0.1)
    return (uv - bbox_info[:, None, :2]) / (bbox_info[:, None, 2:] / 2)


def figures(by: dict[str, np.ndarray]) -> dict[str, float]:
    """Means and medians in mm, shares in percent. by: as `protocols.errors`."""
    shares = {
        f"{metric}_percent": round(float(by[metric].mean()), 2) for metric in by if metric.endswith(("pck", "auc"))
    }
    in_mm = {metric: by[metric] for metric in by if f"{metric}_percent" not in shares and metric != "joints"}
    return evaluate.figures(in_mm) | shares


def acceleration(found: Points, true: Points, people: People) -> dict[str, float]:
    """The acceleration error, if there are consecutive frames."""
    error = acceleration_error(found, true, people)
    return {} if error is None else {"acceleration_mm_per_frame2": round(error, 2)}


def source_2d(people: People, exact: bool) -> str:
    if exact:
        return "exact (annotated or projected truth)"
    return f"{'BlazePose' if people.detected_3d_known.any() else 'the detections that the set brings along'} (detected)"


def worst(measured: Measured, seen: Observation, people: People, protocol: Protocol) -> list[Case]:
    """The people with the largest errors, largest first."""
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
