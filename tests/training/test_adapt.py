"""What makes this meta-learning with dual networks: gradients that flow where the paper says they do."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from hmr_ros.smpl_file import load_body  # noqa: E402
from training.adapt import adapt  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import MetaConfig, ModelConfig, NoiseConfig, TrainConfig  # noqa: E402
from training.losses import objective, pseudo_target  # noqa: E402
from training.synthesis import Synthesis  # noqa: E402
from training.train import inner_weights, make_model, outer_loss  # noqa: E402


@pytest.fixture(scope="module")
def body():
    return BodyArrays.of(load_body("open"))


@pytest.fixture(scope="module")
def sample(body):
    poses = 0.3 * torch.randn(6, 24, 3, generator=torch.Generator().manual_seed(0))
    return Synthesis(body, NoiseConfig())(poses, torch.Generator().manual_seed(1))


def make(scope="latent", **meta):
    torch.manual_seed(0)
    config = TrainConfig(model=ModelConfig(scope=scope, width=32, blocks=1), meta=MetaConfig(**meta))
    model = make_model(config)
    for head in (model.head, model.auxiliary_head):
        torch.nn.init.normal_(head.out.weight, std=0.05)
    return model, config


def auxiliary_gradient(body, sample, scope="latent", **meta):
    """Norm of the outer loss's gradient on the auxiliary head, through the inner steps alone."""
    model, config = make(scope, auxiliary_weight=0.0, **meta)
    outer_loss(model, sample, 2, config, body).backward()
    return sum(p.grad.norm().item() for p in model.auxiliary_head.parameters() if p.grad is not None)


@pytest.mark.parametrize("scope", ["latent", "context", "head"])
def test_auxiliary_network_learns_through_the_inner_step(body, sample, scope):
    model, config = make(scope, auxiliary_weight=0.0)
    outer_loss(model, sample, 1, config, body).backward()
    assert sum(p.grad.norm().item() for p in model.auxiliary_head.parameters()) > 1e-6
    assert model.log_inner_lr.grad.norm() > 0


@pytest.mark.parametrize("scope", ["latent", "context", "head"])
def test_first_order_cuts_the_auxiliary_network_off(body, sample, scope):
    assert auxiliary_gradient(body, sample, scope, first_order=True) == 0
    assert auxiliary_gradient(body, sample, scope, first_order=False) > 1e-6


def test_dropped_after_the_first_step_it_still_learns_through_that_step(body, sample):
    kept, dropped = (auxiliary_gradient(body, sample, dual_after_first=after) for after in (True, False))
    assert dropped > 1e-6 and dropped != pytest.approx(kept, rel=1e-3)


def test_without_the_dual_network_it_learns_nothing(body, sample):
    assert auxiliary_gradient(body, sample, dual=False) == 0


def test_outer_gradient_equals_finite_differences(body, sample):
    """Second order, exactly: the derivative through two inner steps along a random direction, in double precision."""
    torch.manual_seed(1)
    model, config = make()
    model.double()
    body, sample = to_double(body), to_double(sample)
    parameters = [p for p in model.parameters() if p.requires_grad]
    direction = [torch.randn_like(p) for p in parameters]
    outer_loss(model, sample, 2, config, body).backward()
    analytic = sum((p.grad * d).sum() for p, d in zip(parameters, direction)).item()

    def moved(amount: float) -> float:
        with torch.no_grad():
            for p, d in zip(parameters, direction):
                p.add_(amount * d)
        loss = outer_loss(model, sample, 2, config, body).item()
        with torch.no_grad():
            for p, d in zip(parameters, direction):
                p.sub_(amount * d)
        return loss

    numeric = (moved(1e-6) - moved(-1e-6)) / 2e-6
    assert analytic == pytest.approx(numeric, rel=1e-4)


def to_double(value):
    if isinstance(value, torch.Tensor):
        return value.double()
    return type(value)(*(to_double(v) for v in value))


@pytest.mark.parametrize("scope", ["latent", "context", "head"])
def test_adapting_one_person_never_changes_another(body, sample, scope):
    model, config = make(scope)

    def run(part):
        features = model.encode(*(x[part] for x in sample.inputs))
        state, auxiliary = model.regress(features, sample.bbox_info[part], body)
        target = pseudo_target(*(x[part] for x in sample.inputs[:4]), auxiliary)
        *_, last = adapt(
            model, state, features, sample.bbox_info[part], target, inner_weights(model, config.meta), body, 3
        )
        return last.rotmat

    together = run(slice(None))
    for i in range(len(together)):
        torch.testing.assert_close(together[i], run(slice(i, i + 1))[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scope", ["latent", "context", "head"])
def test_a_small_step_lowers_the_objective(body, sample, scope):
    model, config = make(scope)
    model.log_inner_lr.data -= 5
    model.curvature.data *= 0.05
    features = model.encode(*sample.inputs)
    state, auxiliary = model.regress(features, sample.bbox_info, body)
    target = pseudo_target(*sample.inputs[:4], auxiliary)
    weights = inner_weights(model, config.meta)
    before, after = (objective(p, target, weights[0]) for p in adapt(
        model, state, features, sample.bbox_info, target, weights, body, 1
    ))  # fmt: skip
    assert torch.all(after < before)
