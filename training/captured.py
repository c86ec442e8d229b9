"""Training steps as CUDA graphs: an inner loop of a dozen steps with its second derivatives is some ten thousand tiny kernels, and
launching them one by one from Python takes ten times as long as the GPU needs to compute them.

    step = CapturedSteps(work, forget_gradients)    # work(sample, steps) updates weights and moments in place
    loss = step(sample, steps=4)                    # first call: runs eagerly; second: captured; later: replayed
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from training.nested import mapped, tensors

Work = Callable[[tuple, int], Tensor]
"""A training step on a (nested) tuple of tensors, with this many inner steps; returns the loss."""


class CapturedSteps:
    """Replays `work`. Samples must keep their shapes; all other tensors that `work` reads must keep their addresses.

    For each number of inner steps, the first call runs eagerly: it creates the optimiser's moments, loads kernels, and selects
    those for matrix products, none of which may happen during capture. The second call is captured.
    """

    def __init__(self, work: Work, forget_gradients: Callable[[], None]):
        """forget_gradients: drops gradients that belong to another graph, so that a capture allocates its own."""
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
        """Run one step eagerly on a separate stream: the warm-up that capture requires."""
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
    """Makes the next sample on a separate stream while the GPU trains on the current one."""

    def __init__(self, make: Callable[[int], tuple], steps: range):
        """make: returns the sample for a step number; steps: the step numbers, in order."""
        self._make, self._stream, self._steps = make, torch.cuda.Stream(), iter(steps)
        self._next = self._ahead()

    def _ahead(self) -> tuple:
        with torch.cuda.stream(self._stream):
            return next((self._make(step) for step in self._steps), ())

    def __call__(self, learn: Callable[[tuple], Tensor]) -> Tensor:
        """Call `learn` on the sample that is ready, and make the next one meanwhile."""
        main = torch.cuda.current_stream()
        main.wait_stream(self._stream)
        sample = self._next
        loss = learn(sample)
        # The sample's memory belongs to the other stream, which must not reuse it before this one is done with it.
        for tensor in tensors(sample):
            tensor.record_stream(main)
        self._next = self._ahead()
        return loss
