"""The head's factors are its weights: gradient descent on the head, exactly, without anybody's copy of it."""

import copy

import pytest

torch = pytest.importorskip("torch", reason="needs torch")

from hmr_ros.smpl_file import load_body  # noqa: E402
from training.adapt import adapt, adapt_step  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import MetaConfig, ModelConfig, NoiseConfig, TrainConfig  # noqa: E402
from training.eft import EftConfig, eft, start  # noqa: E402
from training.losses import objective  # noqa: E402
from training.synthesis import Synthesis  # noqa: E402
from training.train import inner_weights, make_model  # noqa: E402


@pytest.fixture(scope="module")
def body():
    return BodyArrays.of(load_body("open"))


@pytest.fixture(scope="module")
def inputs(body):
    poses = 0.3 * torch.randn(3, 24, 3, generator=torch.Generator().manual_seed(0))
    return Synthesis(body, NoiseConfig())(poses, torch.Generator().manual_seed(1)).inputs


def make(scope="head", slots=16, **meta):
    torch.manual_seed(0)
    config = ModelConfig(scope=scope, width=32, blocks=1, head_slots=slots)
    model = make_model(TrainConfig(model=config, meta=MetaConfig(**meta)))
    for head in (model.head, model.auxiliary_head):
        torch.nn.init.normal_(head.out.weight, std=0.05)
    return model


def one(inputs, i=0):
    return tuple(x[i : i + 1] for x in inputs)


def states(model, inputs, body, steps):
    """The state before any step and after each, and the fit's features."""
    state, features, target = start(model, inputs, body)
    weights = inner_weights(model, MetaConfig())[0].detach()
    found = [state]
    for _ in range(steps):
        state = state.detach().requires_grad_()
        prediction = model.decode(state, features, inputs[4], body)
        state, _ = adapt_step(model, state, prediction, features, inputs[4], target, weights)
        found.append(state.detach())
    return found, features, target, weights


def test_five_steps_of_factors_are_five_steps_of_weights(body, inputs):
    """Against torch's own SGD on a copy of the head, for one person."""
    model, person = make(learn_step_sizes=False), one(inputs)
    found, features, target, weights = states(model, person, body, 5)
    own = copy.deepcopy(model.head)
    rates = (model.log_inner_lr.exp() / (model.scope.width + 1)).split([model.scope.width, len(own.out.bias)])
    parameters = [own.hidden.weight, own.hidden.bias, own.out.weight, own.out.bias]
    for state in found:
        vector = own(features, person[4])
        torch.testing.assert_close(model.scope.vector(state, features, person[4]), vector, atol=1e-5, rtol=1e-4)
        loss = objective(model.unpack(vector, person[4], body), target, weights).sum()
        with torch.no_grad():
            for i, (p, gradient) in enumerate(zip(parameters, torch.autograd.grad(loss, parameters))):
                rate = rates[i // 2]
                p -= (rate[:, None] if gradient.dim() == 2 else rate) * gradient


def test_each_step_changes_each_weight_by_a_matrix_of_rank_one(body, inputs):
    model, person = make(), one(inputs)  # learned step sizes that couple rows keep the rank
    found, features, *_ = states(model, person, body, 3)
    for steps, state in enumerate(found):
        own = model.scope.weights(state, features, person[4])
        for name, most in (("hidden.weight", min(steps, 1)), ("out.weight", steps)):
            change = (own[name] - model.head.get_parameter(name)).detach().double()
            assert torch.linalg.matrix_rank(change, rtol=1e-4) <= most


def test_weights_written_out_mean_the_same_as_the_state(body, inputs):
    model, person = make(), one(inputs)
    found, features, *_ = states(model, person, body, 3)
    own = model.scope.weights(found[-1], features, person[4])
    vector = torch.func.functional_call(model.head, own, (features, person[4]))
    torch.testing.assert_close(model.scope.vector(found[-1], features, person[4]), vector, atol=1e-5, rtol=1e-4)


def test_without_room_for_more_factors_nothing_moves(body, inputs):
    found, *_ = states(make(slots=2), inputs, body, 4)
    assert not torch.equal(found[1], found[2])
    assert torch.equal(found[2], found[3]) and torch.equal(found[3], found[4])


@pytest.mark.parametrize("scope", ["latent", "context", "head", "full"])
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_eft_of_one_person_never_changes_another(body, inputs, scope, optimiser):
    model = make("head" if scope == "full" else scope)
    observed = inner_weights(model, MetaConfig(dual=False))[0].detach()
    settings = EftConfig(scope, lr=1e-3, optimiser=optimiser)
    together = eft(model, inputs, body, observed, 2, settings)
    for i in range(len(inputs[0])):
        alone = eft(model, one(inputs, i), body, observed, 2, settings)
        for step in range(3):
            torch.testing.assert_close(together[step].joints[i], alone[step].joints[0], atol=1e-5, rtol=1e-4)


def test_published_protocol_starts_with_the_meta_learned_step_and_leaves_the_model_alone(body, inputs):
    model = make()
    before = copy.deepcopy(model.state_dict())
    first, observed = (inner_weights(model, MetaConfig(dual=dual))[0].detach() for dual in (True, False))
    found = eft(model, inputs, body, observed, 3, EftConfig("full", lr=1e-4, meta_first=True), first)
    state, features, target = start(model, inputs, body)
    expected = list(adapt(model, state, features, inputs[4], target, first, body, 1))
    assert len(found) == 4
    for prediction, own in zip(found, expected):
        torch.testing.assert_close(prediction.joints, own.joints.detach(), atol=1e-5, rtol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_tolerance_ends_it_early(body, inputs):
    model = make("latent")
    observed = inner_weights(model, MetaConfig(dual=False))[0].detach()
    *_, last_but_one, last = eft(model, inputs, body, observed, 3, EftConfig(lr=1e-3, tolerance=1e9))
    assert torch.equal(last.joints, last_but_one.joints)


def test_scopes_that_do_not_fit_are_refused(body, inputs):
    model = make("latent")
    with pytest.raises(ValueError, match="scope is latent, not context"):
        eft(model, inputs, body, torch.ones(5), 1, EftConfig("context"))
    with pytest.raises(ValueError, match="needs a model of scope head"):
        eft(model, inputs, body, torch.ones(5), 1, EftConfig("full", meta_first=True), torch.ones(5))
