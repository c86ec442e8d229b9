"""Training can be interrupted anywhere and goes on as if nothing had happened."""

import dataclasses
import json
import os
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tensorboard", reason="needs tensorboard")

from training.config import MetaConfig, ModelConfig, TrainConfig  # noqa: E402
from training.train import train  # noqa: E402


@pytest.fixture
def config(tmp_path):
    """Motion capture of our own making: people who wave, at random."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        np.savez(tmp_path / f"poses_cmu_{split}.npz", poses=rng.normal(0, 0.2, (300, 24, 3)).astype(np.float16))
    return TrainConfig(
        data=tmp_path, out=tmp_path / "run", steps=8, batch=8, checkpoint_every=4, log_every=1, threads=1,
        model=ModelConfig(width=16, blocks=1), meta=MetaConfig(start=2, max_steps=2),
    )  # fmt: skip


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def test_interrupted_and_resumed_equals_uninterrupted(config, monkeypatch):
    straight = weights(train(config))
    halves = dataclasses.replace(config, out=config.data / "halves")

    real, calls = torch.randint, []

    def randint(*args, **kwargs):
        calls.append(args)
        if len(calls) == 9:  # in the middle of a step
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "randint", randint)
    train(halves)
    monkeypatch.undo()
    assert 2 < torch.load(halves.out / "checkpoint.pt", weights_only=True)["step"] < 8
    resumed = weights(train(halves))
    for name, value in straight.items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


def test_run_describes_itself(config):
    train(config)
    run = json.loads((config.out / "config.json").read_text())
    assert run["config"]["steps"] == 8 and run["commit"] and run["history"][0]["from_step"] == 0


def test_missing_data_says_where_it_looked(config, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*--data"):
        train(dataclasses.replace(config, data=tmp_path / "nowhere"))
