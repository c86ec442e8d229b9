"""Meta-training of the dual-network regressor: `python -m training.train`.

Every batch: encode, regress, take a few inner steps on what test time will know (2D keypoints and the auxiliary head's 3D), then
descend the outer objective (the truth) through those steps, second derivatives included.
"""

from __future__ import annotations

import json
import math
import random
import signal
import subprocess
from dataclasses import asdict
from pathlib import Path

import torch
import tyro
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from hmr_ros.smpl_file import load_body
from training.adapt import adapt
from training.body import BodyArrays
from training.config import MetaConfig, TrainConfig
from training.losses import OBSERVED, TERMS, objective, pseudo_target, weights_of
from training.model import MetaHmr
from training.synthesis import Poses, Sample, Synthesis


def make_model(config: TrainConfig) -> MetaHmr:
    model = MetaHmr(config.model, weights_of(config.loss))
    model.log_loss_weights.requires_grad_(config.meta.learn_loss_weights)
    model.reliability_head.requires_grad_(config.meta.learn_loss_weights)
    return model


def inner_weights(model: MetaHmr, meta: MetaConfig) -> Tensor:
    """Term weights of the inner objective: without the dual network, of what is observed alone."""
    weights = model.log_loss_weights.exp()
    return weights if meta.dual else weights * weights.new_tensor([float(term in OBSERVED) for term in TERMS])


def inner_steps(step: int, meta: MetaConfig, rng: torch.Generator) -> int:
    """How many inner steps the batch of this outer step takes."""
    if meta.max_steps == 0 or step < meta.start:
        return 0
    if torch.rand((), generator=rng) < meta.long_share:
        return meta.long_steps
    return int(torch.randint(1, meta.max_steps + 1, (), generator=rng))


def outer_loss(model: MetaHmr, sample: Sample, steps: int, config: TrainConfig, body: BodyArrays) -> Tensor:
    """The training loss of one batch (scalar): before adaptation, after each of `steps` inner steps, and of the auxiliary."""
    features = model.encode(*sample.inputs)
    state, auxiliary = model.regress(features, sample.bbox_info, body)
    target = pseudo_target(*sample.inputs[:4], auxiliary)
    weights, outer_weights = inner_weights(model, config.meta), weights_of(config.loss).to(sample.keypoints)

    def against_truth(prediction) -> Tensor:
        return objective(prediction, sample.truth, outer_weights).mean()

    steps_taken = adapt(
        model, state, features, sample.bbox_info, target, weights, body, steps, create_graph=not config.meta.first_order
    )
    losses = [against_truth(prediction) for prediction in steps_taken]
    loss = config.meta.auxiliary_weight * against_truth(auxiliary.prediction)
    if steps == 0:
        return loss + losses[0]
    return loss + config.meta.regression_weight * losses[0] + sum(losses[1:]) / steps


def mpjpe_by_steps(model, sample: Sample, steps: int, config: TrainConfig, body: BodyArrays) -> list[float]:
    """MPJPE in mm (24 joints, pelvis aligned) of one validation batch before and after each step."""
    with torch.no_grad():
        features = model.encode(*sample.inputs)
        state, auxiliary = model.regress(features, sample.bbox_info, body)
        target = pseudo_target(*sample.inputs[:4], auxiliary)
        weights = inner_weights(model, config.meta)
    predictions = adapt(model, state, features, sample.bbox_info, target, weights, body, steps)
    return [1000 * (p.joints - sample.truth.joints).norm(dim=-1).mean().item() for p in predictions]


class Run:
    """One training run on disk: checkpoint, configuration, log. Made anew, or resumed where a checkpoint is found."""

    def __init__(self, config: TrainConfig):
        self.config, self.step = config, 0
        config.out.mkdir(parents=True, exist_ok=True)
        random.seed(config.seed)
        torch.manual_seed(config.seed)
        self.rng = torch.Generator().manual_seed(config.seed)
        self.model = make_model(config)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.learning_rate, weight_decay=1e-4)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._learning_rate)
        self.checkpoint = config.out / "checkpoint.pt"
        if self.checkpoint.is_file():
            self._load()
        self._describe()

    def _learning_rate(self, step: int) -> float:
        warmup = min(1.0, (step + 1) / 500)
        return warmup * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, step / self.config.steps))))

    def _load(self) -> None:
        saved = torch.load(self.checkpoint, weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.schedule.load_state_dict(saved["schedule"])
        self.rng.set_state(saved["rng"])
        self.step = saved["step"]

    def _describe(self) -> None:
        """Write down what runs from this step on; what ran before stays in `history`."""
        file = self.config.out / "config.json"
        history = json.loads(file.read_text())["history"] if self.step else []
        now = {"from_step": self.step, "config": asdict(self.config), "commit": commit(), "torch": torch.__version__}
        described = {**now, "history": [*history, now]}
        file.write_text(json.dumps(described, indent=2, default=str))

    def save(self) -> None:
        parts = {name: getattr(self, name).state_dict() for name in ("model", "optimizer", "schedule")}
        partial = self.checkpoint.with_suffix(".partial")
        torch.save({**parts, "rng": self.rng.get_state(), "step": self.step}, partial)
        partial.replace(self.checkpoint)  # an interrupted save never destroys the last good one


class Interruption:
    """Ctrl-C and SIGTERM become a request to stop after the step in hand, so that what is saved is a whole step's work."""

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __enter__(self) -> Interruption:
        self.requested = False
        self._before = [signal.signal(s, self._request) for s in self.SIGNALS]
        return self

    def _request(self, *_) -> None:
        self.requested = True

    def __exit__(self, *_) -> None:
        for number, handler in zip(self.SIGNALS, self._before):
            signal.signal(number, handler)


def commit() -> str:
    """The project's commit, with a mark when files differ from it."""
    answer = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def train(config: TrainConfig) -> Path:
    """Train until `config.steps`; returns the checkpoint's path."""
    torch.set_num_threads(config.threads)
    body = BodyArrays.of(load_body(config.body))
    poses, held_out = (Poses(config.data / f"poses_cmu_{split}.npz") for split in ("train", "val"))
    synthesis = Synthesis(body, config.noise)
    run = Run(config)
    validation_rng = torch.Generator().manual_seed(1)
    pick = torch.randperm(len(held_out), generator=validation_rng)[:1024]
    validation = synthesis(held_out.rotvec[pick], validation_rng, augment=False)
    log = SummaryWriter(config.out)
    bar = tqdm(initial=run.step, total=config.steps, desc="meta-training", unit="step", mininterval=2)
    with Interruption() as interruption:
        while run.step < config.steps and not interruption.requested:
            pick = torch.randint(len(poses), (config.batch,), generator=run.rng)
            sample = synthesis(poses.rotvec[pick], run.rng)
            steps = inner_steps(run.step, config.meta, run.rng)
            loss = outer_loss(run.model, sample, steps, config, body)
            run.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(run.model.parameters(), 1.0)
            if torch.isfinite(norm):  # a freak sample must not end an hour's work
                run.optimizer.step()
            run.schedule.step()
            run.step += 1
            bar.update()
            if run.step % config.log_every == 0:
                log.add_scalar("loss", loss.item(), run.step)
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
            if run.step % config.checkpoint_every == 0 or run.step == config.steps:
                run.save()
                errors = mpjpe_by_steps(run.model, validation, 5, config, body)
                for step in (0, 1, 5):
                    log.add_scalar(f"val_mpjpe_mm/{step}", errors[step], run.step)
                tqdm.write(f"step {run.step}: val MPJPE mm by TTO steps: " + " ".join(f"{e:.1f}" for e in errors))
    bar.close()
    if run.step < config.steps:
        run.save()
        print(f"interrupted at step {run.step}; the same command goes on from here")
    return run.checkpoint


if __name__ == "__main__":
    train(tyro.cli(TrainConfig))
