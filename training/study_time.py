"""Time per person of each scope on one CPU thread: as compiled graphs, which are shipped, and in torch, the only way to run Adam on weights."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable

import numpy as np
import torch

from hmr_ros.config import ModelConfig
from hmr_ros.factory import load_model, make_regressor
from hmr_ros.regressor import Observation
from training.study_data import StudyData

PEOPLE = 20
STEPS = (0, 1, 2, 5, 14)


def graph_runs(bundles: dict[str, str], data: StudyData) -> dict[str, Callable[[int], None]]:
    """By "graph <scope>, <steps>": computes everything from keypoints to the result of person i, on ONNX Runtime. bundles: by scope."""
    runs = {}
    for scope, name_or_path in bundles.items():
        _, bundle, graphs = load_model(ModelConfig(bundle=name_or_path, backend="onnxruntime"))
        regressor = make_regressor(bundle, graphs)

        def fit(i: int, steps: int, graphs=graphs, regressor=regressor) -> None:
            start = regressor(Observation(*(x[i : i + 1].numpy() for x in data.inputs)))
            state = start.state
            for _ in range(steps):
                state = graphs["adapt"](state=state, **start.fit_inputs)["new_state"]
            graphs["readout"](state=state, **start.fit_inputs)

        runs |= {f"graph {scope}, {steps}": lambda i, fit=fit, steps=steps: fit(i, steps) for steps in STEPS}
    return runs


def measure_times(bundles: dict[str, str], predictors: dict[str, Callable], data: StudyData) -> dict:
    """Median milliseconds per person. bundles: by scope; predictors: torch, by method, all steps of one or more people. Everything is
    measured in turn on every person, so that other load on the machine affects all alike."""
    runs = graph_runs(bundles, data)
    for name, predict in predictors.items():
        runs[f"torch {name}"] = lambda i, predict=predict: predict(tuple(x[i : i + 1] for x in data.inputs))
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for i in range(PEOPLE):
        for name, run in runs.items():
            run(i)  # warm-up: another method ran before, and all are timed with warm caches
            began = time.perf_counter()
            run(i)
            seconds[name].append(time.perf_counter() - began)
    return {
        "milliseconds": {name: round(1000 * float(np.median(values)), 3) for name, values in seconds.items()},
        "people": PEOPLE,
        "machine": f"{platform.machine()}, one thread, torch {torch.__version__}",
    }
