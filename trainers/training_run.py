"""The loop of every training run: steps, epochs, checkpoints, how it ends. A task says what is learned."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import nn

from encoders.errors import DataError
from trainers.checkpoints import JOURNAL_FILE, Journal, plain_options, read_checkpoint, write_checkpoint
from trainers.device import Placement
from trainers.listeners import EpochFacts, RunListener, RunStart, StepReport
from trainers.optimisation import run_progress
from trainers.options import CaptioningOptions, ContrastiveOptions
from trainers.processes import Processes, StopSignals
from trainers.run_state import BestEpoch, Progress, Throughput

SECONDS_BETWEEN_CHECKPOINTS = 30.0

BatchT = TypeVar("BatchT")
ScoresT = TypeVar("ScoresT")
ReportT_co = TypeVar("ReportT_co", bound=EpochFacts, covariant=True)


class Task(Protocol[BatchT, ScoresT, ReportT_co]):
    """What a run teaches a module, and how it evaluates what was learned.

    Attributes:
        deciding_score: the best epoch has the highest; for people.
        needs_an_epoch: whether nothing is worth keeping before an epoch was evaluated.
    """

    deciding_score: ClassVar[str]
    needs_an_epoch: ClassVar[bool]

    @property
    def options(self) -> ContrastiveOptions | CaptioningOptions: ...

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    @property
    def optimiser(self) -> torch.optim.Optimizer: ...

    @property
    def best(self) -> BestEpoch[Any]: ...

    @property
    def train_pairs(self) -> int:
        """Pairs to train on."""

    @property
    def validation_pairs(self) -> int:
        """Pairs each epoch is evaluated on; 0 in processes that do not evaluate."""

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

    def rate_factor(self, progress: float) -> float:
        """Factor of the peak learning rates at this share of the run."""

    def step(self, batch: BatchT, step: int, rate_factor: float) -> float:
        """Take the step with this number (from 0) and return its loss."""

    def evaluate(self) -> ScoresT:
        """Score the module as it is now; the same in every process."""

    def finish_epoch(self, found: ScoresT, facts: EpochFacts) -> ReportT_co:
        """Offer the epoch as the best, adapt the schedule to it, and report it."""

    def epochs_without_progress(self, epochs: int) -> int:
        """How many of so many epochs count against the run's patience."""

    def weights(self) -> dict[str, Any]:
        """State dicts for the checkpoint, by name."""

    def checkpoint_state(self) -> dict[str, Any]:
        """Plain values and tensors for the checkpoint: the best epoch, the schedule."""

    def restore(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint kept."""


TaskT = TypeVar("TaskT", bound=Task[Any, Any, Any])


class TrainingRun(Generic[TaskT]):
    """One run, from the first step to the weights worth keeping."""

    def __init__(
        self,
        task: TaskT,
        placement: Placement,
        work_folder: Path,
        data: str,
        *,
        listener: RunListener[Any],
        processes: Processes,
    ) -> None:
        """Begin, or go back to the checkpoint if a run is resumed.

        Args:
            task: what is learned.
            placement: where it computes.
            work_folder: of journal and checkpoint.
            data: fingerprint of what is learned from.
            listener: hears of every step and epoch.
            processes: that share every batch.

        Raises:
            CheckpointError: there is no run to resume, or it was another one.
        """
        self.task, self.options = task, task.options
        self.placement, self.processes = placement, processes
        self._listener, self._work_folder, self._data = listener, work_folder, data
        self.progress = Progress()
        elapsed, journal_bytes = 0.0, 0
        if self.options.resume:
            kept = read_checkpoint(work_folder, plain_options(self.options), data)
            task.restore(kept, kept["state"])
            task.optimiser.load_state_dict(kept["optimiser"])
            self.progress = Progress.from_dict(kept["state"])
            elapsed, journal_bytes = kept["elapsed"], kept["journal_bytes"]
        limit = self.options.time_limit_minutes
        self._limit_seconds = 60 * limit if limit else None
        self.throughput = Throughput(self._limit_seconds, before=elapsed)
        self._checkpoint_time = time.monotonic()
        self._time_is_over = self._in_step = False
        if processes.is_first:
            self.journal = Journal(work_folder / JOURNAL_FILE, keep_bytes=journal_bytes)

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.options.epochs * self.task.steps

    def summary(self) -> dict[str, Any]:
        """What the model folder keeps of the run."""
        return {
            "epochs": self.progress.epochs,
            "best_epoch": self.task.best.epoch,
            "steps": self.progress.step,
            "processes": self.processes.world,
            "device": str(self.placement.device),
            "precision": self.placement.precision,
            "seconds": round(self.throughput.elapsed, 1),
        }

    def fit(self) -> bool:
        """Train until the epochs, the time or the patience are over.

        Returns:
            Whether it was interrupted.

        Raises:
            DataError: no training image can be read.
            DivergedError: the loss is no longer a number.
            DeviceMemoryError: the GPU's memory is too small for a batch.
        """
        with StopSignals() as stop:
            try:
                with stop.deferring():
                    self._announce()
                while self.progress.epochs < self.options.epochs:
                    why = self._why_over()
                    if why:
                        self._listener.on_note(why)
                        break
                    self._train_epoch(stop)
            except KeyboardInterrupt:
                if not self._in_step:  # else the weights are no longer those of the step before
                    self._write_checkpoint()
                self._listener.on_note(self._why_interrupted())
                return True
        return False

    def _announce(self) -> None:
        if not self.processes.is_first:
            return
        for note in self.task.notes():
            self._listener.on_note(note)
        start = RunStart(
            train_pairs=self.task.train_pairs,
            validation_pairs=self.task.validation_pairs,
            epochs=self.options.epochs,
            total_steps=self.total_steps,
            first_step=self.progress.step,
            device=str(self.placement.device),
            precision=self.placement.precision,
            parameters=sum(p.numel() for p in self.task.module.parameters() if p.requires_grad),
        )
        event = "resume" if self.progress.step else "start"
        self.journal.write(event, {**asdict(start), "options": plain_options(self.options)})
        self._listener.on_start(start)

    def _why_over(self) -> str | None:
        """Why the run ends before its last epoch; None when it need not."""
        epochs, patience = self.progress.epochs, self.options.patience
        if self._time_is_over:
            return f"the time is over after {epochs} of {self.options.epochs} epochs"
        if patience and self.task.epochs_without_progress(epochs) >= patience:
            return f"no better {self.task.deciding_score} in {patience} epochs: stopped after epoch {epochs}"
        return None

    def _why_interrupted(self) -> str:
        """What becomes of an interrupted run's weights."""
        best = self.task.best.epoch
        if best:
            return f"interrupted in epoch {self.progress.epochs + 1}: the best epoch so far, {best}, is kept"
        if self.task.needs_an_epoch:
            return "interrupted before an epoch was finished: the model stays as it was"
        return "interrupted before an epoch was finished: the weights as they are now are kept"

    def _train_epoch(self, stop: StopSignals) -> None:
        began, progress = time.monotonic(), self.progress
        self.task.module.train()
        batches = self.task.batches(progress.epochs, first_step=progress.steps_in_epoch)
        for batch in self.throughput.timed(batches):
            usable, elapsed = self._agree_on_step(batch, stop)
            if self._time_is_over and (self.task.best.epoch or not self.task.needs_an_epoch):
                break
            if usable:
                self._take_step(batch, elapsed, stop)
            else:
                progress.count_step()
            if progress.step % self.options.checkpoint_steps == 0:
                self._write_checkpoint()
        if progress.losses:
            self._finish_epoch(began, stop)
        elif not self._time_is_over:
            raise DataError(f"none of the {self.task.train_pairs} training images can be read")

    def _agree_on_step(self, batch: object, stop: StopSignals) -> tuple[bool, float]:
        """Whether all processes can use their share of a step, and the time: all must do the same."""
        own = (stop.requested, self.throughput.is_over, not self.task.is_usable(batch))
        everywhere = self.processes.largest(
            [*map(float, own), self.throughput.elapsed], self.placement.device
        )
        stop_requested, time_is_over, unusable, elapsed = everywhere
        if stop_requested:
            raise KeyboardInterrupt
        self._time_is_over = bool(time_is_over)
        return not unusable, elapsed

    def _take_step(self, batch: object, elapsed: float, stop: StopSignals) -> None:
        progress = self.progress
        factor = self.task.rate_factor(
            run_progress(progress.step, self.total_steps, elapsed, self._limit_seconds)
        )
        self._in_step = True
        progress.losses.append(self.task.step(batch, progress.step, factor))
        progress.count_step()
        self._in_step = False
        self.throughput.count_step(self.task.size(batch) * self.processes.world)
        report = StepReport(
            step=progress.step,
            total_steps=self.total_steps,
            epoch=progress.epochs + 1,
            loss=progress.losses[-1],
            learning_rate=self.options.learning_rate * factor,
            images_per_second=self.throughput.images_per_second,
            waiting_share=self.throughput.waiting_share,
            seconds_left=self.throughput.seconds_left(
                self.total_steps - progress.step, self.options.epochs - progress.epochs
            ),
        )
        with stop.deferring():
            self._listener.on_step(report)

    def _finish_epoch(self, began: float, stop: StopSignals) -> None:
        progress, evaluation_began = self.progress, time.monotonic()
        scores = self.task.evaluate()
        self.throughput.count_evaluation(time.monotonic() - evaluation_began)
        facts = EpochFacts(
            epoch=progress.epochs + 1,
            steps=progress.step,
            loss=sum(progress.losses) / len(progress.losses),
            learning_rate=self.task.optimiser.param_groups[0]["lr"],
            seconds=time.monotonic() - began,
            images_per_second=self.throughput.images_per_second,
            waiting_share=self.throughput.waiting_share,
        )
        report = self.task.finish_epoch(scores, facts)
        progress.count_epoch()
        if self.processes.is_first:
            self.journal.write("epoch", report.to_dict())
        if time.monotonic() - self._checkpoint_time > SECONDS_BETWEEN_CHECKPOINTS:
            self._write_checkpoint()
        with stop.deferring():
            self._listener.on_epoch(report)

    def _write_checkpoint(self) -> None:
        self._checkpoint_time = time.monotonic()
        if not self.processes.is_first:
            return
        content = {
            **self.task.weights(),
            "options": plain_options(self.options),
            "data": self._data,
            "optimiser": self.task.optimiser.state_dict(),
            "state": {**asdict(self.progress), **self.task.checkpoint_state()},
            "elapsed": self.throughput.elapsed,
            "journal_bytes": len(self.journal.content()),
        }
        write_checkpoint(self._work_folder, content)
