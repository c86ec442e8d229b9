"""Training steps as CUDA graphs: what of it can be tried without a GPU, and the whole where there is one."""

import dataclasses

import pytest

torch = pytest.importorskip("torch")

from training.losses import Target  # noqa: E402
from training.nested import mapped, tensors  # noqa: E402
from training.synthesis import Sample  # noqa: E402
from training.train import train  # noqa: E402


@pytest.fixture
def sample():
    target = Target(*(torch.full((2,), float(i)) for i in range(8)))
    return Sample(*(torch.full((2,), 10.0 + i) for i in range(5)), target, torch.zeros(2))


def test_all_tensors_in_order(sample):
    assert [float(x[0]) for x in tensors(sample)] == [10, 11, 12, 13, 14, *range(8), 0]


def test_a_copy_has_memory_of_its_own(sample):
    copy = mapped(torch.clone, sample)
    assert type(copy) is Sample and type(copy.truth) is Target
    for ours, given in zip(tensors(copy), tensors(sample)):
        given += 100
        assert not torch.equal(ours, given)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU that torch sees")
def test_replayed_steps_learn_as_steps_taken_one_by_one(small_run):
    config = dataclasses.replace(small_run, device="cuda", steps=12)
    curves = []
    for capture in (False, True):
        out = config.out.parent / f"capture_{capture}"
        checkpoint = train(dataclasses.replace(config, capture=capture, out=out))
        from training.checkpoint import load

        curves.append(load(checkpoint).model)
    for name, value in curves[0].items():
        torch.testing.assert_close(curves[1][name], value, rtol=1e-2, atol=1e-3, msg=name)
