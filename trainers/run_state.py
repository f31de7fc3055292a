"""The state of a run: how far it is, its best epoch, and its speed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Scores = TypeVar("Scores")


@dataclass(slots=True)
class Progress:
    """How far a run is, between two steps."""

    step: int = 0  # steps taken
    epochs: int = 0  # epochs finished
    steps_in_epoch: int = 0  # steps taken in the current epoch
    # Of those, without the steps that had too few readable pairs.
    losses: list[float] = field(default_factory=list)

    def count_step(self) -> None:
        """Count a step of the current epoch."""
        self.step, self.steps_in_epoch = self.step + 1, self.steps_in_epoch + 1

    def count_epoch(self) -> None:
        """Count the current epoch as finished."""
        self.epochs, self.steps_in_epoch, self.losses = self.epochs + 1, 0, []

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Progress:
        """The inverse of ``dataclasses.asdict``; further values are left alone."""
        return cls(**{part.name: values[part.name] for part in fields(cls)})


@dataclass(slots=True)
class BestEpoch(Generic[Scores]):
    """The epoch that ranks highest so far, and its weights."""

    rank: Callable[[Scores], float]  # what scores are compared by; the higher the better
    epoch: int = 0  # from 1; 0 before any was evaluated
    scores: Scores | None = None  # of that epoch
    weights: dict[str, Tensor] = field(default_factory=dict)  # its state dict, on the CPU

    def offer(self, epoch: int, scores: Scores, module: nn.Module) -> bool:
        """Keep a copy of the module's weights if no epoch before was as good."""
        if self.scores is not None and self.rank(scores) <= self.rank(self.scores):
            return False
        self.epoch, self.scores = epoch, scores
        self.weights = _copied(module.state_dict(), self.weights)
        return True


def _copied(state: Mapping[str, Tensor], before: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors to the CPU, into the places of an earlier copy where there is one.

    A GPU copies into page-locked memory many times as fast, but locking pages takes longer than the copy.
    """
    copies = {}
    for name, value in state.items():
        held = before.get(name)
        if held is None or held.is_pinned() != value.is_cuda:
            held = torch.empty_like(value, device="cpu", pin_memory=value.is_cuda)
        copies[name] = held.copy_(value.detach(), non_blocking=True)
    if any(value.is_cuda for value in state.values()):
        torch.cuda.synchronize()
    return copies


Item = TypeVar("Item")


class Throughput:
    """Measures a run by the clock."""

    def __init__(
        self, limit_seconds: float | None, *, before: float = 0.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock: the run may take so long (None for no limit), and had taken so long before."""
        self._now, self._start, self._limit = now, now() - before, limit_seconds
        self._images = self._steps = self._evaluations = 0
        self._waiting = self._stepping = self._evaluating = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the start, those before a resumption included."""
        return self._now() - self._start

    @property
    def is_over(self) -> bool:
        """Whether the time limit is reached."""
        return self._limit is not None and self.elapsed >= self._limit

    def timed(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Pass batches on, counting the wait for each, and what is done with it, as training time."""
        began = self._now()
        for batch in batches:
            self._waiting += self._now() - began
            yield batch
            self._stepping += self._now() - began
            began = self._now()

    def count_step(self, images: int) -> None:
        """A step over this many images was taken."""
        self._steps += 1
        self._images += images

    def count_evaluation(self, seconds: float) -> None:
        """An epoch was evaluated in this time."""
        self._evaluations += 1
        self._evaluating += seconds

    @property
    def images_per_second(self) -> float:
        """Over all steps so far."""
        return self._images / self._stepping if self._stepping else 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the training time in which the model waited for a batch."""
        return self._waiting / self._stepping if self._stepping else 0.0

    def seconds_left(self, steps: int, epochs: int) -> float:
        """Estimate of the time that the steps and evaluations still to come will take."""
        per_step = self._stepping / self._steps if self._steps else 0.0
        per_epoch = self._evaluating / self._evaluations if self._evaluations else 0.0
        estimate = steps * per_step + epochs * per_epoch
        return estimate if self._limit is None else max(0.0, min(estimate, self._limit - self.elapsed))
