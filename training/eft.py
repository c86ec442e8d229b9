"""Test-time optimisation without meta-learned steps: an ordinary optimiser on the 2D objective. Offline, in torch.

The baseline that meta-learning is measured against (EFT, Joo et al., 3DV 2021), and the published protocol of Nie et al. 2024: one
inner step on the head, then Adam on every weight of the network, until the objective changes by less than 2e-5.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.adapt import adapt_step
from training.body import BodyArrays
from training.losses import Target, objective, pseudo_target
from training.model import MetaHmr, Prediction
from training.scopes import HeadScope

OPTIMISERS = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}


@dataclass(frozen=True)
class EftConfig:
    scope: Literal["latent", "context", "head", "full"] = "latent"
    """What is optimised. latent and context: the model's own state, so its scope must be the same; head: the head's weights; full: every
    weight of encoder and head."""
    lr: float = 0.01
    optimiser: Literal["adam", "sgd"] = "adam"
    meta_first: bool = False
    """Take the model's own meta-learned step first (head and full; the model's scope must be head)."""
    tolerance: float = 0.0
    """Stop when the objective changes by less; 2e-5 as published, 0: never. Each person stops separately in head and full only."""


def eft(
    model: MetaHmr, inputs: tuple[Tensor, ...], body: BodyArrays, observed: Tensor, steps: int, config: EftConfig,
    first: Tensor | None = None,
) -> list[Prediction]:  # fmt: skip
    """The predictions after 0 to `steps` steps of the observed objective.

    inputs: five tensors (B, ...) as `MetaHmr.encode` takes them; observed, first: (5,), the term weights of ordinary steps, and of the
    meta-learned one. Network weights are fitted to one person at a time, on copies: results do not depend on the batch.
    """
    if config.scope in ("latent", "context"):
        if config.scope != model.config.scope:
            raise ValueError(
                f"the model's scope is {model.config.scope}, not {config.scope}: load its weights into a model of that scope"
            )
        return _fit_state(model, inputs, body, observed, steps, config)
    if config.meta_first and not isinstance(model.scope, HeadScope):
        raise ValueError(f"a meta-learned first step on weights needs a model of scope head, not {model.config.scope}")
    people = [
        _fit_weights(model, tuple(x[i : i + 1] for x in inputs), body, observed, steps, config, first)
        for i in range(len(inputs[0]))
    ]
    return [Prediction(*(torch.cat(parts) for parts in zip(*step))) for step in zip(*people)]


def _fit_state(model, inputs, body, observed, steps, config) -> list[Prediction]:
    state, features, target = start(model, inputs, body)
    state = state.clone().requires_grad_()

    def predict() -> Prediction:
        return model.decode(state, features, inputs[4], body)

    return list(descend(predict, [state], lambda p: objective(p, target, observed), steps, config))


def _fit_weights(model, inputs, body, observed, steps, config, first) -> list[Prediction]:
    """`eft` for one person, on a copy of the model's weights."""
    own = copy.deepcopy(model)
    state, features, target = start(own, inputs, body)
    before: list[Prediction] = []
    if config.meta_first and steps:
        state = state.clone().requires_grad_()
        before = [own.decode(state, features, inputs[4], body)]
        state, _ = adapt_step(own, state, before[0], features, inputs[4], target, first)
        with torch.no_grad():
            for name, value in own.scope.weights(state, features, inputs[4]).items():
                own.head.get_parameter(name).copy_(value)
    moved = [own.head] if config.scope == "head" else [own.encoder, own.head]
    parameters = [p.requires_grad_() for module in moved for p in module.parameters()]

    def predict() -> Prediction:
        now = own.encode(*inputs) if config.scope == "full" else features
        return own.unpack(own.head(now, inputs[4]), inputs[4], body)

    after = descend(predict, parameters, lambda p: objective(p, target, observed), steps - len(before), config)
    return [Prediction(*(x.detach() for x in p)) for p in before] + list(after)


@torch.no_grad()
def start(model: MetaHmr, inputs: tuple[Tensor, ...], body: BodyArrays) -> tuple[Tensor, Tensor, Target]:
    """State, features and the objective's target before any step."""
    features = model.encode(*inputs)
    state, auxiliary = model.regress(features, inputs[4], body)
    return state, features, pseudo_target(*inputs[:4], auxiliary)


def descend(
    predict: Callable[[], Prediction], parameters: Iterable[Tensor], loss: Callable[[Prediction], Tensor], steps: int,
    config: EftConfig,
) -> Iterator[Prediction]:  # fmt: skip
    """Yield the prediction before any step and after each; once converged, repeat the last one."""
    optimiser = OPTIMISERS[config.optimiser](parameters, lr=config.lr)
    previous, converged = float("inf"), False
    for step in range(steps + 1):
        if not converged:
            prediction = predict()
            value = loss(prediction).sum()
            converged = abs(previous - value.item()) < config.tolerance
            previous = value.item()
        yield Prediction(*(x.detach() for x in prediction))
        if step < steps and not converged:
            optimiser.zero_grad()
            value.backward()
            optimiser.step()
