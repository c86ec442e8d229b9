"""The exported graphs are the torch functions: same step, any number of people."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("onnxscript", reason="needs onnxscript")

from dataclasses import asdict  # noqa: E402
from pathlib import Path  # noqa: E402

from hmr_ros.backends.graph import check_golden  # noqa: E402
from hmr_ros.backends.onnx_runtime import OnnxRuntimeGraph  # noqa: E402
from hmr_ros.bundle import BODY_INPUTS, GRAPHS, load_bundle  # noqa: E402
from hmr_ros.smpl_file import load_body  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.checkpoint import Checkpoint  # noqa: E402
from training.config import LossConfig, ModelConfig, TrainConfig  # noqa: E402
from training.export import (  # noqa: E402
    MODULES,
    TRACE_BATCH,
    ExportConfig,
    example_inputs,
    export,
    export_graph,
    load_checkpoint,
)
from training.losses import weights_of  # noqa: E402
from training.train import make_model  # noqa: E402


def untrained(scope):
    """A small model of this scope, and its settings."""
    config = TrainConfig(model=ModelConfig(scope=scope, width=32, blocks=1))
    torch.manual_seed(0)
    model = make_model(config)
    for head in (model.head, model.auxiliary_head):
        torch.nn.init.normal_(head.out.weight, std=0.05)
    return model, config


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An untrained model, exported as training would."""
    run = tmp_path_factory.mktemp("latent")
    model, config = untrained("latent")
    entry = {"from_step": 0, "config": asdict(config), "commit": "test", "torch": torch.__version__}
    path = run / "checkpoint.safetensors"
    Checkpoint(model.state_dict(), {}, 0, {**entry, "history": [entry]}).save(path)
    folder = export(ExportConfig(checkpoint=path, out=run / "bundle", name="test"))
    return load_bundle(str(folder)), load_checkpoint(path)[0]


def assert_graph_equals_torch(name, path, model, people):
    body = BodyArrays.of(load_body("open"))
    inputs = example_inputs(model, body, weights_of(LossConfig()), people, seed=people)[name]
    given = {n: inputs[n] for n in GRAPHS[name][0]}
    answer = OnnxRuntimeGraph(path)(**{n: v.numpy() for n, v in given.items()})
    truth = MODULES[name](model)(*given.values())
    truth = truth if isinstance(truth, tuple) else (truth,)
    for output, expected in zip(GRAPHS[name][1], truth):
        got, expected = answer[output], expected.detach().numpy()
        if output == "new_state":  # the step itself
            got, expected = got - given["state"].numpy(), expected - given["state"].numpy()
        assert np.abs(got - expected).max() <= 1e-4 * np.abs(expected).max(), (name, output)


@pytest.mark.parametrize("people", range(1, 9))
def test_exported_step_equals_torch(exported, people):
    bundle, model = exported
    for name in GRAPHS:
        assert_graph_equals_torch(name, bundle.graph_path(name), model, people)


@pytest.mark.parametrize("scope", ["context", "head"])
def test_exported_step_of_other_scopes_equals_torch(scope, tmp_path):
    model = untrained(scope)[0].eval().requires_grad_(False)
    body = BodyArrays.of(load_body("open"))
    inputs = example_inputs(model, body, weights_of(LossConfig()), TRACE_BATCH)["adapt"]
    export_graph("adapt", MODULES["adapt"](model), inputs, tmp_path / "adapt.onnx")
    for people in (1, 2, 5):
        assert_graph_equals_torch("adapt", tmp_path / "adapt.onnx", model, people)


def test_bundle_passes_its_own_check(exported):
    bundle, _ = exported
    for name in GRAPHS:
        check_golden(OnnxRuntimeGraph(bundle.graph_path(name)), name, bundle, "ONNX Runtime", tolerance=1e-4)


def test_body_is_an_input_not_a_constant(exported):
    """Another body through the same graph gives another answer, and torch's."""
    bundle, model = exported
    body = BodyArrays(*(x * 1.1 if i < 4 else x for i, x in enumerate(BodyArrays.of(load_body("open")))))
    inputs = example_inputs(model, body, weights_of(LossConfig()), 2)["regress"]
    answer = OnnxRuntimeGraph(bundle.graph_path("regress"))(**{n: v.numpy() for n, v in inputs.items()})
    truth = MODULES["regress"](model)(*inputs.values())
    np.testing.assert_allclose(answer["target_joints"], truth[3].detach().numpy(), atol=1e-5)
    own = dict(zip(BODY_INPUTS, BodyArrays.of(load_body("open"))))
    with_own = OnnxRuntimeGraph(bundle.graph_path("regress"))(**{n: v.numpy() for n, v in {**inputs, **own}.items()})
    assert np.abs(with_own["target_joints"] - answer["target_joints"]).max() > 0.01


def test_nothing_of_the_machine_is_in_the_bundle(exported):
    bundle, _ = exported
    here = str(Path(__file__).parents[2]).encode()
    for file in bundle.path.iterdir():
        content = file.read_bytes()
        assert b"site-packages" not in content and here not in content, file.name
