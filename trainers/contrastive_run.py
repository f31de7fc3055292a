"""The loop of a contrastive run: steps, epochs, checkpoints, and what is worth keeping of them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType

import torch

from encoders.dual import DualEncoder
from encoders.preprocessing import CaptionTokenizer
from trainers.averaging import AveragedEncoder
from trainers.batches import Batch, PairSplits, TrainingPair
from trainers.checkpoints import data_fingerprint, read_checkpoint, write_checkpoint
from trainers.criterion import Criterion, criterion_for
from trainers.errors import DataError, DivergedError
from trainers.feeding import feed
from trainers.journal import FILE_NAME, Journal, plain_options
from trainers.judging import Judge, Judgement
from trainers.listeners import RunStart, SilentListener, TrainingListener
from trainers.objective import PairEncoder
from trainers.options import ContrastiveOptions
from trainers.pace import Pace
from trainers.placement import Placement
from trainers.processes import Processes
from trainers.reporting import (
    epoch_report,
    notes_on,
    step_report,
    where_it_diverged,
    why_interrupted,
    why_over,
)
from trainers.run_state import BestEpoch, RunState
from trainers.schedules import run_progress, warmup_cosine
from trainers.skips import Skips
from trainers.stepping import Stepper
from trainers.stopping import StopSignals
from trainers.validation import RetrievalRecall

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
        self._skips = Skips(splits.train, self.listener, self.processes)
        model = model.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._criterion = criterion_for(splits.train, options)
        classes = sum(self._criterion.label_sizes)
        self._encoder = PairEncoder(model, options.loss, placement, options.freeze, classes=classes)
        self._average = AveragedEncoder(self._encoder, options.ema) if options.ema else None
        spec = options.preset.image_preprocessing
        self._stepper = Stepper(self._encoder, spec, self._criterion, options, self.processes)
        self._judge = self._build_judge(splits.validation, tokenizer) if self.processes.is_first else None
        self._batches = feed(splits.train, tokenizer, self._encoder, options, self.processes, self._skips.add)
        self.state, elapsed, journal_bytes = self._restored() if options.resume else (RunState(), 0.0, 0)
        limit = options.time_limit_minutes
        self.pace = Pace(60 * limit if limit else None, before=elapsed)
        self._checkpoint_time = time.monotonic()
        self._is_over = self._in_step = False
        if self.processes.is_first:
            self.journal = Journal(work_folder / FILE_NAME, keep_bytes=journal_bytes)

    def _build_judge(self, pairs: Sequence[TrainingPair], tokenizer: CaptionTokenizer) -> Judge:
        options = self.options
        return Judge(
            pairs,
            options.preset.image_preprocessing,
            tokenizer,
            self.placement,
            criterion=criterion_for(pairs, replace(options, label_weight=0.0, view_weight=0.0)),
            batch_size=options.batch_size,
            on_skip=self.listener.on_skip,
        )

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
    def _judged(self) -> PairEncoder:
        """What is judged and kept: the averaged weights, if they are averaged."""
        return self._average.encoder if self._average else self._encoder

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.options.epochs * self._batches.steps

    @property
    def skipped(self) -> int:
        """Training images that could not be read so far, by any process up to the last epoch."""
        return len(self._skips)

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
                self.listener.on_note(why_interrupted(self.state))
                return True
        return False

    def _is_done(self) -> bool:
        why = why_over(self.state, self.options, time_is_over=self._is_over)
        if why:
            self.listener.on_note(why)
        return why is not None or self.state.epochs >= self.options.epochs

    def _announce(self) -> None:
        if self._judge is None:
            return
        self._encoder.train()
        for note in notes_on(self.options, self._encoder, world=self.processes.world):
            self.listener.on_note(note)
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
        self._stepper.criterion = self._criterion_of(state.epochs)
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

    def _criterion_of(self, epoch: int) -> Criterion:
        on_images = epoch < self.options.image_epochs
        return self._criterion.on_images_alone() if on_images else self._criterion

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
        factor, state = self._rate_factor(elapsed), self.state
        rate = self.options.learning_rate * factor
        self._in_step = True
        try:
            loss = self._stepper.take(batches, state.step, factor)
        except DivergedError as error:
            where = where_it_diverged(state.step + 1, rate, batches, self.pairs)
            raise DivergedError(f"{error} {where}") from error
        if self._average:
            self._average.update(state.step)
        self._in_step = False
        state.losses.append(loss)
        self.pace.count_step(sum(len(batch) for batch in batches) * self.processes.world)
        report = step_report(state, self.options, self.pace, learning_rate=rate, total_steps=self.total_steps)
        with stop.deferring():
            self.listener.on_step(report)

    def _rate_factor(self, elapsed: float) -> float:
        if self.options.schedule == "plateau":
            return self.state.plateau.rate
        limit = self.options.time_limit_minutes
        progress = run_progress(self.state.step, self.total_steps, elapsed, limit and 60 * limit)
        return warmup_cosine(progress, self.options.warmup_fraction)

    def _judge_epoch(self, began: float, stop: StopSignals) -> None:
        state, judging = self.state, time.monotonic()
        judgement = self._judgement()
        self._skips.share()
        self.pace.count_judging(time.monotonic() - judging)
        state.best.offer(state.epochs + 1, judgement.recall, self._judged.model)
        report = epoch_report(
            state,
            judgement,
            self._judged,
            self.pace,
            learning_rate=self._stepper.optimiser.param_groups[0]["lr"],
            seconds=time.monotonic() - began,
            skipped=self.skipped,
        )
        state.finish_epoch(judgement.loss)
        if self.processes.is_first:
            self.journal.write("epoch", report.to_dict())
        if time.monotonic() - self._checkpoint_time > SECONDS_BETWEEN_CHECKPOINTS:
            self._write_checkpoint()
        with stop.deferring():
            self.listener.on_epoch(report)

    def _judgement(self) -> Judgement:
        """What the first process finds, everywhere."""
        found = self.processes.from_first(self._judge.judge(self._judged) if self._judge else None)
        assert found is not None  # noqa: S101 - the first process has a judge
        return found

    def best_model(self) -> DualEncoder:
        """The model with the weights of the best epoch; as it is now when no epoch was finished."""
        if self.best.weights is not None:
            self._judged.model.load_state_dict(self.best.weights)
        return self._judged.model

    def best_recall(self) -> RetrievalRecall:
        """What the best model scores."""
        if self.best.recall is None:
            self.best.recall = self._judgement().recall
        return self.best.recall

    def _write_checkpoint(self) -> None:
        self._checkpoint_time = time.monotonic()
        if not self.processes.is_first:
            return
        content = {
            "options": plain_options(self.options),
            "data": self._data,
            "encoder": self._encoder.state_dict(),
            "average": self._average.encoder.state_dict() if self._average else None,
            "optimiser": self._stepper.optimiser.state_dict(),
            "state": self.state.to_dict(),
            "elapsed": self.pace.elapsed,
            "journal_bytes": len(self.journal.content()),
        }
        write_checkpoint(self._work_folder, content)

    def _restored(self) -> tuple[RunState, float, int]:
        kept = read_checkpoint(self._work_folder, plain_options(self.options), self._data)
        self._encoder.load_state_dict(kept["encoder"])
        if self._average:
            self._average.encoder.load_state_dict(kept["average"])
        self._stepper.optimiser.load_state_dict(kept["optimiser"])
        return RunState.from_dict(kept["state"]), kept["elapsed"], kept["journal_bytes"]
