"""The share of full adaptation's gain that the shipped scope keeps, and of its time: `python -m training.study_shipped`.

Full adaptation starts from the same weights: Adam on every weight of encoder and head, one person at a time, until the objective moves
by less than 2e-5 (`training.eft`), with the learned term weights, once on the observed terms alone and once on the whole inner
objective. Its learning rate is the best on other people. Both methods see the same held-out people, and are timed in turn.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import tyro

from hmr_ros.bundle import load_bundle
from hmr_ros.smpl_file import load_body
from training import checkpoint
from training.adapt import adapt
from training.body import BodyArrays
from training.command import errors_in_one_line
from training.config import MetaConfig, NoiseConfig
from training.eft import EftConfig, eft, start
from training.export import load_checkpoint
from training.model import MetaHmr, Prediction
from training.study import STEPS, measure
from training.study_data import StudyData
from training.study_time import measure_times
from training.train import inner_weights

RATES = (5e-6, 1e-5, 2e-5, 4e-5)
TUNED_ON = 16
"""People on whom learning rates are compared."""


@dataclass(frozen=True)
class ShippedConfig:
    checkpoint: Path = Path("runs/keypoints/checkpoint.safetensors")
    """The training run that the bundle was exported from."""
    bundle: str = "default"
    root: Path = Path("../shared/data")
    """Folder that holds `mocap/`."""
    people: int = 64
    json: Path = Path("docs/study_shipped.json")
    noise: NoiseConfig = field(default_factory=NoiseConfig)


def full(model: MetaHmr, body: BodyArrays, weights: torch.Tensor, lr: float):
    """Inputs to predictions after 0 to STEPS steps of full adaptation."""
    return lambda inputs: eft(model, inputs, body, weights, STEPS, EftConfig("full", lr=lr, tolerance=2e-5))


def main(config: ShippedConfig) -> dict:
    torch.set_num_threads(1)
    body = BodyArrays.of(load_body("open"))
    model, run = load_checkpoint(config.checkpoint)
    model.requires_grad_(False)
    whole = inner_weights(model, MetaConfig(**run["config"]["meta"]))[0]
    objectives = {"observed": inner_weights(model, MetaConfig(dual=False))[0], "whole objective": whole}
    weights_at_test_time = torch.from_numpy(load_bundle(config.bundle).loss_weights)
    data = StudyData.mocap(config.root, body, config.noise, config.people)

    def shipped(inputs: tuple[torch.Tensor, ...]) -> list[Prediction]:
        state, features, target = start(model, inputs, body)
        found = adapt(model, state, features, inputs[4], target, weights_at_test_time, body, STEPS)
        return [Prediction(*(x.detach() for x in p)) for p in found]

    predictors, rates = {f"shipped, {model.config.scope}": shipped}, {}
    for name, weights in objectives.items():

        def error(lr: float, weights=weights) -> float:
            figures = measure(full(model, body, weights, lr), data["train"], TUNED_ON)["mpjpe"]
            return float(np.mean(figures[5]) + np.mean(figures[STEPS]))

        rates[f"full, {name}"] = min(RATES, key=error)
        predictors[f"full, {name}"] = full(model, body, weights, rates[f"full, {name}"])
    result = {
        "checkpoint": {
            "step": checkpoint.load(config.checkpoint).step,
            "commit": run["commit"],
            "config": run["config"]["model"],
        },
        "people": config.people,
        "lr": rates,
        "mpjpe": {
            name: [round(float(np.mean(row)), 2) for row in measure(predict, data["mocap"], config.people)["mpjpe"]]
            for name, predict in predictors.items()
        },
        "times": measure_times({model.config.scope: config.bundle}, predictors, data["mocap"]),
    }
    config.json.write_text(json.dumps(result) + "\n")
    return result


if __name__ == "__main__":
    with errors_in_one_line():
        from training.study_report import table_of_shipped

        print("\n".join(table_of_shipped(main(tyro.cli(ShippedConfig)))))
