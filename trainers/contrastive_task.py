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
from trainers.criterion import criterion_for
from trainers.data import Batch, PairSplits, TrainingPair
from trainers.device import Placement
from trainers.evaluation import Judge, Judgement
from trainers.listeners import EpochReport, TrainingListener
from trainers.optimisation import Plateau, warmup_cosine
from trainers.options import ContrastiveOptions
from trainers.pair_encoder import AveragedEncoder, PairEncoder, feed
from trainers.processes import Processes
from trainers.run_state import BestEpoch
from trainers.stepping import Stepper, mixes_images
from trainers.training_run import EpochFacts

SHOWN_IDS = 4


def notes_on(options: ContrastiveOptions, encoder: PairEncoder, *, world: int) -> Iterator[str]:
    """Yield what someone should know of a run before it starts.

    Args:
        options: of the run.
        encoder: in training mode.
        world: processes of the run.
    """
    at_once = min(options.cache_chunk or options.batch_size, options.batch_size // world)
    if at_once < options.batch_size and mixes_images(encoder):
        yield (
            "the image tower's batch norms see one chunk, or one process's share, at a time: "
            "gradients are close to the whole batch's, not equal"
        )
    if options.label_weight and encoder.label_head is None:
        yield "the training pairs have no labels to predict: --label-weight does nothing"


def where_it_diverged(
    step: int, learning_rate: float, batches: Sequence[Batch], pairs: Sequence[TrainingPair]
) -> str:
    """The step (from 1), its rate and the ids of its pairs, and what to do."""
    rows = [row for batch in batches for row in batch.rows]
    ids = ", ".join(pairs[row].id for row in rows[:SHOWN_IDS])
    more = f" and {len(rows) - SHOWN_IDS} more" if len(rows) > SHOWN_IDS else ""
    return (
        f"at step {step}, learning rate {learning_rate:.2e}, batch of {ids}{more}: "
        "try a lower --learning-rate"
    )


class Skips:
    """The rows that are left out, by any process up to the last time they compared notes."""

    def __init__(
        self, pairs: Sequence[TrainingPair], listener: TrainingListener, processes: Processes
    ) -> None:
        """Know of none yet.

        Args:
            pairs: to train on.
            listener: hears of each skipped one.
            processes: each reads other images.
        """
        self._pairs, self._listener, self._processes = pairs, listener, processes
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._reasons)

    def add(self, row: int, reason: str) -> None:
        """Leave a row out."""
        if row not in self._reasons:
            self._reasons[row] = reason
            self._listener.on_skip(self._pairs[row].id, self._pairs[row].image, reason)

    def share(self) -> None:
        """Tell the other processes, and hear what they left out."""
        for found in self._processes.collect(dict(self._reasons)):
            for row, reason in found.items():
                self.add(row, reason)


MIN_PAIRS = 2


class ContrastiveTask:
    """The encoder, its batches, its judge and its schedule."""

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
        self._skips = Skips(splits.train, listener, processes)
        model = model.to(placement.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._criterion = criterion_for(splits.train, options)
        classes = sum(self._criterion.label_sizes)
        self.module = PairEncoder(model, options.loss, placement, options.freeze, classes=classes)
        self._average = AveragedEncoder(self.module, options.ema) if options.ema else None
        spec = options.preset.image_preprocessing
        self._stepper = Stepper(self.module, spec, self._criterion, options, processes)
        self._judge = None
        if processes.is_first:
            self._judge = _judge_of(splits.validation, tokenizer, options, placement, listener)
        self._batches = feed(splits.train, tokenizer, self.module, options, processes, self._skips.add)
        self.best: BestEpoch[RetrievalRecall] = BestEpoch(lambda recall: recall.mean_recall)
        self.plateau = Plateau()

    def close(self) -> None:
        """Stop the threads."""
        self._batches.close()

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        """What moves the weights."""
        return self._stepper.optimiser

    @property
    def train_pairs(self) -> int:
        """Pairs to train on, whether or not their images can be read."""
        return len(self.pairs)

    @property
    def pool(self) -> int:
        """Validation pairs that can be read; 0 in processes that do not judge."""
        return self._judge.pool if self._judge else 0

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self._batches.steps

    @property
    def skipped(self) -> int:
        """Training images that could not be read so far, by any process up to the last epoch."""
        return len(self._skips)

    def notes(self) -> Iterator[str]:
        """What someone should know before the run starts."""
        self.module.train()
        return notes_on(self.options, self.module, world=self._processes.world)

    def batches(self, epoch: int, *, first_step: int) -> Iterator[Sequence[Batch]]:
        """The batches of each step of an epoch."""
        on_images = epoch < self.options.image_epochs
        self._stepper.criterion = self._criterion.on_images_alone() if on_images else self._criterion
        return self._batches.epoch(epoch, first_step=first_step)

    def size(self, batch: Sequence[Batch]) -> int:
        """Pairs in this process's share of a step."""
        return sum(len(part) for part in batch)

    def is_usable(self, batch: Sequence[Batch]) -> bool:
        """Whether each batch has pairs to tell apart, were every process's share like this one's."""
        return min(len(part) for part in batch) * self._processes.world >= MIN_PAIRS

    def rate_factor(self, behind: float) -> float:
        """What the peak rates are multiplied with when this share of the run is behind."""
        if self.options.schedule == "plateau":
            return self.plateau.rate
        return warmup_cosine(behind, self.options.warmup_fraction)

    def take(self, batch: Sequence[Batch], step: int, rate_factor: float) -> float:
        """Take a step.

        Raises:
            DivergedError: the loss is no longer a number.
            DeviceMemoryError: the GPU's memory is too small for a batch.
        """
        try:
            loss = self._stepper.take(batch, step, rate_factor)
        except DivergedError as error:
            rate = self.options.learning_rate * rate_factor
            where = where_it_diverged(step + 1, rate, batch, self.pairs)
            raise DivergedError(f"{error} {where}") from error
        if self._average:
            self._average.update(step)
        return loss

    def judge(self) -> Judgement:
        """What the first process finds, everywhere."""
        found = self._processes.from_first(self._judge.judge(self._judged) if self._judge else None)
        assert found is not None  # noqa: S101 - the first process has a judge
        self._skips.share()
        return found

    def conclude(self, found: Judgement, facts: EpochFacts) -> EpochReport:
        """Offer the epoch as the best, and show the plateau its loss."""
        is_best = self.best.offer(facts.epoch, found.recall, self._judged.model)
        self.plateau.see(found.loss)
        return EpochReport(
            **asdict(facts),
            validation_loss=found.loss,
            logit_scale=float(self._judged.model.logit_scale.detach().exp()),
            validation=found.recall,
            is_best=is_best,
            skipped=self.skipped,
        )

    def stale_epochs(self, epochs: int) -> int:
        """Epochs since the best; those without captions cannot get better at finding them."""
        return epochs - max(self.best.epoch, self.options.image_epochs)

    @property
    def _judged(self) -> PairEncoder:
        """What is judged and kept: the averaged weights, if they are averaged."""
        return self._average.encoder if self._average else self.module

    def best_model(self) -> DualEncoder:
        """The model with the weights of the best epoch; as it is now when no epoch was finished."""
        if self.best.epoch:
            self._judged.model.load_state_dict(self.best.weights)
        return self._judged.model

    def best_recall(self) -> RetrievalRecall:
        """What the best model scores."""
        if self.best.scores is None:
            self.best.scores = self.judge().recall
        return self.best.scores

    def weights(self) -> dict[str, Any]:
        """State dicts for the checkpoint."""
        average = self._average.encoder.state_dict() if self._average else None
        return {"encoder": self.module.state_dict(), "average": average}

    def memory(self) -> dict[str, Any]:
        """The best epoch and the schedule, for the checkpoint."""
        return {
            "best_epoch": self.best.epoch,
            "best_recall": self.best.scores.to_dict() if self.best.scores else None,
            "best_weights": self.best.weights,
            "plateau": asdict(self.plateau),
        }

    def restore(self, weights: Mapping[str, Any], memory: Mapping[str, Any]) -> None:
        """Go back to what a checkpoint kept."""
        self.module.load_state_dict(weights["encoder"])
        if self._average:
            self._average.encoder.load_state_dict(weights["average"])
        recall = memory["best_recall"]
        self.best.epoch, self.best.weights = memory["best_epoch"], memory["best_weights"]
        self.best.scores = RetrievalRecall.from_dict(recall) if recall else None
        self.plateau = Plateau(**memory["plateau"])


def _judge_of(
    pairs: Sequence[TrainingPair],
    tokenizer: CaptionTokenizer,
    options: ContrastiveOptions,
    placement: Placement,
    listener: TrainingListener,
) -> Judge:
    return Judge(
        pairs,
        options.preset.image_preprocessing,
        tokenizer,
        placement,
        criterion=criterion_for(pairs, replace(options, label_weight=0.0, view_weight=0.0)),
        batch_size=options.batch_size,
        on_skip=listener.on_skip,
    )
