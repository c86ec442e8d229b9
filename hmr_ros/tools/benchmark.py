"""Measure how long everything takes on this machine: `python -m hmr_ros.tools.benchmark --json FILE`.

Times the networks alone, and the whole pipeline on the frames of a clip, each with 1, 2, 4 and 8 people. Every figure is wall-clock time
unless it says CPU; ratios are against regression without test-time optimisation, and against one person, in the same run.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from hmr_ros.backends.graph import BackendError
from hmr_ros.camera import Camera
from hmr_ros.config import KeypointsConfig, ModelConfig, PipelineConfig, TtoConfig, setting_of
from hmr_ros.encoders import make_encoder
from hmr_ros.factory import build_pipeline, load_model, make_regressor
from hmr_ros.media import open_media
from hmr_ros.options import at_least_one, check_writable
from hmr_ros.pipeline import Pipeline
from hmr_ros.regressor import Encoder, Observation, Regressor
from hmr_ros.threads import one_thread_each
from hmr_ros.tto import Optimiser
from hmr_ros.types import Frame

PEOPLE = {1: (1, 1), 2: (1, 2), 4: (2, 2), 8: (2, 4)}
"""Number of people: rows and columns of the grid in which a frame with one person is repeated to show so many."""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    one_thread_each()
    try:
        check_writable(options.json)
        result = run(options)
    except (ValueError, OSError, BackendError) as error:  # all errors of ours, with a message for the user
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    print(_table(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def run(options: argparse.Namespace) -> dict:
    """Measure everything. Returns what is written to JSON."""
    model = ModelConfig(
        bundle=options.bundle, body=options.body, backend=options.backend, threads=options.threads
    )  # fmt: skip
    keypoints = KeypointsConfig(
        landmarks=options.landmarks, backend=options.keypoints, threads=options.keypoint_threads
    )
    pipeline = build_pipeline(PipelineConfig(model=model, keypoints=keypoints, tto=TtoConfig(max_steps=options.steps)))
    frames = _frames(options.source, options.frames)
    return {
        "machine": machine(),
        "backend": pipeline.describe()["backend"],
        "threads": options.threads,
        "keypoints": f"BlazePose {options.landmarks}, {options.keypoints}, {options.keypoint_threads} threads",
        "tto_steps": options.steps,
        "networks": benchmark_networks(model, options.steps, options.repeats),
        "source": Path(options.source).name,
        "whole_frame": {str(n): benchmark_frames(pipeline, frames, n, options.steps) for n in PEOPLE},
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def machine() -> dict:
    return {"cpu": cpu_name(), "cores": os.cpu_count(), "python": platform.python_version()}


def benchmark_networks(model: ModelConfig, steps: int, repeats: int) -> dict:
    """Milliseconds of each graph, and of regression with and without adaptation, by number of people."""
    body, bundle, graphs = load_model(model)
    encode, regressor = make_encoder(bundle, graphs), make_regressor(bundle, graphs)
    optimiser = Optimiser(graphs["adapt"], graphs["readout"])
    rows = {str(n): _benchmark_people(_people(n), encode, regressor, graphs, optimiser, steps, repeats) for n in PEOPLE}
    one = rows["1"]
    return {
        n: {name: {**r, "ratio_to_one_person": round(r["median_ms"] / one[name]["median_ms"], 2)} for name, r in row.items()}
        for n, row in rows.items()
    }  # fmt: skip


def _benchmark_people(
    seen: Observation,
    encode: Encoder,
    regressor: Regressor,
    graphs: dict,
    optimiser: Optimiser,
    steps: int,
    repeats: int,
) -> dict:
    frame = Frame(np.zeros((720, 1280, 3), np.uint8), Camera.guess(1280, 720))
    start = regressor(seen, frame)
    # Without convergence, to which random keypoints would come after a few steps.
    every_step = TtoConfig(max_steps=steps, tolerance=-math.inf)
    calls: dict[str, Callable] = {
        "encode": lambda: encode(seen, frame),  # includes cutting crops, if the encoder reads any
        "regress": lambda: graphs["regress"](features=start.fit_inputs["features"], bbox_info=seen.bbox_info),
        "adapt step": lambda: graphs["adapt"](state=start.state, **start.fit_inputs),
        "readout": lambda: graphs["readout"](state=start.state, **start.fit_inputs),
        "regression only": lambda: optimiser(regressor(seen, frame), TtoConfig(max_steps=0)),
        "regression + TTO": lambda: optimiser(regressor(seen, frame), every_step),
    }
    rows = {name: _time(call, repeats, f"{len(seen.bbox_info)} people, {name}") for name, call in calls.items()}
    base = rows["regression only"]["median_ms"]
    rows["regression + TTO"]["steps"] = optimiser(start, every_step).report.steps
    return {name: {**row, "ratio_to_regression": round(row["median_ms"] / base, 3)} for name, row in rows.items()}


def benchmark_frames(pipeline: Pipeline, images: list[np.ndarray], people: int, steps: int) -> dict:
    """The whole pipeline on real frames, without ROS: per stage, per frame, CPU, and frames per second."""
    pipeline.reset()
    room = KeypointsConfig(
        max_people=max(KeypointsConfig.max_people, people + 1)
    )  # room for one more, so that it goes on searching
    pipeline.update(PipelineConfig(keypoints=room, tto=TtoConfig(max_steps=steps)))
    height, width = (side * count for side, count in zip(images[0].shape[:2], PEOPLE[people]))
    camera = Camera.guess(width, height)
    stages: dict[str, list[float]] = {}
    wall, cpu, found = [], [], []
    for index, image in enumerate(tqdm(images, desc=f"whole frames, {people} people", unit="frame", mininterval=1)):
        frame = Frame(np.tile(image, (*PEOPLE[people], 1)), camera, index * 33_000_000)
        began, cpu_began = time.perf_counter(), time.process_time()
        result = pipeline(frame)
        if index == 0:  # the first call searches the whole image
            continue
        wall.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - cpu_began))
        found.append(len(result.people))
        for stage, ms in result.stages_ms.items():
            stages.setdefault(stage, []).append(ms)
    return {
        "frames": len(wall),
        "size": [width, height],
        "people_mean": round(float(np.mean(found)), 2),
        "stages": {name: _statistics(ms) for name, ms in stages.items()},
        "frame": _statistics(wall),
        "fps": round(1000 / float(np.mean(wall)), 1),
        "cpu_ms_per_frame": round(float(np.mean(cpu)), 2),
    }


def _frames(source: str, count: int) -> list[np.ndarray]:
    """The first image and up to `count` more, (H, W, 3) uint8 each; a single image is repeated."""
    images = [image for image, _ in itertools.islice(open_media(source), count + 1)]
    return images * (count + 1) if len(images) == 1 else images


def _people(count: int) -> Observation:
    """Random keypoints: the time of each graph does not depend on their positions."""
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


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def _table(result: dict) -> str:
    lines = [
        f"{result['machine']['cpu']}, {result['backend']}, {result['threads']} thread(s); {result['keypoints']}; median / p99 ms",
        "",
    ]
    lines += _rows("people", result["networks"])
    eight = result["networks"]["8"]["regression + TTO"]["ratio_to_one_person"]
    lines += [
        "",
        f"regression + TTO: 8 people take {eight} times as long as 1",
        "",
        f"whole frames of {result['source']}:",
        "",
    ]
    lines += _rows("people", {n: {"frame": f["frame"], **f["stages"]} for n, f in result["whole_frame"].items()})
    for people, frames in result["whole_frame"].items():
        lines.append(
            f"{people} people in {frames['size'][0]}x{frames['size'][1]}: {frames['fps']} fps, {frames['cpu_ms_per_frame']} ms CPU "
            f"per frame, {frames['people_mean']} people found on average"
        )
    return "\n".join([*lines, f"peak memory {result['peak_memory_mb']} MB"])


def _rows(head: str, table: dict[str, dict]) -> list[str]:
    names = list(table["1"])
    lines = [f"| {head} | " + " | ".join(names) + " |", "|" + "---|" * (len(names) + 1)]
    for label, row in table.items():
        lines.append(f"| {label} | " + " | ".join(f"{r['median_ms']} / {r['p99_ms']}" for r in row.values()) + " |")
    return lines


def _parser() -> argparse.ArgumentParser:
    default = str(Path(__file__).parents[1] / "assets" / "demo" / "walk.mp4")
    parser = argparse.ArgumentParser(prog="python -m hmr_ros.tools.benchmark", description=__doc__.split("\n")[0])
    parser.add_argument("--json", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument(
        "--source", default=default, help="video, image or folder for whole frames (default: the demo clip)"
    )
    parser.add_argument("--frames", type=at_least_one, default=150, help="time at most this many frames of the source")
    parser.add_argument("--repeats", type=at_least_one, default=300, help="timed calls of each network")
    parser.add_argument(
        "--steps", type=int, default=TtoConfig().max_steps, help="steps of test-time optimisation (TTO)"
    )
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each graph")
    for option, kind, name in (
        ("--backend", ModelConfig, "backend"), ("--keypoints", KeypointsConfig, "backend"), ("--landmarks", KeypointsConfig, "landmarks")
    ):  # fmt: skip
        item = setting_of(kind, name)
        parser.add_argument(option, default=item.default, choices=item.metadata["choices"])
    parser.add_argument(
        "--keypoint-threads", type=int, default=KeypointsConfig.threads, help="CPU threads for BlazePose"
    )
    parser.add_argument("--bundle", default="default")
    parser.add_argument("--body", default="open")
    return parser


if __name__ == "__main__":
    sys.exit(main())
