"""How long everything takes, on this machine: `python -m hmr_ros.tools.benchmark --json FILE`.

Whole frames run the real pipeline on the demo clip (or `--source`); the networks' stages run on 1, 2, 4 and 8 people.
Every figure is a wall time; ratios are against regression without test-time optimisation in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import resource
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hmr_ros.camera import Camera
from hmr_ros.config import ModelConfig, PipelineConfig, TtoConfig
from hmr_ros.factory import build_pipeline, load_model
from hmr_ros.media import open_media
from hmr_ros.regressor import Observation, Regressor
from hmr_ros.tto import Optimiser
from hmr_ros.types import Frame

PEOPLE = (1, 2, 4, 8)


def main(arguments: list[str] | None = None) -> None:
    options = _parser().parse_args(arguments)
    model = ModelConfig(bundle=options.bundle, body=options.body, threads=options.threads)
    result = {
        "machine": {"cpu": _cpu(), "cores": os.cpu_count(), "python": platform.python_version()},
        "backend": "onnxruntime (CPU)",
        "threads": options.threads,
        "tto_steps": options.steps,
        "networks": benchmark_networks(model, options.steps, options.repeats),
        "whole_frame": benchmark_frames(model, options.steps, options.source, options.frames),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }
    print(_table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


def benchmark_networks(model: ModelConfig, steps: int, repeats: int) -> dict:
    """Milliseconds of each graph, and of regression with and without adaptation, by number of people."""
    body, bundle, graphs = load_model(model)
    regressor = Regressor(graphs["encode"], graphs["regress"], bundle.loss_weights)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    return {str(n): _benchmark_people(n, graphs, regressor, optimiser, steps, repeats) for n in PEOPLE}


def _benchmark_people(people: int, graphs: dict, regressor: Regressor, optimiser: Optimiser, steps: int, repeats: int):
    seen = _people(people)
    start = regressor(seen)
    calls: dict[str, Callable] = {
        "encode": lambda: graphs["encode"](**vars(seen)),
        "regress": lambda: graphs["regress"](features=start.fit_inputs["features"], bbox_info=seen.bbox_info),
        "adapt step": lambda: graphs["adapt"](state=start.state, **start.fit_inputs),
        "readout": lambda: graphs["readout"](state=start.state, **start.fit_inputs),
        "regression only": lambda: optimiser(regressor(seen), TtoConfig(max_steps=0)),
        "regression + TTO": lambda: optimiser(regressor(seen), TtoConfig(max_steps=steps, tolerance=0.0)),
    }
    rows = {name: _time(call, repeats, f"{people} people, {name}") for name, call in calls.items()}
    base = rows["regression only"]["median_ms"]
    return {name: {**row, "ratio_to_regression": round(row["median_ms"] / base, 3)} for name, row in rows.items()}


def benchmark_frames(model: ModelConfig, steps: int, source: str, count: int) -> dict:
    """The whole pipeline on real frames, without ROS: per stage, per frame, CPU, and frames per second."""
    pipeline = build_pipeline(PipelineConfig(model=model, tto=TtoConfig(max_steps=steps)))
    media = open_media(source)
    camera = Camera.guess(media.width, media.height)
    frames = [Frame(image, camera, stamp_ns) for image, stamp_ns in itertools.islice(media, count)]
    stages: dict[str, list[float]] = {}
    wall, people = [], []
    pipeline(frames[0])  # first calls allocate, and search the whole image
    cpu = time.process_time()
    for frame in tqdm(frames, desc="whole frames", unit="frame", mininterval=1):
        began = time.perf_counter()
        result = pipeline(frame)
        wall.append(1000 * (time.perf_counter() - began))
        people.append(len(result.people))
        for stage, ms in result.stages_ms.items():
            stages.setdefault(stage, []).append(ms)
    cpu = 1000 * (time.process_time() - cpu) / len(frames)
    return {
        "source": Path(source).name,
        "frames": len(frames),
        "size": list(frames[0].image.shape[1::-1]),
        "people_mean": round(float(np.mean(people)), 2),
        "stages": {name: _statistics(ms) for name, ms in stages.items()},
        "frame": _statistics(wall),
        "fps": round(1000 / float(np.mean(wall)), 1),
        "cpu_ms_per_frame": round(cpu, 2),
    }


def _people(count: int) -> Observation:
    """Keypoints somewhere: the time taken does not depend on where."""
    rng = np.random.default_rng(0)
    return Observation(
        rng.uniform(-0.8, 0.8, (count, 23, 2)).astype(np.float32),
        np.ones((count, 23), np.float32),
        rng.normal(0, 0.4, (count, 23, 3)).astype(np.float32),
        np.ones((count, 23), np.float32),
        np.tile(np.float32([0, 0, 0.5]), (count, 1)),
    )


def _time(call: Callable, repeats: int, what: str) -> dict[str, float]:
    for _ in range(10):
        call()
    times = []
    for _ in tqdm(range(repeats), desc=what, leave=False, mininterval=1):
        began = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - began))
    return _statistics(times)


def _statistics(ms: list[float]) -> dict[str, float]:
    return {"median_ms": round(float(np.median(ms)), 3), "p99_ms": round(float(np.percentile(ms, 99)), 3)}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _table(result: dict) -> str:
    lines = [f"{result['machine']['cpu']}, {result['backend']}, {result['threads']} thread(s); median / p99 ms", ""]
    names = list(result["networks"]["1"])
    lines.append("| people | " + " | ".join(names) + " |\n|" + "---|" * (len(names) + 1))
    for people, row in result["networks"].items():
        lines.append(f"| {people} | " + " | ".join(f"{r['median_ms']} / {r['p99_ms']}" for r in row.values()) + " |")
    frames = result["whole_frame"]
    lines += ["", f"whole frame, {frames['source']} {frames['size']}, {frames['people_mean']} people, "
              f"{result['tto_steps']} TTO steps: {frames['fps']} fps, {frames['cpu_ms_per_frame']} ms CPU"]  # fmt: skip
    for stage, row in {**frames["stages"], "frame": frames["frame"]}.items():
        lines.append(f"  {stage:10s} {row['median_ms']:8.2f} / {row['p99_ms']:8.2f}")
    return "\n".join([*lines, f"peak memory {result['peak_memory_mb']} MB"])


def _parser() -> argparse.ArgumentParser:
    default = str(Path(__file__).parents[1] / "assets" / "demo" / "walk.mp4")
    parser = argparse.ArgumentParser(prog="python -m hmr_ros.tools.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument(
        "--source", default=default, help="video, image or folder for whole frames (default: the demo clip)"
    )
    parser.add_argument("--frames", type=int, default=150, help="frames of it at most")
    parser.add_argument("--repeats", type=int, default=300, help="calls of each network")
    parser.add_argument("--steps", type=int, default=TtoConfig().max_steps, help="TTO steps")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each graph")
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--body", default="open")
    return parser


if __name__ == "__main__":
    main()
