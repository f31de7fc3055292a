"""The processes of a run under torchrun (gloo on CPUs, NCCL on GPUs), and the signals that stop it."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType, TracebackType
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")
# Rank 0 judges and writes alone while the others wait.
WAIT = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Processes:
    """This process among those of the run; alone, every exchange is a no-op."""

    rank: int = 0  # from 0; rank 0 judges, writes and reports
    world: int = 1  # how many there are

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

    def collect(self, value: T) -> list[T]:
        """The same value of every process, by rank."""
        if self.world == 1:
            return [value]
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, value)
        return everyone

    def from_first(self, value: T) -> T:
        """What the first process passed, everywhere."""
        if self.world == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box, src=0)
        first: T = box[0]
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


SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered, the first SIGINT or SIGTERM only asks to stop; the run does so at a safe place.

    A second signal interrupts at once. Outside the main thread, where Python takes no signals, nothing
    changes.
    """

    def __init__(self) -> None:
        """Watch nothing yet."""
        self._requested = False
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> StopSignals:
        """Take the signals over."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._request) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal returned

    @property
    def requested(self) -> bool:
        """Whether a signal asked the run to stop."""
        return self._requested

    @contextmanager
    def deferring(self) -> Iterator[None]:
        """Turn a KeyboardInterrupt raised inside into a wish to stop at the next safe place."""
        try:
            yield
        except KeyboardInterrupt:
            self._requested = True

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self._requested:
            raise KeyboardInterrupt
        self._requested = True
