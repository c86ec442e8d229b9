"""A bundle's errors on a benchmark, person by person, with the runtime's own regressor and optimisation loop."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from tqdm import tqdm

from hmr_ros.body_model import BodyModel
from hmr_ros.config import KeypointsConfig, TtoConfig
from hmr_ros.regressor import Observation, Regressor, observe
from hmr_ros.tto import Optimiser
from hmr_ros.types import BodyPose, Keypoints
from training.datasets.keypoint_pairs import camera_of
from training.datasets.people import DatasetError, People
from training.datasets.protocols import Ruler, errors

CHUNK = 64


def usable(people: People, ruler: Ruler, exact: bool) -> np.ndarray:
    """(N,) bool: who has a truth for this protocol and enough 2D keypoints."""
    confidence = people.confidence_2d if exact else people.confidence_detected
    seen = (confidence > 0).sum(axis=1) >= KeypointsConfig().min_keypoints
    measurable = ruler.measurable(people)
    if not (measurable & seen).any():
        lacks = (
            "a whole truth"
            if not measurable.any()
            else "enough annotated 2D"
            if exact
            else "detections: prepare with --detect"
        )
        raise DatasetError(f"{ruler.protocol.title}: nobody of {people.summary()} has {lacks}.")
    return measurable & seen


def observation(people: People, exact: bool) -> Observation:
    """What the networks see of everybody. exact: the annotated or projected 2D, no 3D; else what the detector saw."""
    rows = []
    for row in range(len(people)):
        one = slice(row, row + 1)
        if exact:
            seen = Keypoints(people.keypoints_2d[one], people.confidence_2d[one], np.ones(1, np.float32))
        else:
            xyz = np.where(people.detected_3d_known[one, :, None], people.detected_3d[one], np.nan)
            seen = Keypoints(people.detected_2d[one], people.confidence_detected[one], np.ones(1, np.float32), xyz)
        rows.append(observe(seen, camera_of(people, row)))
    return Observation(*(np.concatenate([getattr(row, name) for row in rows]) for name in vars(rows[0])))


def measure(
    people: People, ruler: Ruler, model: tuple, steps: Sequence[int], exact: bool = False, unaligned_pve: bool = False
) -> dict[str, dict[str, np.ndarray]]:
    """Errors (N,) of every metric the protocol reports, by number of steps and of the `auxiliary` prediction.

    people: `usable`; model: body, bundle and graphs as `hmr_ros.factory.load_model` returns them.
    """
    body, bundle, graphs = model
    regressor = Regressor(graphs["encode"], graphs["regress"], bundle.loss_weights)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    table: dict[str, dict[str, list]] = {}
    for start in tqdm(range(0, len(people), CHUNK), desc=ruler.protocol.title, unit=f"x{CHUNK}", mininterval=2):
        part = people[start : start + CHUNK]
        true = ruler.of_truth(part)
        regression = regressor(observation(part, exact))
        answers = {str(count): optimiser(regression, TtoConfig(max_steps=count)).pose for count in steps}
        for name, pose in (answers | {"auxiliary": regression.auxiliary}).items():
            for metric, values in errors(ruler.protocol, _points(ruler, body, pose), true, unaligned_pve).items():
                table.setdefault(name, {}).setdefault(metric, []).append(values)
    return {name: {metric: np.concatenate(values) for metric, values in by.items()} for name, by in table.items()}


def _points(ruler: Ruler, body: BodyModel, pose: BodyPose):
    return ruler.of_body(body, pose.rotmat, pose.betas)
