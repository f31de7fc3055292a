"""What a decoder run learns: to write the captions of what a frozen image tower sees."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any, ClassVar

import torch

from encoders.decoder import Decoder
from trainers.caption_data import CaptionBatch
from trainers.caption_evaluation import DECIDING_SCORE
from trainers.caption_listeners import CaptionEpoch
from trainers.caption_preparing import Prepared
from trainers.caption_stepping import CaptionStepper
from trainers.captioning_options import CaptioningOptions
from trainers.device import Placement
from trainers.processes import Processes
from trainers.randomness import seed_torch
from trainers.run_state import BestEpoch
from trainers.schedules import PlateauSchedule, warmup_cosine
from trainers.tasks import EpochFacts
from trainers.torch_captions import build_for

Scores = dict[str, float]


class CaptioningTask:
    """The decoder, its batches, its judge and its schedule."""

    deciding_score: ClassVar[str] = "CIDEr"
    needs_an_epoch: ClassVar[bool] = True

    def __init__(
        self, prepared: Prepared, options: CaptioningOptions, placement: Placement, processes: Processes
    ) -> None:
        """Build the decoder for what was prepared."""
        self._prepared, self.options, self._processes = prepared, options, processes
        seed_torch(options.seed, "weights")
        self.module = build_for(options, prepared.codec.vocab_size, prepared.grid).to(placement.device)
        self._stepper = CaptionStepper(self.module, options, placement, processes)
        self.best: BestEpoch[Scores] = BestEpoch(lambda scores: scores[DECIDING_SCORE])
        self._halvings = PlateauSchedule()

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What moves the weights."""
        return self._stepper.optimiser

    @property
    def train_pairs(self) -> int:
        """Training images that can be read."""
        return self._prepared.captions

    @property
    def pool(self) -> int:
        """Validation images that can be read; 0 in processes that do not judge."""
        return self._prepared.judge.pool if self._prepared.judge else 0

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self._prepared.feed.steps

    def notes(self) -> Iterator[str]:
        """Nothing that its reports do not say."""
        return iter(())

    def batches(self, epoch: int, *, first_step: int) -> Iterator[CaptionBatch]:
        """The batch of each step of an epoch."""
        return self._prepared.feed.epoch(epoch, first_step=first_step)

    def size(self, batch: CaptionBatch) -> int:
        """Captions in this process's share of a step."""
        return len(batch)

    def is_usable(self, batch: CaptionBatch) -> bool:
        """Always: one caption is enough to learn from."""
        return True

    def rate_factor(self, behind: float) -> float:
        """What the peak rate is multiplied with when this share of the run is behind."""
        warmup = self.options.warmup_fraction
        if self.options.schedule == "plateau":
            return self._halvings.rate * min(1.0, behind / warmup if warmup else 1.0)
        return warmup_cosine(behind, warmup)

    def take(self, batch: CaptionBatch, step: int, rate_factor: float) -> float:
        """Take a step.

        Raises:
            DivergedError: the loss is no longer a number.
            DeviceMemoryError: the GPU's memory is too small for a batch.
        """
        return self._stepper.take(batch, step, rate_factor)

    def judge(self) -> Scores:
        """What the first process finds, everywhere."""
        judge = self._prepared.judge
        return self._processes.from_first(judge.scores(self.module) if judge else {})

    def conclude(self, found: Scores, facts: EpochFacts) -> CaptionEpoch:
        """Offer the epoch as the best, and halve the rate if epochs bring nothing better."""
        is_best = self.best.offer(facts.epoch, found, self.module)
        if self.options.schedule == "plateau":
            self._halvings.see(facts.epoch, self.best.epoch)
        return CaptionEpoch(**asdict(facts), scores=found, is_best=is_best)

    def stale_epochs(self, epochs: int) -> int:
        """Epochs since the best."""
        return epochs - self.best.epoch

    def best_decoder(self) -> Decoder:
        """The decoder with the weights of the best epoch."""
        self.module.load_state_dict(self.best.weights)
        return self.module

    def weights(self) -> dict[str, Any]:
        """State dicts for the checkpoint."""
        return {"decoder": self.module.state_dict()}

    def memory(self) -> dict[str, Any]:
        """The best epoch and the schedule, for the checkpoint."""
        best = {"epoch": self.best.epoch, "scores": self.best.scores, "weights": self.best.weights}
        return {"cuts": self._halvings.cuts, "cut_epoch": self._halvings.cut_epoch, "best": best}

    def restore(self, weights: Mapping[str, Any], memory: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint kept."""
        self.module.load_state_dict(weights["decoder"])
        best = memory["best"]
        self.best.epoch, self.best.scores, self.best.weights = (
            best["epoch"],
            best["scores"] or None,
            best["weights"],
        )
        self._halvings = PlateauSchedule(memory["cuts"], memory["cut_epoch"])
