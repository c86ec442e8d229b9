"""The comparison with the published optimisation: what it moves, and that its ratios are those of its times."""

import pytest

torch = pytest.importorskip("torch", reason="needs torch")
pytest.importorskip("onnxscript", reason="needs onnxscript")

from hmr_ros.smpl_file import load_body  # noqa: E402
from training import benchmark as module  # noqa: E402
from training.benchmark import BenchmarkConfig, benchmark, published_tto, table  # noqa: E402
from training.body import BodyArrays  # noqa: E402
from training.config import LossConfig  # noqa: E402
from training.export import example_inputs  # noqa: E402
from training.image.config import ImageModelConfig  # noqa: E402
from training.image.model import ImageMetaHmr  # noqa: E402
from training.losses import weights_of  # noqa: E402

SMALL = ImageModelConfig("resnet18", "resnet18", "hmr", iterations=2, crop_height=64, crop_width=64)


def test_published_steps_move_every_weight_of_the_main_network_and_none_of_the_auxiliary_one():
    torch.manual_seed(0)
    body, weights = BodyArrays.of(load_body("open")), weights_of(LossConfig())
    model = ImageMetaHmr(SMALL, weights).eval()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    prediction = published_tto(model, example_inputs(model, body, weights, 1), body, steps=2)
    assert prediction.rotmat.shape == (1, 24, 3, 3) and torch.isfinite(prediction.keypoints_2d).all()
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved == {name for name in before if name.startswith(("encoder.backbone.", "head."))}


def test_ratios_are_quotients_of_times_in_one_run(monkeypatch):
    monkeypatch.setattr(module, "PUBLISHED", SMALL)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 1)  # threads of a test get in each other's way
    result = benchmark(BenchmarkConfig(repeats=3, published_repeats=1, adam_steps=1))
    one = result["shipped"]["1"]["regression + TTO"]["median_ms"]
    published = result["published_tto"]["median_ms_by_threads"]
    assert result["published_tto_ratio"] == pytest.approx(published[1] / one, abs=0.1)
    assert result["torch_eager_ratio"] == pytest.approx(result["torch_eager_ms"] / one, abs=0.1)
    assert result["people_ratio"] == pytest.approx(
        result["shipped"]["8"]["regression + TTO"]["median_ms"] / one, abs=0.01
    )
    assert str(published[1])[:3] in table(result)
