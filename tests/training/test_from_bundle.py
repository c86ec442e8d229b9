"""Going on from a bundle: its weights come back, or it is said why not."""

import dataclasses
import json
import shutil

import pytest

torch = pytest.importorskip("torch")

from hmr_ros.bundle import load_bundle, shipped_bundles  # noqa: E402
from training.checkpoint import load  # noqa: E402
from training.config import ModelConfig  # noqa: E402
from training.from_bundle import checkpoint_of  # noqa: E402
from training.train import train  # noqa: E402

DEFAULT = shipped_bundles() / "default"


def test_the_shipped_weights_come_back():
    found = checkpoint_of(DEFAULT)  # the golden pair is compared on the way
    assert found.run["history"] == load_bundle("default").manifest["trained"]["history"]
    assert all(torch.isfinite(value).all() for value in found.model.values())
    assert found.model["log_inner_lr"].exp().min() > 0


def test_training_goes_on_from_them(small_run):
    settings = load_bundle("default").manifest["trained"]["history"][-1]["config"]["model"]
    config = dataclasses.replace(
        small_run, steps=1, batch=8, learning_rate=0.0, model=ModelConfig(**settings), init=DEFAULT
    )
    trained, shipped = load(train(config)), checkpoint_of(DEFAULT)
    torch.testing.assert_close(trained.model["encoder.embed.weight"], shipped.model["encoder.embed.weight"])
    assert len(trained.run["history"]) == len(shipped.run["history"]) + 1


def test_graphs_of_another_version_are_refused(tmp_path):
    copy = tmp_path / "bundle"
    shutil.copytree(DEFAULT, copy)
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["trained"]["history"][-1]["config"]["model"]["token_width"] = 96
    (copy / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="give --init a checkpoint"):
        checkpoint_of(copy)
