"""The loop of a contrastive run: steps, epochs, checkpoints, and what is worth keeping of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import torch

from encoders.dual import DualEncoder
from encoders.preprocessing import CaptionTokenizer
from trainers.batches import Batch, PairSplits
from trainers.checkpoints import data_fingerprint, read_checkpoint, write_checkpoint
from trainers.criterion import criterion_for
from trainers.errors import DataError, DivergedError
from trainers.feeding import feed
from trainers.journal import FILE_NAME, Journal, plain_options
from trainers.judging import Judge
from trainers.listeners import EpochReport, RunStart, SilentListener, StepReport, TrainingListener
from trainers.objective import PairEncoder
from trainers.options import ContrastiveOptions
from trainers.pace import Pace
from trainers.placement import Placement
from trainers.processes import Processes
from trainers.run_state import BestEpoch, RunState
from trainers.schedules import run_progress, warmup_cosine
from trainers.stepping import Stepper, mixes_images
from trainers.stopping import StopSignals
from trainers.validation import RetrievalRecall

SHOWN_IDS = 4
SECONDS_BETWEEN_CHECKPOINTS = 30.0


class ContrastiveRun:
    """One run, from the first step to the weights worth keeping."""

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: CaptionTokenizer,
        splits: PairSplits,
        options: ContrastiveOptions,
        placement: Placement,
        work_folder: Path,
        *,
        listener: TrainingListener | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Put the pieces together, and go back to the checkpoint if a run is resumed.

        Raises:
            DataError: too few validation images can be read.
            CheckpointError: there is no run to resume, or it was another one.
        """
        self.options, self.pairs, self.placement = options, splits.train, placement
        self.processes = processes or Processes()
        self.listener = listener if listener and self.processes.is_first else SilentListener()
        self._work_folder, self._data = work_folder, data_fingerprint(splits.train, splits.validation)
        self._unreadable: dict[int, str] = {}
        model = model.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        criterion = criterion_for(splits.train, options)
        classes = sum(criterion.label_sizes)
        self._encoder = PairEncoder(model, options.loss, placement, options.freeze, classes=classes)
        spec = options.preset.image_preprocessing
        self._stepper = Stepper(self._encoder, spec, criterion, options, self.processes)
        self._judge = (
            Judge(splits.validation, spec, tokenizer, placement, on_skip=self.listener.on_skip)
            if self.processes.is_first
            else None
        )
        self._batches = feed(splits.train, tokenizer, self._encoder, options, self.processes, self._skip)
        self.state, elapsed, journal_bytes = self._restored() if options.resume else (RunState(), 0.0, 0)
        limit = options.time_limit_minutes
        self.pace = Pace(60 * limit if limit else None, before=elapsed)
        self._checkpoint_time = time.monotonic()
        self._is_over = self._in_step = False
        if self.processes.is_first:
            self.journal = Journal(work_folder / FILE_NAME, keep_bytes=journal_bytes)

    def __enter__(self) -> ContrastiveRun:
        """Nothing to do: the threads start when they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the threads."""
        self._batches.close()

    @property
    def best(self) -> BestEpoch:
        """The best epoch so far."""
        return self.state.best

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.options.epochs * self._batches.steps

    @property
    def skipped(self) -> int:
        """Training images that could not be read so far, by any process up to the last epoch."""
        return len(self._unreadable)

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
                while not self._is_done():
                    self._train_epoch(stop)
            except KeyboardInterrupt:
                if not self._in_step:
                    self._write_checkpoint()
                self.listener.on_note(self._why_stopped())
                return True
        return False

    def _why_stopped(self) -> str:
        if self.best.epoch:
            now, best = self.state.epochs + 1, self.best.epoch
            return f"interrupted in epoch {now}: the best epoch so far, {best}, is kept"
        return "interrupted before an epoch was finished: the weights as they are now are kept"

    def _is_done(self) -> bool:
        patience, state = self.options.patience, self.state
        if self._is_over:
            self.listener.on_note(f"the time is over after {state.epochs} of {self.options.epochs} epochs")
            return True
        if patience and state.stale_epochs >= patience:
            self.listener.on_note(
                f"no better recall in {patience} epochs: stopped after epoch {state.epochs}"
            )
            return True
        return state.epochs >= self.options.epochs

    def _announce(self) -> None:
        if self._judge is None:
            return
        chunk = self.options.cache_chunk or self.options.batch_size
        if min(chunk, self.options.batch_size // self.processes.world) < self.options.batch_size:
            self._encoder.train()
            if mixes_images(self._encoder):
                self.listener.on_note(
                    "the image tower's batch norms see one chunk, or one process's share, at a time: "
                    "gradients are close to the whole batch's, not equal"
                )
        start = RunStart(
            train_pairs=len(self.pairs),
            validation_pairs=self._judge.pool,
            epochs=self.options.epochs,
            total_steps=self.total_steps,
            first_step=self.state.step,
            device=str(self.placement.device),
            precision=self.placement.precision,
            parameters=sum(p.numel() for p in self._encoder.parameters() if p.requires_grad),
        )
        event = "resume" if self.state.step else "start"
        self.journal.write(event, {**asdict(start), "options": plain_options(self.options)})
        self.listener.on_start(start)

    def _train_epoch(self, stop: StopSignals) -> None:
        began, state = time.monotonic(), self.state
        self._encoder.train()
        for batches in self.pace.timed(self._batches.epoch(state.epochs, first_step=state.steps_in_epoch)):
            usable, elapsed = self._agree(batches, stop)
            if self._is_over:
                break
            if usable:
                self._step(batches, elapsed, stop)
            state.step += 1
            state.steps_in_epoch += 1
            if state.step % self.options.checkpoint_steps == 0:
                self._write_checkpoint()
        if not state.losses and not self._is_over:
            raise DataError(f"none of the {len(self.pairs)} training images can be read")
        if state.losses:
            self._judge_epoch(began, stop)

    def _agree(self, batches: Sequence[Batch], stop: StopSignals) -> tuple[bool, float]:
        """Whether all processes have pairs for this step, and the time: all must do the same."""
        pairs = min(len(batch) for batch in batches) * self.processes.world
        wishes = (float(stop.asked), float(self.pace.is_over), float(pairs < 2), self.pace.elapsed)  # noqa: PLR2004
        stopping, over, unusable, elapsed = self.processes.largest(wishes, self.placement.device)
        if stopping:
            raise KeyboardInterrupt
        self._is_over = bool(over)
        return not unusable, elapsed

    def _step(self, batches: Sequence[Batch], elapsed: float, stop: StopSignals) -> None:
        factor = self._rate_factor(elapsed)
        self._in_step = True
        try:
            loss = self._stepper.take(batches, self.state.step, factor)
        except DivergedError as error:
            raise DivergedError(f"{error} {self._where(batches, factor)}") from error
        self._in_step = False
        self.state.losses.append(loss)
        self.pace.count_step(sum(len(batch) for batch in batches) * self.processes.world)
        report = StepReport(
            step=self.state.step + 1,
            total_steps=self.total_steps,
            epoch=self.state.epochs + 1,
            loss=loss,
            learning_rate=self.options.learning_rate * factor,
            images_per_second=self.pace.images_per_second,
            waiting_share=self.pace.waiting_share,
            seconds_left=self.pace.seconds_left(
                self.total_steps - self.state.step - 1, self.options.epochs - self.state.epochs
            ),
        )
        with stop.deferring():
            self.listener.on_step(report)

    def _rate_factor(self, elapsed: float) -> float:
        limit = self.options.time_limit_minutes
        progress = run_progress(self.state.step, self.total_steps, elapsed, limit and 60 * limit)
        return warmup_cosine(progress, self.options.warmup_fraction)

    def _where(self, batches: Sequence[Batch], factor: float) -> str:
        rows = [row for batch in batches for row in batch.rows]
        ids = ", ".join(self.pairs[row].id for row in rows[:SHOWN_IDS])
        more = f" and {len(rows) - SHOWN_IDS} more" if len(rows) > SHOWN_IDS else ""
        return (
            f"at step {self.state.step + 1}, learning rate {self.options.learning_rate * factor:.2e}, "
            f"batch of {ids}{more}: try a lower --learning-rate"
        )

    def _judge_epoch(self, began: float, stop: StopSignals) -> None:
        state, judging = self.state, time.monotonic()
        recall = self._recall()
        self._share_skips()
        self.pace.count_judging(time.monotonic() - judging)
        loss, epoch = sum(state.losses) / len(state.losses), state.epochs + 1
        is_best = state.best.offer(epoch, recall, self._encoder.model)
        state.epochs, state.steps_in_epoch, state.losses = epoch, 0, []
        report = EpochReport(
            epoch=epoch,
            steps=state.step,
            loss=loss,
            learning_rate=self._stepper.optimiser.param_groups[0]["lr"],
            logit_scale=float(self._encoder.model.logit_scale.detach().exp()),
            validation=recall,
            is_best=is_best,
            seconds=time.monotonic() - began,
            images_per_second=self.pace.images_per_second,
            waiting_share=self.pace.waiting_share,
            skipped=self.skipped,
        )
        if self.processes.is_first:
            self.journal.write("epoch", report.to_dict())
        if time.monotonic() - self._checkpoint_time > SECONDS_BETWEEN_CHECKPOINTS:
            self._write_checkpoint()
        with stop.deferring():
            self.listener.on_epoch(report)

    def _recall(self) -> RetrievalRecall:
        """What the first process finds, everywhere."""
        found = self._judge.recall(self._encoder.model) if self._judge else None
        found = self.processes.from_first(found)
        assert found is not None  # noqa: S101 - the first process has a judge
        return found

    def best_model(self) -> DualEncoder:
        """The model with the weights of the best epoch; as it is now when no epoch was finished."""
        if self.best.weights is not None:
            self._encoder.model.load_state_dict(self.best.weights)
        return self._encoder.model

    def best_recall(self) -> RetrievalRecall:
        """What the best model scores."""
        if self.best.recall is None:
            self.best.recall = self._recall()
        return self.best.recall

    def _write_checkpoint(self) -> None:
        self._checkpoint_time = time.monotonic()
        if not self.processes.is_first:
            return
        content = {
            "options": plain_options(self.options),
            "data": self._data,
            "encoder": self._encoder.state_dict(),
            "optimiser": self._stepper.optimiser.state_dict(),
            "state": self.state.to_dict(),
            "elapsed": self.pace.elapsed,
            "journal_bytes": len(self.journal.content()),
        }
        write_checkpoint(self._work_folder, content)

    def _restored(self) -> tuple[RunState, float, int]:
        kept = read_checkpoint(self._work_folder, plain_options(self.options), self._data)
        self._encoder.load_state_dict(kept["encoder"])
        self._stepper.optimiser.load_state_dict(kept["optimiser"])
        return RunState.from_dict(kept["state"]), kept["elapsed"], kept["journal_bytes"]

    def _skip(self, row: int, reason: str) -> None:
        if row not in self._unreadable:
            self._unreadable[row] = reason
            self.listener.on_skip(self.pairs[row].id, self.pairs[row].image, reason)

    def _share_skips(self) -> None:
        for found in self.processes.collect(dict(self._unreadable)):
            for row, reason in found.items():
                self._skip(row, reason)
