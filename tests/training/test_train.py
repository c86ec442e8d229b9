"""Training can be interrupted anywhere and goes on as if nothing had happened."""

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tensorboard", reason="needs tensorboard")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # noqa: E402

from training.checkpoint import commit, load  # noqa: E402
from training.config import LossConfig, MetaConfig, ModelConfig  # noqa: E402
from training.train import inner_weights, make_model, train  # noqa: E402


def loss_curve(folder) -> dict[int, float]:
    """Step to loss, from everything that TensorBoard would show."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return {event.step: event.value for event in events.Scalars("loss")}


def test_interrupted_and_resumed_equals_uninterrupted(small_run, monkeypatch):
    straight = load(train(small_run))
    halves = dataclasses.replace(small_run, out=small_run.data / "halves")

    real, calls = torch.randint, []

    def randint(*args, **kwargs):
        calls.append(args)
        if len(calls) == 9:  # in the middle of a step
            os.kill(os.getpid(), signal.SIGINT)
        return real(*args, **kwargs)

    monkeypatch.setattr(torch, "randint", randint)
    train(halves)
    monkeypatch.undo()
    assert 2 < load(halves.out / "checkpoint.safetensors").step < 8
    resumed = load(train(halves))
    for name, value in straight.model.items():
        torch.testing.assert_close(resumed.model[name], value, rtol=0, atol=0, msg=name)
    curve = loss_curve(small_run.out)
    assert sorted(curve) == list(range(1, 9)) and loss_curve(halves.out) == curve
    assert [entry["from_step"] for entry in straight.run["history"]] == [0]
    assert [entry["from_step"] for entry in resumed.run["history"]] == [0, 6]


def test_checkpoint_says_what_made_it(small_run):
    run = load(train(small_run)).run
    assert run["config"]["steps"] == 8 and run["commit"]
    file = small_run.data / "poses_cmu_train.npz"
    assert run["data"][file.name] == hashlib.sha256(file.read_bytes()).hexdigest()
    for_people = json.loads((small_run.out / "config.json").read_text())
    assert for_people["step"] == 8 and for_people["config"] == run["config"]


def test_starts_from_the_weights_of_another_scope(small_run):
    first = train(dataclasses.replace(small_run, steps=1))
    scope = dataclasses.replace(small_run.model, scope="head")
    second = train(dataclasses.replace(small_run, out=small_run.data / "second", init=first, steps=0, model=scope))
    assert not second.is_file()  # nothing to do, nothing written
    second = train(dataclasses.replace(small_run, out=small_run.data / "second", init=first, steps=1, model=scope))
    before, after = load(first).model["encoder.embed.weight"], load(second).model["encoder.embed.weight"]
    assert 0 < (after - before).abs().max() < 1e-2
    with pytest.raises(ValueError, match="another architecture"):
        make_model(dataclasses.replace(small_run, model=ModelConfig(width=8, blocks=1))).load_matching(
            load(first).model
        )


def test_mixed_precision_trains(small_run):
    half = dataclasses.replace(small_run, out=small_run.data / "half", steps=3, precision="bfloat16")
    train(half)
    train(dataclasses.replace(small_run, steps=3))
    for step, loss in loss_curve(half.out).items():
        assert loss == pytest.approx(loss_curve(small_run.out)[step], rel=0.05)


def test_switches_choose_the_terms_of_each_step(small_run):
    model = make_model(small_run)
    first, later = inner_weights(model, MetaConfig())
    assert torch.equal(first, later) and (first > 0).all()
    first, later = inner_weights(model, MetaConfig(dual_after_first=False))
    assert (first > 0).all() and (later > 0).tolist() == [True, False, False, False, True]
    first, later = inner_weights(model, MetaConfig(dual=False))
    assert torch.equal(first, later) and (first > 0).tolist() == [True, False, False, False, True]


def test_fixed_step_sizes_stay(small_run):
    meta = dataclasses.replace(small_run.meta, start=0, learn_step_sizes=False)
    config = dataclasses.replace(small_run, steps=2, meta=meta)
    trained, fresh = load(train(config)).model, make_model(config).state_dict()
    for name in ("log_inner_lr", "curvature"):
        torch.testing.assert_close(trained[name], fresh[name], rtol=0, atol=0)
    assert not trained["curvature"].any()


def test_the_steps_alone_can_be_learned(small_run, tmp_path):
    start = train(dataclasses.replace(small_run, steps=1, out=tmp_path / "start"))
    meta = dataclasses.replace(small_run.meta, start=0, steps_only=True)
    trained = load(train(dataclasses.replace(small_run, steps=2, meta=meta, init=start))).model
    before = load(start).model
    changed = {name for name in before if not torch.equal(trained[name], before[name])}
    assert {"log_inner_lr", "curvature", "log_loss_weights"} <= changed
    assert not any(name.startswith(("encoder.", "head.", "auxiliary_head.")) for name in changed)


def test_missing_data_says_where_it_looked(small_run, tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.*--data"):
        train(dataclasses.replace(small_run, data=tmp_path / "nowhere"))


def test_switches_of_the_inner_step_hold_for_weights_of_another_run_too(small_run, tmp_path):
    start = train(dataclasses.replace(small_run, steps=1, out=tmp_path / "start"))
    assert load(start).model["curvature"].any()
    meta = dataclasses.replace(small_run.meta, learn_step_sizes=False)
    config = dataclasses.replace(small_run, steps=1, meta=meta, init=start, loss=LossConfig(keypoints_2d=50.0))
    trained, fresh = load(train(config)).model, make_model(config).state_dict()
    assert not trained["curvature"].any() and torch.equal(trained["log_inner_lr"], fresh["log_inner_lr"])
    assert trained["log_loss_weights"].exp()[0] == pytest.approx(50, rel=0.01)


def test_steps_alone_need_a_trained_network(small_run):
    with pytest.raises(ValueError, match="--init"):
        train(dataclasses.replace(small_run, meta=dataclasses.replace(small_run.meta, steps_only=True)))


def test_a_run_is_not_resumed_with_other_things_to_learn(small_run):
    train(dataclasses.replace(small_run, steps=2))
    meta = dataclasses.replace(small_run.meta, learn_step_sizes=False)
    with pytest.raises(ValueError, match="curvature, log_inner_lr differ.*same"):
        train(dataclasses.replace(small_run, steps=4, meta=meta))


def test_the_commit_is_the_projects_wherever_training_starts(monkeypatch, tmp_path):
    here = commit()
    monkeypatch.chdir(tmp_path)
    assert commit() == here
    monkeypatch.setenv("PATH", str(tmp_path))
    assert commit() == "unknown"


def test_a_run_found_in_out_is_told_and_another_model_is_not_mixed_with_it(small_run, capsys):
    train(dataclasses.replace(small_run, steps=2))
    train(dataclasses.replace(small_run, steps=2))
    assert "is at step 2 of 2: nothing is left to do" in capsys.readouterr().out
    with pytest.raises(ValueError, match="another model .*width differ.*--init"):
        train(dataclasses.replace(small_run, model=ModelConfig(width=8, blocks=1)))


def test_mistakes_are_told_in_one_line(tmp_path):
    command = [sys.executable, "-m", "training.train", "--data", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert ended.returncode == 1 and "no motion capture at" in ended.stderr and "Traceback" not in ended.stderr
