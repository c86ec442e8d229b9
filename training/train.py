"""Meta-training of the dual-network regressor: `python -m training.train`, or under `torchrun` on many devices.

Every batch: encode, regress, take a few inner steps on what is known at test time (2D keypoints and the auxiliary head's 3D), then
descend the outer objective (against ground truth) through those steps, second derivatives included.
"""

from __future__ import annotations

import json
import math
import signal
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import tyro
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from hmr_ros.smpl_file import load_body
from training.adapt import adapt
from training.body import BodyArrays
from training.captured import Ahead, CapturedSteps, Work
from training.checkpoint import Checkpoint, commit, digests, load
from training.command import errors_in_one_line
from training.config import LossConfig, MetaConfig, TrainConfig
from training.constants import constant
from training.draws import below, drawing
from training.from_bundle import checkpoint_of
from training.losses import OBSERVED, TERMS, objective, pseudo_target, weights_of
from training.model import MetaHmr
from training.nested import joined
from training.pairs import Pairs
from training.processes import Processes, processes
from training.synthesis import Poses, Sample, Synthesis


def make_model(config: TrainConfig, kind: type[MetaHmr] = MetaHmr) -> MetaHmr:
    model = kind(config.model, weights_of(config.loss))
    model.log_loss_weights.requires_grad_(config.meta.learn_loss_weights)
    model.reliability_head.requires_grad_(config.meta.learn_loss_weights)
    if not config.meta.learn_step_sizes:
        model.log_inner_lr.requires_grad_(False)
        model.curvature.requires_grad_(False)
    reset_inner_step(model, config)
    if config.meta.steps_only:
        for part in predicting(model):
            part.requires_grad_(False)
    return model


@torch.no_grad()
def reset_inner_step(model: MetaHmr, config: TrainConfig) -> None:
    """What the settings say of the inner step goes before what `--init` brought: fixed step sizes, and other loss weights than usual."""
    if not config.meta.learn_step_sizes:
        model.log_inner_lr.copy_(model.scope.initial_lr().log())
        model.curvature.zero_()
    if config.loss != LossConfig():
        model.log_loss_weights.copy_(weights_of(config.loss).log())


def predicting(model: MetaHmr) -> tuple[nn.Module, ...]:
    """The modules that make predictions: everything except the inner steps."""
    return model.encoder, model.head, model.auxiliary_head


def to_training(model: MetaHmr, meta: MetaConfig) -> None:
    """Set training mode, except for frozen modules: their batch statistics stay as they are, and their dropout is off."""
    model.train()
    if meta.steps_only:
        for part in predicting(model):
            part.eval()


def inner_weights(model: MetaHmr, meta: MetaConfig) -> Tensor:
    """(2, 5): term weights of the inner objective in the first step and in those after it. Without the dual network, only the
    observed terms have weight."""
    weights = model.log_loss_weights.exp()
    observed = weights * constant(tuple(float(term in OBSERVED) for term in TERMS), weights.device, weights.dtype)
    first, later = meta.dual, meta.dual and meta.dual_after_first
    return torch.stack([weights if first else observed, weights if later else observed])


def generator(seed: int, step: int, stream: int, device: torch.device | str = "cpu") -> torch.Generator:
    """The random generator of one training step, seeded with the step's number, so that a resumed run needs no saved random state."""
    state = np.random.SeedSequence((seed, step, stream)).generate_state(1)
    return torch.Generator(device).manual_seed(int(state[0]))


def inner_steps(step: int, meta: MetaConfig, rng: torch.Generator) -> int:
    """How many inner steps the batch of this outer step takes."""
    if meta.max_steps == 0 or step < meta.start:
        return 0
    if torch.rand((), generator=rng) < meta.long_share:
        return meta.long_steps
    return int(torch.randint(1, meta.max_steps + 1, (), generator=rng))


def outer_loss(model: MetaHmr, sample: Sample, steps: int, config: TrainConfig, body: BodyArrays) -> Tensor:
    """The training loss of one batch (scalar): before adaptation, after each of `steps` inner steps, and of the auxiliary head."""
    features = model.look(sample)
    state, auxiliary = model.regress(features, sample.bbox_info, body)
    target = pseudo_target(*sample.observed, auxiliary)
    weights = inner_weights(model, config.meta)
    outer_weights = constant(tuple(weights_of(config.loss).tolist()), sample.keypoints.device, sample.keypoints.dtype)

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
        features = model.look(sample)
        state, auxiliary = model.regress(features, sample.bbox_info, body)
        target = pseudo_target(*sample.observed, auxiliary)
        weights = inner_weights(model, config.meta)
    predictions = adapt(model, state, features, sample.bbox_info, target, weights, body, steps)
    return [1000 * (p.joints - sample.truth.joints).norm(dim=-1).mean().item() for p in predictions]


class Data:
    """Source of samples. They are made on the device of `body`'s arrays, with a generator on the same device."""

    def __init__(self, config: TrainConfig, body: BodyArrays):
        train, val = (Poses.files(config.data, split) for split in ("train", "val"))
        device = body.J_template.device
        self.poses, self.held_out = Poses(*train).rotvec.to(device), Poses(*val).rotvec.to(device)
        self.files = [*train, *val]
        self.synthesis = Synthesis(body, config.noise)
        self.pairs, self.pairs_share = None, 0.0
        if config.pairs.file:
            noise, self.pairs_share = config.noise, config.pairs.share
            self.pairs = Pairs(
                config.pairs.file, load_body(config.body), config.pairs.max_error_mm, noise.without_3d, noise.dropout
            )
            self.files.append(config.pairs.file)

    def __call__(self, count: int, rng: torch.Generator) -> Sample:
        """Training samples, some of them with the real detector's errors."""
        real = round(count * self.pairs_share)
        pick = below(rng, len(self.poses), count - real)
        sample = self.synthesis(self.poses[pick], rng)
        if self.pairs is None:
            return sample
        aside = torch.Generator().manual_seed(rng.initial_seed())  # pairs are looked up on the CPU
        return joined(sample, self.pairs(real, aside).to(rng.device))

    def validation(self, count: int) -> Sample:
        """Held-out people, the same ones every time."""
        rng = torch.Generator(self.poses.device).manual_seed(1)
        pick = drawing(torch.randperm, rng)(len(self.held_out))[:count]
        return self.synthesis(self.held_out[pick], rng, augment=False)


class Run:
    """One training run on disk: checkpoint, configuration. Made anew, or resumed where a checkpoint is found."""

    def __init__(self, config: TrainConfig, files: list[Path], device: torch.device):
        self.config, self.step = config, 0
        config.out.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(config.seed)
        self.model = self.make_model()
        history = []
        if config.init:
            source = checkpoint_of(config.init) if config.init.is_dir() else load(config.init)
            self.model.load_matching(source.model)
            reset_inner_step(self.model, config)
            history = source.run["history"]
        self.model.to(device)
        to_training(self.model, config.meta)
        for encoder in (part for part in self.model.modules() if hasattr(part, "mixed_precision")):
            encoder.mixed_precision = config.precision == "bfloat16"
        trained = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        self.trained, self.parameters = list(trained), list(trained.values())
        on_gpu = device.type == "cuda"  # there a step is captured, and a replay reads the rate at a fixed address
        self.rate = torch.tensor(config.learning_rate, device=device)
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=self.rate, weight_decay=1e-4, capturable=on_gpu, fused=on_gpu
        )
        self.checkpoint = config.out / "checkpoint.safetensors"
        if self.checkpoint.is_file():
            history = self._resume(load(self.checkpoint))
        elif config.meta.steps_only and not config.init:
            raise ValueError("--meta.steps-only learns the steps of a trained network: give --init")
        now = {"from_step": self.step, "config": asdict(config), "commit": commit(), "torch": torch.__version__}
        now["data"] = digests(files)
        self.description = {**now, "history": [*history, now], "trained_parameters": self.trained}

    def make_model(self) -> MetaHmr:
        return make_model(self.config)

    def _resume(self, saved: Checkpoint) -> list[dict]:
        self._require_same_kind(saved)
        self.model.load_state_dict(saved.model)
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": saved.optimizer})
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate  # not the copy that loading made
        self.step = saved.step
        return saved.run["history"]

    def _require_same_kind(self, saved: Checkpoint) -> None:
        """Raise ValueError for a checkpoint of another model, or one whose moments belong to other parameters."""
        before, now = saved.run["config"]["model"], json.loads(json.dumps(asdict(self.config.model)))
        if before != now:
            differ = ", ".join(sorted(name for name in {**before, **now} if before.get(name) != now.get(name)))
            raise ValueError(
                f"{self.checkpoint} holds another model ({differ} differ): choose another --out, or start from it with --init"
            )
        trained = saved.run.get("trained_parameters", self.trained)
        if trained != self.trained:
            differ = ", ".join(sorted(set(trained) ^ set(self.trained)))
            raise ValueError(
                f"{self.checkpoint} was trained with other switches ({differ} differ): resume with the same ones, or start a new run with "
                "--out and --init"
            )

    def learning_rate(self) -> float:
        """One cycle: half a cosine down from the peak, after a short warm-up."""
        warmup = min(1.0, (self.step + 1) / min(500, 1 + self.config.steps // 10))
        cosine = 0.5 * (1 + math.cos(math.pi * min(1.0, self.step / self.config.steps)))
        return self.config.learning_rate * warmup * (0.01 + 0.99 * cosine)

    @property
    def can_be_captured(self) -> bool:
        return self.config.capture

    def learn(self, sample: Sample, take: Work) -> Tensor:
        """One step of the optimiser, done by `take`; returns the loss of this process's share of the batch."""
        self.rate.fill_(self.learning_rate())
        rng = generator(self.config.seed, self.step, stream=0)  # the same in all processes
        loss = take(sample, inner_steps(self.step, self.config.meta, rng))
        self.step += 1
        return loss

    def take(self, sample: Sample, steps: int, group: Processes, body: BodyArrays) -> Tensor:
        """One step of the optimiser, after `steps` inner steps. A CUDA graph can replay it, because no number leaves the device."""
        loss = self.gradients(sample, steps, group, body)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for gradient in (p.grad for p in self.parameters if p.grad is not None):
            gradient.copy_(torch.where(torch.isfinite(norm), gradient, 0))  # one freak sample must not ruin the run
        self.optimizer.step()
        return loss

    def gradients(self, sample: Sample, steps: int, group: Processes, body: BodyArrays) -> Tensor:
        """Leave the whole batch's gradients in the parameters, given this process's share of it; returns the share's loss."""
        loss = outer_loss(self.model, sample, steps, self.config, body)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        group.average_gradients(self.parameters)
        return loss.detach()

    def save(self) -> None:
        moments = self.optimizer.state_dict()["state"]
        Checkpoint(self.model.state_dict(), moments, self.step, self.description).save(self.checkpoint)
        described = json.dumps({**self.description, "step": self.step}, indent=2, default=str)
        (self.config.out / "config.json").write_text(described)  # the checkpoint's own description, for people to read


class Interruption:
    """Turns Ctrl-C and SIGTERM into a request to stop after the current step, so that a checkpoint never holds half a step."""

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


def train(config: TrainConfig) -> Path:
    """Train until `config.steps`; returns the checkpoint's path."""
    set_up(config)
    with processes(config.device) as group, Interruption() as interruption:
        body = BodyArrays.of(load_body(config.body)).to(group.device)
        data = Data(config, body)
        run = Run(config, data.files, group.device)
        group.require_same_step(run.step)
        if group.first and run.step:
            done = (
                "nothing is left to do; choose another --out for a new run" if run.step >= config.steps else "going on"
            )
            print(f"{run.checkpoint} is at step {run.step} of {config.steps}: {done}")
        share = group.share(config.batch)

        def sample(step: int) -> Sample:
            return data(share, generator(config.seed, step, 1 + group.rank, group.device))

        descend(run, sample, data, group, body, interruption)
    return run.checkpoint


def set_up(config: TrainConfig) -> None:
    torch.set_num_threads(config.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.precision != "float32"


def descend(
    run: Run, sample: Callable[[int], tuple], data: HasValidation, group: Processes, body: BodyArrays, interruption: Interruption
) -> None:  # fmt: skip
    """The training loop. sample: the batch of a step, by its number, on the group's device."""
    report = Report(run, data, body, group) if group.first else None
    take: Work = partial(run.take, group=group, body=body)
    following: Callable[[Callable], Tensor] = lambda learn: learn(sample(run.step))  # noqa: E731
    if run.can_be_captured and group.device.type == "cuda" and group.count == 1:
        take = CapturedSteps(take, partial(run.optimizer.zero_grad, set_to_none=True))
        following = Ahead(sample, range(run.step, run.config.steps))
    while run.step < run.config.steps and not group.any(interruption.requested):
        loss = following(partial(run.learn, take=take))
        if report:
            report(loss)
    if report:
        report.close()


class HasValidation(Protocol):
    def validation(self, count: int) -> Sample: ...


class Report:
    """What the first process reports and saves: progress, TensorBoard, validation, checkpoints."""

    def __init__(self, run: Run, data: HasValidation, body: BodyArrays, group: Processes):
        self.run, self.body = run, body
        self.validation = data.validation(1024).to(group.device)
        self.log = SummaryWriter(run.config.out)
        self.bar = tqdm(initial=run.step, total=run.config.steps, desc="meta-training", unit="step", mininterval=2)

    def __call__(self, loss: Tensor) -> None:
        run, config = self.run, self.run.config
        self.bar.update()
        if run.step % config.log_every == 0:
            self.log.add_scalar("loss", loss.item(), run.step)
            self.bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
        if run.step % config.checkpoint_every == 0 or run.step == config.steps:
            run.save()
            errors = mpjpe_by_steps(run.model.eval(), self.validation, 5, config, self.body)
            to_training(run.model, config.meta)
            for step in (0, 1, 5):
                self.log.add_scalar(f"val_mpjpe_mm/{step}", errors[step], run.step)
            tqdm.write(f"step {run.step}: val MPJPE mm by TTO steps: " + " ".join(f"{e:.1f}" for e in errors))

    def close(self) -> None:
        self.bar.close()
        self.log.close()
        if self.run.step < self.run.config.steps:
            self.run.save()
            print(f"interrupted at step {self.run.step}; the same command continues from here")


if __name__ == "__main__":
    with errors_in_one_line():
        train(tyro.cli(TrainConfig))
