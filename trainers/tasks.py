"""What a run can teach: the port between the loop that all runs share and what each of them learns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import nn

from trainers.captioning_options import CaptioningOptions
from trainers.listeners import EpochRecord
from trainers.options import ContrastiveOptions
from trainers.run_state import BestEpoch

BatchT = TypeVar("BatchT")
FoundT = TypeVar("FoundT")
ReportT_co = TypeVar("ReportT_co", bound=EpochRecord, covariant=True)


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """What the loop knows of an epoch that was judged.

    Attributes:
        epoch: from 1.
        steps: steps taken so far.
        loss: mean over the epoch.
        learning_rate: of the last step.
        seconds: the epoch took, validation included.
        images_per_second: of the training part of the run.
        waiting_share: share of the training time spent waiting for data.
    """

    epoch: int
    steps: int
    loss: float
    learning_rate: float
    seconds: float
    images_per_second: float
    waiting_share: float


class Task(Protocol[BatchT, FoundT, ReportT_co]):
    """What a run teaches a module, and how it judges what was learned.

    Attributes:
        deciding_score: what the best epoch has most of, for people.
        needs_an_epoch: whether nothing is worth keeping before an epoch was judged.
    """

    deciding_score: ClassVar[str]
    needs_an_epoch: ClassVar[bool]

    @property
    def options(self) -> ContrastiveOptions | CaptioningOptions:
        """Of the run."""

    @property
    def module(self) -> nn.Module:
        """What learns."""

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What moves its weights."""

    @property
    def best(self) -> BestEpoch[Any]:
        """The best epoch so far."""

    @property
    def train_pairs(self) -> int:
        """Pairs to train on."""

    @property
    def pool(self) -> int:
        """Pairs each epoch is judged on; 0 in processes that do not judge."""

    @property
    def steps(self) -> int:
        """Steps of an epoch."""

    def notes(self) -> Iterator[str]:
        """What someone should know before the run starts."""

    def batches(self, epoch: int, *, first_step: int) -> Iterator[BatchT]:
        """What each step of an epoch (from 0) learns from, from the given step on."""

    def size(self, batch: BatchT) -> int:
        """Pairs in this process's share of a step."""

    def is_usable(self, batch: BatchT) -> bool:
        """Whether there is something to learn from it."""

    def rate_factor(self, behind: float) -> float:
        """What the peak rates are multiplied with when this share of the run is behind."""

    def take(self, batch: BatchT, step: int, rate_factor: float) -> float:
        """Take the step with this number (from 0): its loss."""

    def judge(self) -> FoundT:
        """What the module is worth now, the same in every process."""

    def conclude(self, found: FoundT, facts: EpochFacts) -> ReportT_co:
        """Offer the epoch as the best, adapt the schedule to it, and report it."""

    def stale_epochs(self, epochs: int) -> int:
        """Of so many epochs, those since the last one that patience must not count."""

    def weights(self) -> dict[str, Any]:
        """State dicts for the checkpoint, by name."""

    def memory(self) -> dict[str, Any]:
        """Plain values and tensors for the checkpoint: the best epoch, the schedule."""

    def restore(self, weights: Mapping[str, Any], memory: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint kept."""
