"""Speed of the shipped test-time optimisation (TTO) against what it replaces: `python -m training.benchmark --json FILE`.

All times are medians, measured in one run, on one person unless stated otherwise:

    shipped            the bundle on ONNX Runtime: encode, regress, some adaptation steps, readout (`hmr_ros.tools.benchmark`)
    regression only    the same without the adaptation steps
    torch eager        the same model and steps in torch, as in training
    published TTO      Nie et al. 2024 at test time: ResNet-50 at 256x192 and an HMR head that iterates 10 times, with a separate
                       auxiliary network; one gradient step on the head, then Adam on *every* weight of the main network

The torch networks are untrained, because their weights do not affect the time. Adam therefore takes a fixed number of steps instead of
stopping at the published tolerance. All fit our body's 23 keypoints, which is cheaper than the published code's full mesh per step.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from hmr_ros.bundle import load_bundle
from hmr_ros.config import ModelConfig as Runtime
from hmr_ros.smpl_file import load_body
from hmr_ros.threads import one_thread_each
from hmr_ros.tools.benchmark import benchmark_networks, machine
from training.architecture import model_of
from training.body import BodyArrays
from training.config import LossConfig
from training.eft import EftConfig, descend
from training.export import example_inputs
from training.graphs import Adapt, Encode, Readout, Regress
from training.image.config import ImageModelConfig
from training.image.head import to_prediction
from training.image.model import ImageMetaHmr
from training.losses import OBSERVED, TERMS, objective, pseudo_target, weights_of
from training.model import Prediction

PUBLISHED = ImageModelConfig(backbone="resnet50", auxiliary_backbone="resnet50", head="hmr", iterations=10)
TINY = EftConfig(scope="full", lr=1e-6)
"""Steps so small that untrained weights stay finite; its tolerance of 0 never stops early."""


@dataclass(frozen=True)
class BenchmarkConfig:
    json: Path | None = None
    """Where to write the figures."""
    bundle: str = "default"
    body: str = "open"
    steps: int = 5
    """Adaptation steps of the shipped bundle."""
    adam_steps: int = 14
    """Adam steps of the published optimisation, after its first step on the head; its maximum is 14."""
    repeats: int = 300
    """Timed calls of the shipped bundle; torch eager: a tenth."""
    published_repeats: int = 3
    """Timed runs of the published optimisation, each with one thread and with all cores."""


def benchmark(config: BenchmarkConfig) -> dict:
    one_thread_each()
    shipped = benchmark_networks(Runtime(bundle=config.bundle, body=config.body), config.steps, config.repeats)
    one, eight = (shipped[people]["regression + TTO"]["median_ms"] for people in ("1", "8"))
    torch.set_num_threads(1)
    eager = eager_ms(config)
    published = {threads: published_ms(config, threads) for threads in sorted({1, os.cpu_count() or 1})}
    return {
        "machine": {**machine(), "torch": torch.__version__},
        "steps": config.steps,
        "shipped": shipped,
        "torch_eager_ms": eager,
        "published_tto": {
            "network": "ResNet-50 at 256x192, HMR head with 10 iterations, auxiliary network of its own; batch 1, torch eager",
            "steps": f"1 on the head, then {config.adam_steps} of Adam on all weights",
            "median_ms_by_threads": published,
        },
        "published_tto_ratio": round(published[1] / one, 1),
        "published_tto_ratio_all_cores": round(min(published.values()) / one, 1),
        "regression_ratio": round(one / shipped["1"]["regression only"]["median_ms"], 2),
        "torch_eager_ratio": round(eager / one, 1),
        "people_ratio": round(eight / one, 2),
    }


def eager_ms(config: BenchmarkConfig) -> float:
    """Regression and adaptation of one person, in torch; median ms."""
    history = load_bundle(config.bundle).manifest["trained"]["history"]
    model = model_of(history[-1]["config"]["model"]).eval().requires_grad_(False)
    body = BodyArrays.of(load_body(config.body))
    inputs = example_inputs(model, body, weights_of(LossConfig()), batch=1)
    encode, regress, adapt, readout = (module(model) for module in (Encode, Regress, Adapt, Readout))
    fit = dict(inputs["adapt"])

    def run() -> None:
        with torch.no_grad():
            features = encode(*inputs["encode"].values())
            state = regress(features, inputs["regress"]["bbox_info"], *body)[0]
        for _ in range(config.steps):
            state, _ = adapt(*{**fit, "state": state}.values())
        with torch.no_grad():
            readout(*{**fit, "state": state}.values())

    return median_ms(run, max(config.repeats // 10, 3), "torch eager")


def published_ms(config: BenchmarkConfig, threads: int) -> float:
    """The published test-time optimisation of one person; median ms."""
    torch.manual_seed(0)
    body = BodyArrays.of(load_body(config.body))
    model = ImageMetaHmr(PUBLISHED, weights_of(LossConfig())).eval()
    seen = example_inputs(model, body, weights_of(LossConfig()), batch=1)
    fresh = iter([copy.deepcopy(model) for _ in range(config.published_repeats + 1)])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return median_ms(
            lambda: published_tto(next(fresh), seen, body, config.adam_steps),
            config.published_repeats, f"published TTO, {threads} threads", warm_up=1,
        )  # fmt: skip
    finally:
        torch.set_num_threads(before)


def published_tto(model: ImageMetaHmr, seen: dict[str, dict[str, Tensor]], body: BodyArrays, steps: int) -> Prediction:
    """Optimise `model`'s weights in place: one step on the head with the auxiliary network's pseudo ground truth, then `steps` on the
    whole main network without it.

    seen: as `export.example_inputs` returns it.
    """
    crop, fit = seen["encode"]["crop"], seen["adapt"]
    box, weights = fit["bbox_info"], fit["loss_weights"]
    backbone, head = model.encoder.backbone, model.head

    def predict(features: Tensor) -> Prediction:
        return model.unpack(to_prediction(head(features, box), box, body), box, body)

    with torch.no_grad():
        features = model.encode(crop)
        _, auxiliary = model.regress(features, box, body)
    target = pseudo_target(fit["keypoints"], fit["confidence"], fit["keypoints_3d"], fit["confidence_3d"], auxiliary)
    on_head = torch.optim.SGD(head.parameters(), lr=TINY.lr)
    objective(predict(model.encoder.split(features)[0]), target, weights).sum().backward()
    on_head.step()
    image = (crop - model.encoder.mean) / model.encoder.std
    observed = weights * torch.tensor([float(term in OBSERVED) for term in TERMS])
    moved = [*backbone.parameters(), *head.parameters()]
    *_, last = descend(lambda: predict(backbone(image)), moved, lambda p: objective(p, target, observed), steps, TINY)
    return last


def median_ms(call: Callable[[], object], repeats: int, what: str, warm_up: int = 3) -> float:
    for _ in range(warm_up):
        call()
    times = []
    for _ in tqdm(range(repeats), desc=what, leave=False, mininterval=1):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return round(float(np.median(times)), 3)


def table(result: dict) -> str:
    published = result["published_tto"]
    one, steps = result["shipped"]["1"], result["steps"]
    rows = [
        (f"shipped, regression + {steps} steps", one["regression + TTO"]["median_ms"], ""),
        ("shipped, regression only", one["regression only"]["median_ms"], f"steps cost x{result['regression_ratio']}"),
        ("torch eager, the same", result["torch_eager_ms"], f"x{result['torch_eager_ratio']}"),
        *((f"published TTO, {n} thread(s)", ms, f"x{ms / one['regression + TTO']['median_ms']:.0f}")
          for n, ms in published["median_ms_by_threads"].items()),
    ]  # fmt: skip
    lines = [f"{name:34s} {ms:10.2f} ms  {ratio}" for name, ms, ratio in rows]
    return "\n".join([*lines, f"published TTO: {published['steps']}; {published['network']}",
                      f"8 people take {result['people_ratio']} times as long as 1"])  # fmt: skip


def main() -> None:
    config = tyro.cli(BenchmarkConfig, description=__doc__)
    result = benchmark(config)
    print(table(result))
    if config.json:
        config.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
