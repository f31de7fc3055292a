"""What a run tells the one who watches it; a trainer itself never prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from encoders.retrieval import RetrievalRecall


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run that is about to take its first step.

    Attributes:
        train_pairs: pairs to train on.
        validation_pairs: pairs each epoch is judged on.
        epochs: passes over the training pairs.
        total_steps: steps of the whole run.
        first_step: 0, or where a resumed run goes on.
        device: the torch device.
        precision: ``fp32`` or ``bf16``.
        parameters: trainable numbers in the model.
    """

    train_pairs: int
    validation_pairs: int
    epochs: int
    total_steps: int
    first_step: int
    device: str
    precision: str
    parameters: int


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step.

    Attributes:
        step: steps taken so far, this one included.
        total_steps: steps of the whole run.
        epoch: from 1.
        loss: of the batch, before the step.
        learning_rate: of the step, as a factor of the peak rates times the base rate.
        images_per_second: since the run started or was resumed, without validation.
        waiting_share: share of the training time spent waiting for data.
        seconds_left: estimate for the rest of the run, validation included.
    """

    step: int
    total_steps: int
    epoch: int
    loss: float
    learning_rate: float
    images_per_second: float
    waiting_share: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class EpochReport:
    """One epoch and what it was worth.

    Attributes:
        epoch: from 1.
        steps: steps taken so far.
        loss: mean over the epoch.
        validation_loss: of the validation pairs, in batches of the run's size; without the parts of the loss
            that are added for labels and views.
        learning_rate: of the last step.
        logit_scale: 1 / temperature at its end.
        validation: recall on the validation pairs.
        is_best: no epoch before had a higher mean recall.
        seconds: the epoch took, validation included.
        images_per_second: of its training part.
        waiting_share: share of its training time spent waiting for data.
        skipped: training images that could not be read so far.
    """

    epoch: int
    steps: int
    loss: float
    validation_loss: float
    learning_rate: float
    logit_scale: float
    validation: RetrievalRecall
    is_best: bool
    seconds: float
    images_per_second: float
    waiting_share: float
    skipped: int

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the journal."""
        return {**asdict(self), "validation": self.validation.to_dict()}


class EpochRecord(Protocol):
    """The report of an epoch, of any kind of run."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the journal."""


Report_contra = TypeVar("Report_contra", bound=EpochRecord, contravariant=True)


class RunListener(Protocol[Report_contra]):
    """Watches a run. Raising KeyboardInterrupt from any method ends it gracefully."""

    def on_start(self, start: RunStart) -> None:
        """The run begins."""

    def on_step(self, report: StepReport) -> None:
        """A step was taken."""

    def on_epoch(self, report: Report_contra) -> None:
        """An epoch was finished and judged."""

    def on_skip(self, pair_id: str, image: Path, reason: str) -> None:
        """An image cannot be read; its pair is left out, and no other takes its place."""

    def on_note(self, message: str) -> None:
        """Something worth knowing happened: the time is over, a model was kept ..."""


TrainingListener = RunListener[EpochReport]


class SilentListener:
    """Watches nothing, of any kind of run: what processes get whose first one reports."""

    def on_seen(self, pictures: int, total: int) -> None:
        """Ignore it."""

    def on_start(self, start: RunStart) -> None:
        """Ignore it."""

    def on_step(self, report: StepReport) -> None:
        """Ignore it."""

    def on_epoch(self, report: object) -> None:
        """Ignore it."""

    def on_skip(self, pair_id: str, image: Path, reason: str) -> None:
        """Ignore it."""

    def on_note(self, message: str) -> None:
        """Ignore it."""
