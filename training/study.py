"""Ablation study: what is each part of the method worth? `python -m training.study` trains and measures a grid of methods and writes
`training/STUDY.md`.

    regression                 a plain regressor
    eft-{latent,context,head,full}    the same weights; at test time Adam on the observed objective moves one of the scopes
    meta-{latent,context,head}        meta-trained, second order, on the observed terms alone
    dual-{latent,context,head}        the same with the auxiliary head's pseudo ground truth
    dual1-{latent,context,head}       the same in the first step only, then the observed terms alone
    meta-full, dual-full       as published: meta-head's or dual-head's one step, then Adam on every weight

All cells of a seed start from the same pre-trained regressor and train as long; they differ in the one switch that names them. Cells
are files under --out: after an interruption, the same command continues from there. The network is small, to be affordable: it tells
the order of the methods, not the accuracy of the shipped weights.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import tyro
from torch import Tensor
from tqdm import tqdm

from hmr_ros.metrics import pa_mpjpe
from hmr_ros.smpl_file import load_body
from training import checkpoint
from training.adapt import adapt
from training.body import BodyArrays
from training.config import MetaConfig, ModelConfig, NoiseConfig, TrainConfig
from training.eft import EftConfig, eft, start
from training.export import ExportConfig, export
from training.model import MetaHmr, Prediction
from training.study_data import StudyData
from training.study_report import SOURCES, ReportConfig, summarise, write
from training.study_time import measure_times
from training.train import inner_weights, make_model, train

STEPS = 14
SCOPES = ("latent", "context", "head")
CHUNK = 128


@dataclass(frozen=True)
class StudyConfig:
    out: Path = Path("runs/study")
    root: Path = Path("../shared/data")
    """Folder that holds `mocap/` and `pose2sim_cam1/`."""
    pairs: Path = Path("runs/loop_val.npz")
    """File of `training.detector_loop`; skipped if it does not exist."""
    seeds: int = 3
    width: int = 256
    blocks: int = 2
    batch: int = 64
    pretrain: int = 4000
    """Steps of the regressor that all cells of a seed start from."""
    steps: int = 600
    """Steps of every cell after that."""
    people: int = 1024
    """Held-out people on whom the cheap methods are measured."""
    few: int = 64
    """How many of them, the first ones, EFT of `head` and `full` is measured on: Adam on weights takes one person at a time."""
    noise: NoiseConfig = field(default_factory=NoiseConfig)
    report: ReportConfig = field(default_factory=ReportConfig)


META = MetaConfig(start=0, max_steps=3, long_steps=6, long_share=0.25)
REGRESSION = replace(META, max_steps=0)
TRAINED = {
    "regression": ("latent", REGRESSION),
    **{f"meta-{scope}": (scope, replace(META, dual=False)) for scope in SCOPES},
    **{f"dual-{scope}": (scope, META) for scope in SCOPES},
    **{f"dual1-{scope}": (scope, replace(META, dual_after_first=False)) for scope in SCOPES},
}
"""The trained cells by name: scope and settings."""
EXTRA = {
    "first-order-latent": ("latent", replace(META, first_order=True)),
    "fixed-steps-latent": ("latent", replace(META, learn_step_sizes=False)),
}
"""One switch away from dual-latent: first order, step sizes not learned."""
LEARNING_RATES = {
    "latent": (0.001, 0.003, 0.01, 0.03), "context": (0.003, 0.01, 0.03, 0.1), "head": (1e-4, 3e-4, 1e-3), "full": (3e-5, 1e-4, 3e-4),
}  # fmt: skip
"""Candidates for EFT's Adam; the best on training people (mean of MPJPE after 5 and 14 steps) is used on held-out ones."""


class Method(NamedTuple):
    """A row of the study: whose weights, and what is done with them at test time."""

    weights: str
    eft: EftConfig | None = None
    """None: the model's own meta-learned steps."""


METHODS = {
    **{name: Method(name) for name in TRAINED},
    **{f"eft-{scope}": Method("regression", EftConfig(scope)) for scope in ("latent", "context")},
    "eft-head": Method("regression", EftConfig("head")),
    "eft-full": Method("regression", EftConfig("full", tolerance=2e-5)),
    "meta-full": Method("meta-head", EftConfig("full", meta_first=True, tolerance=2e-5)),
    "dual-full": Method("dual-head", EftConfig("full", meta_first=True, tolerance=2e-5)),
    **{name: Method(name) for name in EXTRA},
}


def train_cell(config: StudyConfig, name: str, seed: int) -> Path:
    """The checkpoint of one trained cell; train it if it does not exist yet."""
    init, steps = None, config.steps
    if name == "pretrained":
        (scope, meta), steps = TRAINED["regression"], config.pretrain
    else:
        scope, meta = (TRAINED | EXTRA)[name]
        init = train_cell(config, "pretrained", seed)
    settings = TrainConfig(
        data=config.root / "mocap", out=config.out / f"{name}-{seed}", init=init, steps=steps, batch=config.batch,
        # Seeds are 1000 apart. Cells of one seed share their initial weights and the people they train on.
        seed=1000 * seed + (name != "pretrained"), checkpoint_every=max(1, steps // 4),
        model=ModelConfig(scope=scope, width=config.width, blocks=config.blocks), meta=meta, noise=config.noise,
    )  # fmt: skip
    done = settings.out / "checkpoint.safetensors"
    if not done.is_file() or checkpoint.load(done).step < steps:
        train(settings)
        if checkpoint.load(done).step < steps:
            raise KeyboardInterrupt
    return done


def load_model(path: Path, scope: str) -> tuple[MetaHmr, MetaConfig]:
    """A trained cell's weights, in a model of the scope asked for."""
    saved = checkpoint.load(path)
    settings = saved.run["config"]
    meta = MetaConfig(**settings["meta"])
    model = make_model(TrainConfig(model=ModelConfig(**{**settings["model"], "scope": scope}), meta=meta))
    if scope == settings["model"]["scope"]:
        model.load_state_dict(saved.model)
    else:
        model.load_matching(saved.model)
    return model.eval().requires_grad_(False), meta


def predictor(method: Method, path: Path, body: BodyArrays) -> Callable[[tuple[Tensor, ...]], list[Prediction]]:
    """A function from inputs (five tensors, any number of people) to the predictions after 0 to STEPS steps."""
    trained_scope = checkpoint.load(path).run["config"]["model"]["scope"]
    wanted = method.eft.scope if method.eft and method.eft.scope != "full" else trained_scope
    model, meta = load_model(path, wanted)
    weights = inner_weights(model, meta)
    if method.eft:
        observed = inner_weights(model, MetaConfig(dual=False))[0]
        return lambda inputs: eft(model, inputs, body, observed, STEPS, method.eft, weights[0])
    steps = STEPS if meta.max_steps else 0

    def meta_steps(inputs: tuple[Tensor, ...]) -> list[Prediction]:
        state, features, target = start(model, inputs, body)
        found = adapt(model, state, features, inputs[4], target, weights, body, steps)
        predictions = [Prediction(*(x.detach() for x in p)) for p in found]
        return predictions + predictions[-1:] * (STEPS - steps)

    return meta_steps


def chunks(inputs: tuple[Tensor, ...], size: int) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(x.split(size) for x in inputs))


def measure(predict, data: StudyData, people: int) -> dict:
    """MPJPE and PA-MPJPE in mm of the first `people`, by steps: {metric: (STEPS + 1, people)} as lists."""
    seen = tuple(x[:people] for x in data.inputs)
    points = [[data.points(p) for p in predict(part)] for part in chunks(seen, CHUNK)]
    by_step = [np.concatenate(parts) for parts in zip(*points)]
    truth = data.truth[:people]
    return {
        "mpjpe": [data.rooted_error(p, truth).round(1).tolist() for p in by_step],
        "pa_mpjpe": [pa_mpjpe(p, truth).round(1).tolist() for p in by_step],
    }


def choose_lr(method: Method, path: Path, body: BodyArrays, data: StudyData) -> float:
    """EFT's learning rate: the best on training people."""
    slow = method.eft.scope in ("head", "full")

    def error(lr: float) -> float:
        predict = predictor(method._replace(eft=replace(method.eft, lr=lr)), path, body)
        figures = measure(predict, data, 12 if slow else 512)["mpjpe"]
        return float(np.mean(figures[5]) + np.mean(figures[STEPS]))

    return min(LEARNING_RATES[method.eft.scope], key=error)


def measure_cell(config: StudyConfig, name: str, seed: int, body: BodyArrays, data: dict[str, StudyData]) -> None:
    """Measure one method and seed and write the results as a JSON file; results already in it are kept."""
    file = config.out / "results" / f"{name}-{seed}.json"
    result = json.loads(file.read_text()) if file.is_file() else {}
    method = METHODS[name]
    slow = bool(method.eft and method.eft.scope in ("head", "full"))
    people = {source: config.few if slow else len(data[source].truth) for source in SOURCES if source in data}
    missing = [source for source in people if source not in result]
    if not missing:
        return
    path = train_cell(config, method.weights, seed)
    if method.eft:
        chosen = result["eft"]["lr"] if result else choose_lr(method, path, body, data["train"])
        method = method._replace(eft=replace(method.eft, lr=chosen))
    predict = predictor(method, path, body)
    result |= {"name": name, "seed": seed, "weights": method.weights, "eft": method.eft and asdict(method.eft)}
    result |= {source: measure(predict, data[source], people[source]) for source in missing}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result))


def main(config: StudyConfig) -> None:
    torch.set_num_threads(1)
    config.out.mkdir(parents=True, exist_ok=True)
    claim(config)
    body = BodyArrays.of(load_body("open"))
    data = StudyData.all_of(config.root, config.pairs, body, config.noise, config.people)
    main_grid = [name for name in METHODS if name not in EXTRA]
    cells = [(name, seed) for seed in range(config.seeds) for name in main_grid]
    cells += [(name, seed) for seed in range(config.seeds) for name in EXTRA]
    for name, seed in tqdm(cells, desc="study", unit="cell"):
        tqdm.write(f"{time.strftime('%H:%M:%S')} {name}-{seed}")
        measure_cell(config, name, seed, body, data)
    write(summary(config, body, data), config.report)


def summary(config: StudyConfig, body: BodyArrays, data: dict[str, StudyData]) -> dict:
    """All cells and the times, kept in `config.report.summary`."""
    file = config.out / "times.json"
    if not file.is_file():
        trained = {
            name: train_cell(config, name, 0) for name in ("regression", *(f"dual-{s}" for s in SCOPES), "meta-head")
        }
        bundles = {scope: exported(trained[f"dual-{scope}"], config.out / "bundles" / scope) for scope in SCOPES}
        methods = {name: method for name, method in METHODS.items() if method.eft or name in trained}
        for name, method in methods.items():
            if method.eft:  # with the settings it was measured with
                cell = json.loads((config.out / "results" / f"{name}-0.json").read_text())
                methods[name] = method._replace(eft=EftConfig(**cell["eft"]))
        predictors = {name: predictor(method, trained[method.weights], body) for name, method in methods.items()}
        times = measure_times(bundles, predictors, data["mocap"])
        file.write_text(json.dumps(times, indent=2))
    answer = {
        "commit": checkpoint.commit(),
        "settings": settings_of(config),
        "times": json.loads(file.read_text()),
        "methods": summarise(config.out, config.few, list(METHODS)),
    }
    config.report.summary.write_text(json.dumps(answer) + "\n")
    return answer


def exported(path: Path, bundle: Path) -> str:
    """The bundle of a cell; export it if it does not exist yet."""
    if not (bundle / "manifest.json").is_file():
        export(ExportConfig(checkpoint=path, out=bundle, name=f"study-{bundle.name}"))
    return str(bundle)


def settings_of(config: StudyConfig) -> dict:
    """What must be the same in all cells: everything but where files are, and how many seeds there are."""
    return {
        key: value for key, value in asdict(config).items() if key not in ("out", "root", "pairs", "seeds", "report")
    }


def claim(config: StudyConfig) -> None:
    """Reserve the folder for these settings: cells of different settings must not be mixed."""
    file, about = config.out / "study.json", settings_of(config)
    if file.is_file() and json.loads(file.read_text()) != about:
        raise ValueError(
            f"{file.parent} holds a study with other settings ({file.name}): choose another --out, or delete it"
        )
    file.write_text(json.dumps(about, indent=2))


if __name__ == "__main__":
    main(tyro.cli(StudyConfig))
