"""Several processes are one: the same gradients, the same weights, a stop for all."""

import dataclasses
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("tensorboard", reason="needs tensorboard")

from hmr_ros.smpl_file import load_body  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.checkpoint import load  # noqa: E402
from training.processes import Processes, processes  # noqa: E402
from training.train import Data, Run, generator, train  # noqa: E402

ROOT = Path(__file__).parents[2]
PATIENCE_S = 600
"""Only a deadlock takes longer, however busy the machine."""
GRADIENTS = """
import sys, torch, tyro
from hmr_ros.smpl_file import load_body
from training.body import BodyArrays
from training.config import TrainConfig
from training.processes import processes
from training.train import Data, Run, generator

config = tyro.cli(TrainConfig)
torch.set_num_threads(1)
body = BodyArrays.of(load_body(config.body))
data = Data(config, body)
with processes(config.device) as group:
    run = Run(config, data.files, group.device)
    share = data(group.share(config.batch), generator(config.seed, run.step, stream=1 + group.rank))
    run.gradients(share, 2, group, body)
    torch.save([p.grad for p in run.parameters], config.out / "gradients.pt")
"""


def arguments(config) -> list[str]:
    """The command line of a small run."""
    return [
        "--data", str(config.data), "--out", str(config.out), "--steps", str(config.steps), "--batch", str(config.batch),
        "--model.width", str(config.model.width), "--model.blocks", str(config.model.blocks), "--device", "cpu",
        "--meta.start", "0", "--meta.max-steps", "2", "--meta.long-share", "0", "--log-every", "1",
        "--checkpoint-every", str(config.checkpoint_every),
    ]  # fmt: skip


def start_python(*command: str, **environment: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **environment}
    return subprocess.Popen(
        [sys.executable, *command], env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def torchrun(*command: str) -> subprocess.Popen:
    return start_python("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command)


def test_two_processes_give_the_gradients_of_one_with_the_whole_batch(small_run, tmp_path, monkeypatch):
    config = dataclasses.replace(small_run, meta=dataclasses.replace(small_run.meta, start=0))
    script = tmp_path / "gradients.py"
    script.write_text(GRADIENTS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    together = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    other = start_python(str(script), *arguments(config), RANK="1", **together)
    for name, value in {**together, "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    body = BodyArrays.of(load_body("open"))
    data = Data(config, body)
    halves = [data(config.batch // 2, generator(config.seed, 0, stream=1 + rank)) for rank in range(2)]
    assert not torch.equal(halves[0].keypoints, halves[1].keypoints)
    with processes("cpu") as group:
        assert group.rank == 0 and group.count == 2
        run = Run(config, data.files, group.device)
        run.gradients(halves[0], 2, group, body)
        output, _ = other.communicate(timeout=PATIENCE_S)
    assert other.returncode == 0, output
    here, there = [p.grad.clone() for p in run.parameters], torch.load(config.out / "gradients.pt", weights_only=True)

    run.gradients(whole(*halves), 2, Processes(0, 1, torch.device("cpu")), body)
    for one, two, parameter in zip(here, there, run.parameters):
        torch.testing.assert_close(one, two, rtol=0, atol=0)
        torch.testing.assert_close(one, parameter.grad, rtol=1e-4, atol=1e-6)


def whole(first, second):
    """Both halves as one batch."""
    if isinstance(first, torch.Tensor):
        return torch.cat([first, second])
    return type(first)(*(whole(a, b) for a, b in zip(first, second)))


def test_torchrun_trains_stops_when_asked_and_goes_on(small_run):
    config = dataclasses.replace(small_run, steps=10**6, checkpoint_every=2)
    checkpoint = config.out / "checkpoint.safetensors"
    process = torchrun("-m", "training.train", *arguments(config))
    while process.poll() is None and not checkpoint.is_file():
        process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert "interrupted at step" in output, output
    step = load(checkpoint).step
    assert step >= 2

    train(dataclasses.replace(config, steps=step + 3))  # in one process: how many there are is no part of a run
    assert load(checkpoint).step == step + 3


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="batch of 9 does not divide among 2"):
        Processes(0, 2, torch.device("cpu")).share(9)


def test_without_torchrun_nothing_is_communicated():
    alone = Processes(0, 1, torch.device("cpu"))
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.grad = torch.ones(3)
    alone.average_gradients([parameter])
    assert torch.equal(parameter.grad, torch.ones(3)) and alone.any(True) and not alone.any(False)


OTHER_STEP = """
import torch, sys
from training.processes import processes
with processes("cpu") as group:
    try:
        group.require_same_step(int(sys.argv[1]) * group.rank)
    except RuntimeError as error:
        print(group.rank, error)
"""


@pytest.mark.parametrize("apart", [0, 7])
def test_processes_at_different_steps_do_not_go_on_together(tmp_path, apart):
    script = tmp_path / "other_step.py"
    script.write_text(OTHER_STEP)
    output, _ = torchrun(str(script), str(apart)).communicate(timeout=PATIENCE_S)
    assert output.count("different steps (0, 7): --out must be the same folder") == (2 if apart else 0), output
