"""The loop of a contrastive run: steps, epochs, and what is worth keeping of them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from encoders.dual import DualEncoder
from encoders.preprocessing import CaptionTokenizer
from trainers.agreement import Agreement
from trainers.augmentation import draw
from trainers.batches import Batch, BatchSource, TokenCache, TrainingPair, batches_per_epoch
from trainers.errors import DataError, DivergedError
from trainers.journal import FILE_NAME, Journal, plain_options
from trainers.judging import BestEpoch, Judge
from trainers.listeners import EpochReport, RunStart, StepReport, TrainingListener
from trainers.objective import PairEncoder, to_pixels
from trainers.optimisers import build_adamw, parameter_groups, set_rates
from trainers.options import ContrastiveOptions
from trainers.pace import Pace
from trainers.placement import Placement
from trainers.randomness import generator, seed_torch
from trainers.schedules import run_progress, warmup_cosine
from trainers.squares import SquareCache
from trainers.stopping import StopSignals
from trainers.validation import RetrievalRecall

SHOWN_IDS = 4


class ContrastiveRun:
    """One run, from the first step to the weights worth keeping."""

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: CaptionTokenizer,
        train: Sequence[TrainingPair],
        validation: Sequence[TrainingPair],
        options: ContrastiveOptions,
        placement: Placement,
        listener: TrainingListener,
        work_folder: Path,
    ) -> None:
        """Put the pieces together; nothing is trained yet.

        Raises:
            DataError: too few validation images can be read.
        """
        self.options, self.listener, self._pairs, self._placement = options, listener, train, placement
        self._spec = options.preset.image_preprocessing
        model = model.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._encoder = PairEncoder(model, options.loss, placement)
        self._optimiser = build_adamw(parameter_groups(self._encoder, options))
        self._judge = Judge(validation, self._spec, tokenizer, placement, on_skip=listener.on_skip)
        self._images = SquareCache([pair.image for pair in train], self._spec, on_skip=self._skipped)
        tokens = TokenCache(train, tokenizer)
        self._batches = BatchSource(
            self._images, tokens, count=len(train), batch_size=options.batch_size, seed=options.seed
        )
        self._agreement = Agreement(train, options.label_agreement) if options.loss == "matched" else None
        self._steps_per_epoch = batches_per_epoch(len(train), options.batch_size)
        self._work_folder = work_folder
        self.journal = Journal(work_folder / FILE_NAME)
        self.best = BestEpoch()
        self.pace = Pace(60 * options.time_limit_minutes if options.time_limit_minutes else None)
        self.step = self.epochs_done = 0

    def __enter__(self) -> ContrastiveRun:
        """Nothing to do: the threads start when they are needed."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the threads."""
        self._batches.close()

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return self.options.epochs * self._steps_per_epoch

    @property
    def skipped(self) -> int:
        """Training images that could not be read so far."""
        return self._images.skipped

    def fit(self) -> bool:
        """Train until the epochs or the time are over.

        Returns:
            Whether it was interrupted.

        Raises:
            DataError: no training image can be read.
            DivergedError: the loss is no longer a number.
        """
        with StopSignals() as stop:
            try:
                self._announce()
                while self.epochs_done < self.options.epochs and not self.pace.is_over:
                    self._train_epoch(stop)
            except KeyboardInterrupt:
                self.listener.on_note(
                    f"interrupted in epoch {self.epochs_done + 1}: the best epoch so far is kept"
                    if self.best.epoch
                    else "interrupted before an epoch was finished: the weights as they are now are kept"
                )
                return True
        if self.pace.is_over:
            self.listener.on_note(
                f"the time is over after {self.epochs_done} of {self.options.epochs} epochs"
            )
        return False

    def _announce(self) -> None:
        trainable = sum(p.numel() for p in self._encoder.parameters() if p.requires_grad)
        start = RunStart(
            train_pairs=len(self._pairs),
            validation_pairs=self._judge.pool,
            epochs=self.options.epochs,
            total_steps=self.total_steps,
            first_step=self.step,
            device=str(self._placement.device),
            precision=self._placement.precision,
            parameters=trainable,
        )
        self.journal.write("start", {**asdict(start), "options": plain_options(self.options)})
        self.listener.on_start(start)

    def _train_epoch(self, stop: StopSignals) -> None:
        began, losses, epoch = time.monotonic(), [], self.epochs_done
        self._encoder.train()
        for batch in self.pace.timed(self._batches.epoch(epoch)):
            self.step += 1
            if len(batch) > 1:  # one pair has nothing to be told from
                losses.append(self._train_step(batch))
                self.pace.count_step(len(batch))
                self._report_step(epoch, losses[-1])
            stop.check()
            if self.pace.is_over:
                break
        if not losses:
            raise DataError(f"none of the {len(self._pairs)} training images can be read")
        self._judge_epoch(epoch, sum(losses) / len(losses), began)

    def _train_step(self, batch: Batch) -> float:
        device, seed, step = self._placement.device, self.options.seed, self.step
        factor = self._rate_factor()
        set_rates(self._optimiser, factor)
        seed_torch(seed, "dropout", step)
        squares = batch.squares.to(device, non_blocking=True)
        draws = draw(len(batch), generator(seed, "augmentation", step))
        pixels = to_pixels(squares, self._spec, draws, self.options.augmentation)
        images, texts = self._encoder(pixels, batch.ids.to(device), batch.mask.to(device))
        agreement = self._agreement.matrix(batch.rows).to(device) if self._agreement else None
        loss = self._encoder.batch_loss(images, texts, agreement)
        self._optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        length = torch.nn.utils.clip_grad_norm_(self._encoder.parameters(), self.options.clip_norm)
        if not bool(torch.isfinite(loss) & torch.isfinite(length)):
            raise DivergedError(self._divergence(batch, factor))
        self._optimiser.step()
        self._encoder.clamp_scale(self.options.max_logit_scale)
        return float(loss.detach())

    def _rate_factor(self) -> float:
        limit = self.options.time_limit_minutes
        progress = run_progress(self.step - 1, self.total_steps, self.pace.elapsed, limit and 60 * limit)
        return warmup_cosine(progress, self.options.warmup_fraction)

    def _divergence(self, batch: Batch, factor: float) -> str:
        ids = ", ".join(self._pairs[row].id for row in batch.rows[:SHOWN_IDS])
        more = f" and {len(batch) - SHOWN_IDS} more" if len(batch) > SHOWN_IDS else ""
        return (
            f"the loss is no longer a number at step {self.step}, learning rate "
            f"{self.options.learning_rate * factor:.2e}, batch of {ids}{more}: try a lower --learning-rate"
        )

    def _report_step(self, epoch: int, loss: float) -> None:
        report = StepReport(
            step=self.step,
            total_steps=self.total_steps,
            epoch=epoch + 1,
            loss=loss,
            learning_rate=self.options.learning_rate * self._rate_factor(),
            images_per_second=self.pace.images_per_second,
            waiting_share=self.pace.waiting_share,
            seconds_left=self.pace.seconds_left(self.total_steps - self.step, self.options.epochs - epoch),
        )
        self.listener.on_step(report)

    def _judge_epoch(self, epoch: int, loss: float, began: float) -> None:
        judging = time.monotonic()
        recall = self._judge.recall(self._encoder.model)
        self.pace.count_judging(time.monotonic() - judging)
        is_best = self.best.offer(epoch + 1, recall, self._encoder.model)
        self.epochs_done = epoch + 1
        report = EpochReport(
            epoch=epoch + 1,
            steps=self.step,
            loss=loss,
            learning_rate=self.options.learning_rate * self._rate_factor(),
            logit_scale=float(self._encoder.model.logit_scale.detach().exp()),
            validation=recall,
            is_best=is_best,
            seconds=time.monotonic() - began,
            images_per_second=self.pace.images_per_second,
            waiting_share=self.pace.waiting_share,
            skipped=self.skipped,
        )
        self.journal.write("epoch", report.to_dict())
        self.listener.on_epoch(report)

    def best_model(self) -> DualEncoder:
        """The model with the weights of the best epoch; as it is now when no epoch was finished."""
        if self.best.weights is not None:
            self._encoder.model.load_state_dict(self.best.weights)
        return self._encoder.model

    def best_recall(self) -> RetrievalRecall:
        """What the best model scores."""
        if self.best.recall is None:
            self.best.recall = self._judge.recall(self._encoder.model)
        return self.best.recall

    def summary(self) -> dict[str, Any]:
        """What ``config.json`` says of the run."""
        return {
            "pairs": len(self._pairs),
            "groups": len({pair.group for pair in self._pairs}),
            "skipped": self.skipped,
            "epochs": self.epochs_done,
            "best_epoch": self.best.epoch,
            "steps": self.step,
            "loss": self.options.loss,
            "batch_size": self.options.batch_size,
            "seed": self.options.seed,
            "device": str(self._placement.device),
            "precision": self._placement.precision,
            "seconds": round(self.pace.elapsed, 1),
        }

    def clean_up(self) -> None:
        """Remove the work folder: the model folder holds all that matters."""
        shutil.rmtree(self._work_folder, ignore_errors=True)

    def _skipped(self, row: int, reason: str) -> None:
        pair = self._pairs[row]
        self.listener.on_skip(pair.id, pair.image, reason)
