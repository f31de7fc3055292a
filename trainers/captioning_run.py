"""The loop of a decoder run: steps, epochs, checkpoints, and what is worth keeping of them."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from encoders.decoder import Decoder
from trainers.caption_feeding import CaptionBatch
from trainers.caption_listeners import CaptionEpoch, CaptionListener
from trainers.caption_preparing import Prepared
from trainers.caption_state import BestCaptions, CaptioningState
from trainers.caption_stepping import CaptionStepper
from trainers.captioning_options import CaptioningOptions
from trainers.checkpoints import read_checkpoint, write_checkpoint
from trainers.journal import FILE_NAME, Journal, plain_options
from trainers.listeners import RunStart, SilentListener, StepReport
from trainers.pace import Pace
from trainers.placement import Placement
from trainers.processes import Processes
from trainers.randomness import seed_torch
from trainers.schedules import run_progress, warmup_cosine
from trainers.stopping import StopSignals
from trainers.torch_captions import build_for

SECONDS_BETWEEN_CHECKPOINTS = 30.0
PLATEAU_EPOCHS = 2
PLATEAU_FACTOR = 0.5


class CaptioningRun:
    """One run, from what the image tower sees to the decoder worth keeping."""

    def __init__(
        self,
        prepared: Prepared,
        options: CaptioningOptions,
        placement: Placement,
        work_folder: Path,
        data: str,
        *,
        listener: CaptionListener | None = None,
        processes: Processes | None = None,
    ) -> None:
        """Build the decoder, and go back to the checkpoint if a run is resumed.

        Args:
            prepared: what it learns from.
            options: of the run.
            placement: where it computes.
            work_folder: of journal and checkpoint.
            data: fingerprint of pairs and encoder.
            listener: hears of every step and epoch.
            processes: that share every batch.

        Raises:
            CheckpointError: there is no run to resume, or it was another one.
        """
        self.options, self.placement, self.processes = options, placement, processes or Processes()
        self.listener = listener if listener and self.processes.is_first else SilentListener()
        self._prepared, self._feed, self._judge = prepared, prepared.feed, prepared.judge
        self._work_folder, self._data = work_folder, data
        seed_torch(options.seed, "weights")
        self.decoder = build_for(options, prepared.codec.vocab_size, prepared.grid).to(placement.device)
        self._stepper = CaptionStepper(self.decoder, options, placement, self.processes)
        self.state, elapsed, journal_bytes = (
            self._restored() if options.resume else (CaptioningState(), 0.0, 0)
        )
        limit = options.time_limit_minutes
        self.pace = Pace(60 * limit if limit else None, before=elapsed)
        self._checkpoint_time = time.monotonic()
        self._is_over = self._in_step = False
        if self.processes.is_first:
            self.journal = Journal(work_folder / FILE_NAME, keep_bytes=journal_bytes)

    @property
    def best(self) -> BestCaptions:
        """The best epoch so far."""
        return self.state.best

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.options.epochs * self._feed.steps

    @property
    def pool(self) -> int:
        """Validation images that can be read; 0 in processes that do not judge."""
        return self._judge.pool if self._judge else 0

    def fit(self) -> bool:
        """Train until the epochs, the time or the patience are over.

        Returns:
            Whether it was interrupted.

        Raises:
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
        return "interrupted before an epoch was finished: the model stays as it was"

    def _is_done(self) -> bool:
        patience, state = self.options.patience, self.state
        if self._is_over:
            self.listener.on_note(f"the time is over after {state.epochs} of {self.options.epochs} epochs")
            return True
        if patience and state.stale_epochs >= patience:
            self.listener.on_note(f"no better CIDEr in {patience} epochs: stopped after epoch {state.epochs}")
            return True
        return state.epochs >= self.options.epochs

    def _announce(self) -> None:
        if not self.processes.is_first:
            return
        start = RunStart(
            train_pairs=self._prepared.captions,
            validation_pairs=self.pool,
            epochs=self.options.epochs,
            total_steps=self.total_steps,
            first_step=self.state.step,
            device=str(self.placement.device),
            precision=self.placement.precision,
            parameters=sum(parameter.numel() for parameter in self.decoder.parameters()),
        )
        event = "resume" if self.state.step else "start"
        self.journal.write(event, {**asdict(start), "options": plain_options(self.options)})
        self.listener.on_start(start)

    def _train_epoch(self, stop: StopSignals) -> None:
        began, state = time.monotonic(), self.state
        self.decoder.train()
        for batch in self.pace.timed(self._feed.epoch(state.epochs, first_step=state.steps_in_epoch)):
            elapsed = self._agree(stop)
            # The first epoch is finished whatever the clock says: without it there is nothing to keep.
            if self._is_over and self.best.epoch:
                break
            self._step(batch, elapsed, stop)
            if state.step % self.options.checkpoint_steps == 0:
                self._write_checkpoint()
        if state.losses:
            self._judge_epoch(began, stop)

    def _agree(self, stop: StopSignals) -> float:
        """The time, by the clock of all processes: all must stop at the same step."""
        wishes = (float(stop.asked), float(self.pace.is_over), self.pace.elapsed)
        stopping, over, elapsed = self.processes.largest(wishes, self.placement.device)
        if stopping:
            raise KeyboardInterrupt
        self._is_over = bool(over)
        return elapsed

    def _step(self, batch: CaptionBatch, elapsed: float, stop: StopSignals) -> None:
        factor, state = self._rate_factor(elapsed), self.state
        self._in_step = True
        loss = self._stepper.take(batch, state.step, factor)
        self._in_step = False
        state.losses.append(loss)
        state.step, state.steps_in_epoch = state.step + 1, state.steps_in_epoch + 1
        self.pace.count_step(len(batch) * self.processes.world)
        left = self.total_steps - state.step, self.options.epochs - state.epochs
        report = StepReport(
            step=state.step,
            total_steps=self.total_steps,
            epoch=state.epochs + 1,
            loss=loss,
            learning_rate=self.options.learning_rate * factor,
            images_per_second=self.pace.images_per_second,
            waiting_share=self.pace.waiting_share,
            seconds_left=self.pace.seconds_left(*left),
        )
        with stop.deferring():
            self.listener.on_step(report)

    def _rate_factor(self, elapsed: float) -> float:
        limit, warmup = self.options.time_limit_minutes, self.options.warmup_fraction
        progress = run_progress(self.state.step, self.total_steps, elapsed, limit and 60 * limit)
        if self.options.schedule == "plateau":
            return PLATEAU_FACTOR**self.state.cuts * min(1.0, progress / warmup if warmup else 1.0)
        return warmup_cosine(progress, warmup)

    def _judge_epoch(self, began: float, stop: StopSignals) -> None:
        state, judging = self.state, time.monotonic()
        scores = self._scores()
        self.pace.count_judging(time.monotonic() - judging)
        loss, epoch = float(np.mean(state.losses)), state.epochs + 1
        is_best = state.best.offer(epoch, scores, self.decoder)
        state.epochs, state.steps_in_epoch, state.losses = epoch, 0, []
        if self.options.schedule == "plateau":
            state.cut_after(PLATEAU_EPOCHS)
        report = CaptionEpoch(
            epoch=epoch,
            steps=state.step,
            loss=loss,
            learning_rate=self._stepper.optimiser.param_groups[0]["lr"],
            scores=scores,
            is_best=is_best,
            seconds=time.monotonic() - began,
            images_per_second=self.pace.images_per_second,
            waiting_share=self.pace.waiting_share,
        )
        if self.processes.is_first:
            self.journal.write("epoch", report.to_dict())
        if time.monotonic() - self._checkpoint_time > SECONDS_BETWEEN_CHECKPOINTS:
            self._write_checkpoint()
        with stop.deferring():
            self.listener.on_epoch(report)

    def _scores(self) -> dict[str, float]:
        """What the first process finds, everywhere."""
        found = self._judge.scores(self.decoder) if self._judge else {}
        return self.processes.from_first(found)

    def best_decoder(self) -> Decoder:
        """The decoder with the weights of the best epoch."""
        self.decoder.load_state_dict(self.best.weights)
        return self.decoder

    def _write_checkpoint(self) -> None:
        self._checkpoint_time = time.monotonic()
        if not self.processes.is_first:
            return
        content = {
            "options": plain_options(self.options),
            "data": self._data,
            "decoder": self.decoder.state_dict(),
            "optimiser": self._stepper.optimiser.state_dict(),
            "state": self.state.to_dict(),
            "elapsed": self.pace.elapsed,
            "journal_bytes": len(self.journal.content()),
        }
        write_checkpoint(self._work_folder, content)

    def _restored(self) -> tuple[CaptioningState, float, int]:
        kept = read_checkpoint(self._work_folder, plain_options(self.options), self._data)
        self.decoder.load_state_dict(kept["decoder"])
        self._stepper.optimiser.load_state_dict(kept["optimiser"])
        return CaptioningState.from_dict(kept["state"]), kept["elapsed"], kept["journal_bytes"]
