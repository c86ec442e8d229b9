"""The GPU benchmark's own arithmetic and contenders; its GPU is simulated, so its times mean nothing here."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from simulated_gpu import SimulatedGpu

from hmr_ros.bundle import BODY_INPUTS, GRAPHS, load_bundle
from hmr_ros.smpl_file import load_body
from training import benchmark_gpu
from training.benchmark_gpu import BenchmarkConfig, Peaks, TorchGraph, example_inputs, measure_peaks, model_in
from training.graph_cost import Cost


def test_everything_that_runs_here_is_timed_and_the_rest_is_named(monkeypatch, tmp_path, capsys):
    SimulatedGpu().install(monkeypatch)
    config = BenchmarkConfig(people=(1, 2), repeats=3, engine_cache=str(tmp_path), json=tmp_path / "figures.json")
    benchmark_gpu.main(config)
    result = json.loads((tmp_path / "figures.json").read_text())
    assert set(result["rows"]) == {"1", "2"} and set(result["rows"]["1"]) == set(GRAPHS)
    adapt = result["rows"]["2"]["adapt"]
    assert {"tensorrt", "onnxruntime", "torch eager"} <= set(adapt)
    assert adapt["tensorrt"]["gpu_median_ms"] == 0.25 and adapt["tensorrt"]["flops"] > 0
    assert set(adapt) | set(result["missing"]) >= {"onnxruntime_cuda", "torch.compile"}
    told = capsys.readouterr().out
    assert all(f"not here: {what}" in told for what in result["missing"])
    assert told.count("| adapt |") == 2 and "frames/s" in told


def test_a_frames_rate_counts_every_step():
    stages = {name: {"x": {"median_ms": ms}} for name, ms in zip(GRAPHS, (1.0, 2.0, 0.5, 0.5))}
    assert benchmark_gpu._frames_per_s(stages, steps=5) == {"x": pytest.approx(1000 / 6.0)}


@pytest.mark.parametrize("name", GRAPHS)
def test_torch_gives_what_the_bundle_gives(name):
    bundle = load_bundle("default")
    answer = TorchGraph(name, model_in(bundle), load_body("open"), compiled=False)(**example_inputs(bundle, 2)[name])
    _, expected = bundle.golden(name)
    assert {n: a.shape for n, a in answer.items()} == {n: (2, *a.shape[1:]) for n, a in expected.items()}


def test_tracing_changes_nothing(monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda function, **options: function)  # minutes, on a CPU
    bundle, body = load_bundle("default"), load_body("open")
    model, inputs = model_in(bundle), example_inputs(bundle, 2)["adapt"]
    eager, traced = (TorchGraph("adapt", model, body, compiled)(**inputs) for compiled in (False, True))
    for name in eager:
        np.testing.assert_allclose(traced[name], eager[name], rtol=1e-4, atol=1e-5)


def test_example_inputs_are_as_many_people_as_asked_for():
    for people in (1, 8):
        for name, inputs in example_inputs(load_bundle("default"), people).items():
            assert not set(inputs) & set(BODY_INPUTS), name
            assert all(len(a) == people for n, a in inputs.items() if n != "loss_weights")


def test_peaks_are_rates():
    peaks = measure_peaks("cpu", side=64, copied=1 << 16)
    assert all(0 < rate < 1e16 for rate in vars(peaks).values())
    peaks = Peaks(fp16_flops_per_s=2e12, fp32_flops_per_s=1e12, bytes_per_s=1e12)
    assert peaks.share(Cost(1e9, 1.0), half=False, ms=2.0) == pytest.approx(0.5)
    assert peaks.share(Cost(1e9, 1.0), half=True, ms=2.0) == pytest.approx(0.25)
