"""The processes of one run: one by default, several under torchrun (gloo on CPUs, NCCL on GPUs)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

Thing = TypeVar("Thing")
# Rank 0 judges and writes alone while the others wait.
WAIT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run; alone, every exchange is a no-op.

    Attributes:
        rank: from 0; rank 0 judges, writes and reports.
        world: how many there are.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this is the one that judges, writes and reports."""
        return self.rank == 0

    def gather(self, values: Tensor) -> tuple[Tensor, slice]:
        """Concatenate the rows of all processes, by rank.

        Args:
            values: [n, ...]; n may differ between processes. Gradients stop here.

        Returns:
            All rows [sum of n, ...], the same everywhere, and where the own ones stand.
        """
        if self.world == 1:
            return values.detach(), slice(0, len(values))
        count = torch.tensor([len(values)], device=values.device)
        each = [torch.empty_like(count) for _ in range(self.world)]
        dist.all_gather(each, count)
        counts = [int(count) for count in each]
        padded = values.new_zeros((max(counts), *values.shape[1:]))
        padded[: len(values)] = values.detach()
        everyone = [torch.empty_like(padded) for _ in range(self.world)]
        if padded.numel():
            dist.all_gather(everyone, padded)
        first = sum(counts[: self.rank])
        joined = torch.cat([part[:count] for part, count in zip(everyone, counts, strict=True)])
        return joined, slice(first, first + len(values))

    def largest(self, values: Sequence[float], device: torch.device) -> list[float]:
        """The largest of each value among all processes, everywhere."""
        if self.world == 1:
            return list(values)
        box = torch.tensor(values, dtype=torch.float64, device=device)
        dist.all_reduce(box, op=dist.ReduceOp.MAX)
        return [float(value) for value in box]

    def collect(self, thing: Thing) -> list[Thing]:
        """The same thing of every process, by rank."""
        if self.world == 1:
            return [thing]
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, thing)
        return everyone

    def from_first(self, thing: Thing) -> Thing:
        """What the first process passed, everywhere."""
        if self.world == 1:
            return thing
        box: list[Any] = [thing]
        dist.broadcast_object_list(box, src=0)
        first: Thing = box[0]
        return first


@contextmanager
def joined_processes(device: torch.device) -> Iterator[Processes]:
    """Join the processes torchrun started, if it did, for the time of the block."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or not dist.is_available():
        yield Processes()
        return
    if device.index is not None:  # NCCL exchanges objects by way of the current GPU: to each process its own
        torch.cuda.set_device(device)
    already = dist.is_initialized()
    if not already:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=WAIT)
    try:
        yield Processes(dist.get_rank(), dist.get_world_size())
    finally:
        if not already:
            dist.destroy_process_group()
