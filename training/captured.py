"""Training steps as CUDA graphs: an inner loop of a dozen steps with its second derivatives is some ten thousand tiny kernels, and
starting them one by one from Python takes a GPU ten times as long as computing them.

    step = CapturedSteps(work, forget_gradients)    # work(sample, steps) leaves everything where it was: weights, moments
    loss = step(sample, steps=4)                    # taken as it is when first seen, then captured, replayed from then on
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.nested import mapped, tensors

Work = Callable[[tuple, int], Tensor]
"""A training step on a (nested) tuple of tensors, with so many inner steps; returns the loss."""


class CapturedSteps:
    """Replays `work`. Samples must keep their shapes; whatever `work` reads besides them must stay at its address.

    The first step of each number of inner steps is taken as it is: it makes the optimiser's moments, loads kernels, and chooses
    those for matrices, none of which may happen in a capture. The second is captured.
    """

    def __init__(self, work: Work, forget_gradients: Callable[[], None]):
        """forget_gradients: drops gradients that belong to another graph, so that a capture makes its own."""
        self._work, self._forget = work, forget_gradients
        self._graphs: dict[int, tuple[torch.cuda.CUDAGraph, Tensor]] = {}
        self._sample: tuple | None = None
        self._pool = torch.cuda.graph_pool_handle()
        self._warm: set[int] = set()

    def __call__(self, sample: tuple, steps: int) -> Tensor:
        if self._sample is None:
            self._sample = mapped(torch.clone, sample)
        for ours, given in zip(tensors(self._sample), tensors(sample)):
            ours.copy_(given)
        if steps not in self._warm:
            self._warm.add(steps)
            return self._aside(steps)
        if steps not in self._graphs:
            self._graphs[steps] = self._capture(steps)
        graph, loss = self._graphs[steps]
        graph.replay()
        return loss

    def _aside(self, steps: int) -> Tensor:
        """One step as it is, on a stream of its own, as captures want their warm-up."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            loss = self._work(self._sample, steps)
        torch.cuda.current_stream().wait_stream(stream)
        return loss

    def _capture(self, steps: int) -> tuple[torch.cuda.CUDAGraph, Tensor]:
        graph = torch.cuda.CUDAGraph()
        self._forget()
        with torch.cuda.graph(graph, pool=self._pool):
            loss = self._work(self._sample, steps)
        return graph, loss


class Ahead:
    """Makes the next sample on a stream of its own while the GPU is busy with this one."""

    def __init__(self, make: Callable[[int], tuple], steps: range):
        """make: the sample of a step, by number; steps: for which it is asked."""
        self._make, self._stream, self._steps = make, torch.cuda.Stream(), iter(steps)
        self._next = self._ahead()

    def _ahead(self) -> tuple:
        with torch.cuda.stream(self._stream):
            return next((self._make(step) for step in self._steps), ())

    def __call__(self, learn: Callable[[tuple], Tensor]) -> Tensor:
        """`learn` from the sample that is ready, and make another meanwhile."""
        main = torch.cuda.current_stream()
        main.wait_stream(self._stream)
        sample = self._next
        loss = learn(sample)
        # Memory of the other stream: not to be used again before this one is done with it.
        for tensor in tensors(sample):
            tensor.record_stream(main)
        self._next = self._ahead()
        return loss
