"""What a contrastive run learns: two towers whose vectors of one pair meet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, ClassVar

import torch

from encoders.dual import DualEncoder
from encoders.errors import DivergedError
from encoders.preprocessing import CaptionTokenizer
from encoders.retrieval import RetrievalRecall
from encoders.weights import current_names
from trainers.criterion import criterion_for
from trainers.data import Batch, PairSplits, TrainingPair
from trainers.device import Placement
from trainers.evaluation import Evaluation, RetrievalEvaluator
from trainers.listeners import EpochFacts, EpochReport, TrainingListener
from trainers.optimisation import LossPlateau, warmup_cosine
from trainers.options import ContrastiveOptions
from trainers.pair_encoder import AveragedEncoder, PairEncoder, build_batch_source
from trainers.processes import Processes
from trainers.run_state import BestEpoch
from trainers.stepping import Stepper, mixes_images

MIN_PAIRS = 2
SHOWN_IDS = 4


class SkippedImages:
    """Training images that cannot be read: each is reported once, and counted over all processes."""

    def __init__(
        self, pairs: Sequence[TrainingPair], listener: TrainingListener, processes: Processes
    ) -> None:
        self._pairs, self._listener, self._processes = pairs, listener, processes
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._reasons)

    def add(self, row: int, reason: str) -> None:
        """Leave a row out."""
        if row not in self._reasons:
            self._reasons[row] = reason
            self._listener.on_skip(self._pairs[row].id, self._pairs[row].image, reason)

    def share(self) -> None:
        """Exchange the skipped rows with the other processes."""
        for found in self._processes.collect(dict(self._reasons)):
            for row, reason in found.items():
                self.add(row, reason)


class ContrastiveTask:
    """The encoder, its batches, its evaluator and its schedule."""

    deciding_score: ClassVar[str] = "recall"
    needs_an_epoch: ClassVar[bool] = False

    def __init__(
        self,
        model: DualEncoder,
        tokenizer: CaptionTokenizer,
        splits: PairSplits,
        options: ContrastiveOptions,
        placement: Placement,
        listener: TrainingListener,
        processes: Processes,
    ) -> None:
        """Put the pieces together.

        Raises:
            DataError: too few validation images can be read.
        """
        self.pairs, self.options, self._processes = splits.train, options, processes
        self._skips = SkippedImages(splits.train, listener, processes)
        model = model.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._criterion = criterion_for(splits.train, options)
        classes = sum(self._criterion.label_sizes)
        self.module = PairEncoder(model, options.loss, placement, options.freeze, classes=classes)
        self._average = AveragedEncoder(self.module, options.ema) if options.ema else None
        spec = options.preset.image_preprocessing
        self._stepper = Stepper(self.module, spec, self._criterion, options, processes)
        self._evaluator = None
        if processes.is_first:
            self._evaluator = RetrievalEvaluator(
                splits.validation,
                spec,
                tokenizer,
                placement,
                criterion=criterion_for(
                    splits.validation, replace(options, label_weight=0.0, view_weight=0.0)
                ),
                batch_size=options.batch_size,
                on_skip=listener.on_skip,
            )
        self._batches = build_batch_source(
            splits.train, tokenizer, self.module, options, processes, self._skips.add
        )
        self.best: BestEpoch[RetrievalRecall] = BestEpoch(lambda recall: recall.mean_recall)
        self.plateau = LossPlateau()

    def close(self) -> None:
        """Stop the threads."""
        self._batches.close()

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        return self._stepper.optimiser

    @property
    def train_pairs(self) -> int:
        """Pairs to train on, whether or not their images can be read."""
        return len(self.pairs)

    @property
    def validation_pairs(self) -> int:
        return self._evaluator.pool if self._evaluator else 0

    @property
    def steps(self) -> int:
        return self._batches.steps

    @property
    def skipped(self) -> int:
        """Training images that could not be read so far, by any process up to the last epoch."""
        return len(self._skips)

    def notes(self) -> Iterator[str]:
        """What someone should know before the run starts."""
        self.module.train()
        options = self.options
        at_once = min(options.cache_chunk or options.batch_size, options.batch_size // self._processes.world)
        if at_once < options.batch_size and mixes_images(self.module):
            yield (
                "the image tower's batch norms see one chunk, or one process's share, at a time: "
                "gradients are close to the whole batch's, not equal"
            )
        if options.label_weight and self.module.label_head is None:
            yield "the training pairs have no labels to predict: label_weight has no effect"

    def batches(self, epoch: int, *, first_step: int) -> Iterator[Sequence[Batch]]:
        on_images = epoch < self.options.image_epochs
        self._stepper.criterion = self._criterion.on_images_alone() if on_images else self._criterion
        return self._batches.epoch(epoch, first_step=first_step)

    def size(self, batch: Sequence[Batch]) -> int:
        return sum(len(part) for part in batch)

    def is_usable(self, batch: Sequence[Batch]) -> bool:
        """Whether each batch has pairs to contrast, were every process's share like this one's."""
        return min(len(part) for part in batch) * self._processes.world >= MIN_PAIRS

    def rate_factor(self, progress: float) -> float:
        if self.options.schedule == "plateau":
            return self.plateau.rate
        return warmup_cosine(progress, self.options.warmup_fraction)

    def step(self, batch: Sequence[Batch], step: int, rate_factor: float) -> float:
        """Take a step.

        Raises:
            DivergedError: the loss is no longer a number.
            DeviceMemoryError: the GPU's memory is too small for a batch.
        """
        try:
            loss = self._stepper.step(batch, step, rate_factor)
        except DivergedError as error:
            rows = [row for part in batch for row in part.rows]
            ids = ", ".join(self.pairs[row].id for row in rows[:SHOWN_IDS])
            more = f" and {len(rows) - SHOWN_IDS} more" if len(rows) > SHOWN_IDS else ""
            raise DivergedError(
                f"{error} at step {step + 1}, learning rate {self.options.learning_rate * rate_factor:.2e}, "
                f"batch of {ids}{more}: try a lower learning rate"
            ) from error
        if self._average:
            self._average.update(step)
        return loss

    def evaluate(self) -> Evaluation:
        """Evaluate in the first process; all get the result."""
        own = self._evaluator.evaluate(self._kept_encoder) if self._evaluator else None
        found = self._processes.from_first(own)
        assert found is not None  # the first process has an evaluator
        self._skips.share()
        return found

    def finish_epoch(self, found: Evaluation, facts: EpochFacts) -> EpochReport:
        model = self._kept_encoder.model
        is_best = self.best.offer(facts.epoch, found.recall, model)
        self.plateau.update(found.loss)
        return EpochReport(
            **asdict(facts),
            validation_loss=found.loss,
            logit_scale=float(model.logit_scale.detach().exp()),
            validation=found.recall,
            is_best=is_best,
            skipped=self.skipped,
        )

    def epochs_without_progress(self, epochs: int) -> int:
        """Epochs since the best; those without captions cannot get better at finding them."""
        return epochs - max(self.best.epoch, self.options.image_epochs)

    @property
    def _kept_encoder(self) -> PairEncoder:
        """What is evaluated and kept: the averaged weights, if they are averaged."""
        return self._average.encoder if self._average else self.module

    def best_model(self) -> DualEncoder:
        """The model with the weights of the best epoch; as it is now when no epoch was finished."""
        if self.best.epoch:
            self._kept_encoder.model.load_state_dict(self.best.weights)
        return self._kept_encoder.model

    def best_recall(self) -> RetrievalRecall:
        """What the best model scores."""
        if self.best.scores is None:
            self.best.scores = self.evaluate().recall
        return self.best.scores

    def weights(self) -> dict[str, Any]:
        average = self._average.encoder.state_dict() if self._average else None
        return {"encoder": self.module.state_dict(), "average": average}

    def checkpoint_state(self) -> dict[str, Any]:
        return {
            "best_epoch": self.best.epoch,
            "best_recall": self.best.scores.to_dict() if self.best.scores else None,
            "best_weights": self.best.weights,
            "plateau": asdict(self.plateau),
        }

    def restore(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(current_names(weights["encoder"], self.module))
        if self._average:
            self._average.encoder.load_state_dict(current_names(weights["average"], self._average.encoder))
        recall = state["best_recall"]
        self.best.epoch = state["best_epoch"]
        self.best.weights = current_names(state["best_weights"], self._kept_encoder.model)
        self.best.scores = RetrievalRecall.from_dict(recall) if recall else None
        self.plateau = LossPlateau(**state["plateau"])
