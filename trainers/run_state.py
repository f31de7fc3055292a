"""Where a run stands: what a checkpoint keeps besides weights and optimiser."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

Scores = TypeVar("Scores")


@dataclass(slots=True)
class Progress:
    """Where a run stands, between two steps.

    Attributes:
        step: steps of the run that are behind.
        epochs: epochs that are behind.
        steps_in_epoch: steps of the epoch under way that are behind.
        losses: of those, without the steps that had too few readable pairs.
    """

    step: int = 0
    epochs: int = 0
    steps_in_epoch: int = 0
    losses: list[float] = field(default_factory=list)

    def count_step(self) -> None:
        """Count a step of the epoch under way."""
        self.step, self.steps_in_epoch = self.step + 1, self.steps_in_epoch + 1

    def count_epoch(self) -> None:
        """Count the epoch under way."""
        self.epochs, self.steps_in_epoch, self.losses = self.epochs + 1, 0, []

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Progress:
        """The inverse of ``dataclasses.asdict``; further values are left alone."""
        return cls(**{part.name: values[part.name] for part in fields(cls)})


@dataclass(slots=True)
class BestEpoch(Generic[Scores]):
    """The epoch that ranks highest so far, and its weights.

    Attributes:
        rank: what scores are compared by; the higher the better.
        epoch: from 1; 0 before any was judged.
        scores: of that epoch.
        weights: its state dict, on the CPU.
    """

    rank: Callable[[Scores], float]
    epoch: int = 0
    scores: Scores | None = None
    weights: dict[str, Tensor] = field(default_factory=dict)

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
