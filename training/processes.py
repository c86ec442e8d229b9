"""Training in one process, or in several started by torchrun: the rank of each, and communication between them.

    torchrun --nproc-per-node 2 -m training.train ...

Every process draws samples of its own and keeps the same weights; only gradients are exchanged. A wrapper such as
DistributedDataParallel would hook the inner loop's gradients too. The model is small, so one sum of all gradients over all processes,
after the backward pass, is enough.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
import torch.distributed as dist
from torch import Tensor

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class Processes:
    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, batch: int) -> int:
        """How many samples of the whole batch this process draws."""
        if batch % self.count:
            raise ValueError(f"a batch of {batch} does not divide among {self.count} processes: choose another --batch")
        return batch // self.count

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace every gradient by its mean over all processes: the whole batch's gradient, since all have equal shares."""
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.count > 1 and gradients:
            flat = torch.cat([g.flatten() for g in gradients])
            dist.all_reduce(flat)
            for gradient, mean in zip(gradients, (flat / self.count).split([g.numel() for g in gradients])):
                gradient.copy_(mean.view_as(gradient))

    def require_same_step(self, step: int) -> None:
        """Raise RuntimeError in all processes unless all are at this step: on several machines, each reads a checkpoint of its own disk."""
        if self.count > 1:
            steps = [torch.zeros(1, dtype=torch.int64, device=self.device) for _ in range(self.count)]
            dist.all_gather(steps, torch.tensor([step], device=self.device))
            if len(found := {int(each) for each in steps}) > 1:
                raise RuntimeError(
                    f"the processes would start from different steps ({', '.join(map(str, sorted(found)))}): --out must be the same folder "
                    "on all machines, or hold the same checkpoint"
                )

    def any(self, here: bool) -> bool:
        """Whether `here` is true in any process, so that all act on a request to one of them, after the same step."""
        if self.count == 1:
            return here
        flag = torch.tensor(float(here), device=self.device)
        dist.all_reduce(flag, op=dist.ReduceOp.MAX)
        return bool(flag.item())


@contextmanager
def processes(device: Device = "auto") -> Iterator[Processes]:
    """Join the other processes if torchrun started this one: gloo between CPUs, NCCL between GPUs, one GPU per process."""
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    kind = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
    chosen = torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
    if count > 1:
        if kind == "cuda":
            torch.cuda.set_device(chosen)
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    try:
        yield Processes(rank, count, chosen)
    finally:
        if count > 1:
            dist.destroy_process_group()
