"""What a decoder run learns: to write the captions of images, from the grids of a frozen image tower."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from encoders.bundle import ModelBundle
from encoders.captioner import CaptionCodec, train_codec
from encoders.decoder import Decoder
from encoders.dual import DualEncoder, load_dual_encoder
from encoders.errors import DataError, DeviceMemoryError, DivergedError
from encoders.generation import PAD_ID
from encoders.weights import current_names
from trainers.caption_data import CaptionBatch, CaptionBatches, RetrievalBank, captions_of
from trainers.caption_evaluation import DECIDING_SCORE, CaptionEvaluator, ScoreCaptions, build_decoder
from trainers.caption_features import GridCache, Views
from trainers.data import PairSplits, TrainingPair
from trainers.device import Placement
from trainers.listeners import CaptionEpoch, CaptionListener, EpochFacts
from trainers.optimisation import PlateauSchedule, build_adamw, set_rates, warmup_cosine
from trainers.options import CaptioningOptions
from trainers.processes import Processes
from trainers.randomness import seed_torch
from trainers.run_state import BestEpoch

Scores = dict[str, float]


@dataclass(frozen=True, slots=True)
class PreparedData:
    """What a decoder learns from and is evaluated on."""

    encoder: DualEncoder  # the frozen dual encoder, in evaluation mode
    codec: CaptionCodec  # the decoder's tokenizer, learned on the training captions
    batches: CaptionBatches  # of each epoch
    evaluator: CaptionEvaluator | None  # None in processes that do not evaluate
    grid: tuple[int, int]  # cells and channels of the image tower's grid
    captions: int  # training images that can be read
    skipped: int  # images that cannot


def prepare(
    splits: PairSplits,
    bundle: ModelBundle,
    options: CaptioningOptions,
    score: ScoreCaptions,
    placement: Placement,
    listener: CaptionListener,
    processes: Processes,
) -> PreparedData:
    """Run the frozen image tower over all images, in every process; only the first one evaluates.

    Raises:
        DataError: no training or no validation image can be read.
        ModelError: the encoder is damaged or its image tower has no grid.
    """
    encoder = load_dual_encoder(bundle).to(placement.device).eval()
    codec = train_codec((text for pair in splits.train for text in captions_of(pair)), options.vocab_size)
    views = Views(options.views, options.augmentation, options.seed)
    total = views.count * len(splits.train) + (len(splits.validation) if processes.is_first else 0)
    skipped: list[str] = []

    def on_skip(pair_id: str, image: Path, reason: str) -> None:
        skipped.append(pair_id)
        listener.on_skip(pair_id, image, reason)

    def extract_features(pairs: Sequence[TrainingPair], views: Views) -> GridCache:
        features = GridCache(
            pairs,
            encoder,
            bundle.config.image,
            placement,
            on_skip=on_skip,
            on_features=lambda count: listener.on_features(count * views.count, total),
            views=views,
        )
        if not len(features.rows):
            raise DataError(f"none of {len(pairs)} images can be read: a decoder needs train and val images")
        return features

    features = extract_features(splits.train, views)
    bank = RetrievalBank(splits.train, features, codec, options)
    batches = CaptionBatches(splits.train, features, codec, bank, options, processes)
    evaluator = None
    if processes.is_first:
        unseen = extract_features(splits.validation, Views())
        evaluator = CaptionEvaluator(splits.validation, unseen, codec, bank, options, score)
    return PreparedData(encoder, codec, batches, evaluator, features.shape, len(features.rows), len(skipped))


class CaptionStepper:
    """Takes optimiser steps towards the next word, given the true ones before it (teacher forcing)."""

    def __init__(
        self, decoder: Decoder, options: CaptioningOptions, placement: Placement, processes: Processes
    ) -> None:
        """Build the optimiser and, with several processes, tie the copies of the decoder together."""
        self._decoder, self._options = decoder, options
        self._placement, self._processes = placement, processes
        parameters, rate = list(decoder.parameters()), options.learning_rate
        # Biases and norms are vectors: pulling them to zero helps nothing.
        decaying = [parameter for parameter in parameters if parameter.ndim >= 2]
        plain = [parameter for parameter in parameters if parameter.ndim < 2]
        self.optimiser = build_adamw(
            {"params": part, "lr": rate, "peak": rate, "weight_decay": decay}
            for part, decay in ((decaying, options.weight_decay), (plain, 0.0))
        )
        self._distributed: nn.Module = DistributedDataParallel(decoder) if processes.world > 1 else decoder

    def step(self, batch: CaptionBatch, step: int, rate_factor: float) -> float:
        """Take one step on the mean loss of a batch's words, whichever process has them.

        Args:
            batch: this process's share.
            step: its number, which seeds dropout.
            rate_factor: of the peak learning rate.

        Returns:
            The loss of the whole batch before the step, in nats a token, smoothing included.

        Raises:
            DivergedError: the loss or its gradient is no longer a number; the weights were not touched.
            DeviceMemoryError: the GPU's memory is too small for the batch.
        """
        set_rates(self.optimiser, rate_factor)
        self.optimiser.zero_grad(set_to_none=True)
        seed_torch(self._options.seed, "dropout", step, self._processes.rank)
        try:
            loss = self._add_gradients(batch)
        except torch.OutOfMemoryError as error:
            raise DeviceMemoryError(
                f"the GPU's memory is too small for {len(batch)} captions at once: use a smaller batch size"
            ) from error
        length = nn.utils.clip_grad_norm_(self._decoder.parameters(), self._options.clip_norm)
        if not bool(torch.isfinite(loss) & torch.isfinite(length)):
            raise DivergedError(
                f"the loss is no longer a number at step {step + 1}: try a lower learning rate"
            )
        self.optimiser.step()
        return float(loss)

    def _add_gradients(self, batch: CaptionBatch) -> Tensor:
        device = self._placement.device
        ids, grids = batch.ids.to(device, non_blocking=True), batch.grids.to(device, non_blocking=True)
        retrieved = None if batch.retrieved is None else batch.retrieved.to(device, non_blocking=True)
        with self._placement.autocast():
            logits = self._distributed(ids[:, :-1], grids, retrieved)
        targets = ids[:, 1:]
        known = targets != PAD_ID
        total = F.cross_entropy(
            logits[known].float(),
            targets[known],
            label_smoothing=self._options.label_smoothing,
            reduction="sum",
        )
        words = known.sum().to(total.dtype)
        # Shares hold different numbers of words: divided by those of all, they add up to the batch's mean.
        sums = self._processes.gather(torch.stack([total.detach(), words]).unsqueeze(0))[0].sum(dim=0)
        # DistributedDataParallel takes the mean of the processes; each holds only its share of the sum.
        (total / sums[1] * self._processes.world).backward()  # type: ignore[no-untyped-call]
        return sums[0] / sums[1]


class CaptioningTask:
    """The decoder, its batches, its evaluator and its schedule."""

    deciding_score: ClassVar[str] = "CIDEr"
    needs_an_epoch: ClassVar[bool] = True

    def __init__(
        self, prepared: PreparedData, options: CaptioningOptions, placement: Placement, processes: Processes
    ) -> None:
        """Build the decoder for what was prepared."""
        self._prepared, self.options, self._processes = prepared, options, processes
        seed_torch(options.seed, "weights")
        self.module = build_decoder(options, prepared.codec.vocab_size, prepared.grid).to(placement.device)
        self._stepper = CaptionStepper(self.module, options, placement, processes)
        self.best: BestEpoch[Scores] = BestEpoch(lambda scores: scores[DECIDING_SCORE])
        self._plateau = PlateauSchedule()

    @property
    def optimiser(self) -> torch.optim.Optimizer:
        return self._stepper.optimiser

    @property
    def train_pairs(self) -> int:
        """Training images that can be read."""
        return self._prepared.captions

    @property
    def validation_pairs(self) -> int:
        return self._prepared.evaluator.pool if self._prepared.evaluator else 0

    @property
    def steps(self) -> int:
        return self._prepared.batches.steps

    def notes(self) -> Iterator[str]:
        return iter(())

    def batches(self, epoch: int, *, first_step: int) -> Iterator[CaptionBatch]:
        return self._prepared.batches.epoch(epoch, first_step=first_step)

    def size(self, batch: CaptionBatch) -> int:
        return len(batch)

    def is_usable(self, batch: CaptionBatch) -> bool:
        """Always: one caption is enough to learn from."""
        return True

    def rate_factor(self, progress: float) -> float:
        warmup = self.options.warmup_fraction
        if self.options.schedule == "plateau":
            return self._plateau.rate * min(1.0, progress / warmup if warmup else 1.0)
        return warmup_cosine(progress, warmup)

    def step(self, batch: CaptionBatch, step: int, rate_factor: float) -> float:
        return self._stepper.step(batch, step, rate_factor)

    def evaluate(self) -> Scores:
        evaluator = self._prepared.evaluator
        return self._processes.from_first(evaluator.scores(self.module) if evaluator else {})

    def finish_epoch(self, found: Scores, facts: EpochFacts) -> CaptionEpoch:
        is_best = self.best.offer(facts.epoch, found, self.module)
        if self.options.schedule == "plateau":
            self._plateau.update(facts.epoch, self.best.epoch)
        return CaptionEpoch(**asdict(facts), scores=found, is_best=is_best)

    def epochs_without_progress(self, epochs: int) -> int:
        return epochs - self.best.epoch

    def best_decoder(self) -> Decoder:
        """The decoder with the weights of the best epoch."""
        self.module.load_state_dict(self.best.weights)
        return self.module

    def weights(self) -> dict[str, Any]:
        return {"decoder": self.module.state_dict()}

    def checkpoint_state(self) -> dict[str, Any]:
        best = {"epoch": self.best.epoch, "scores": self.best.scores, "weights": self.best.weights}
        return {"cuts": self._plateau.cuts, "cut_epoch": self._plateau.cut_epoch, "best": best}

    def restore(self, weights: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        self.module.load_state_dict(current_names(weights["decoder"], self.module))
        best = state["best"]
        self.best.epoch, self.best.weights = best["epoch"], current_names(best["weights"], self.module)
        self.best.scores = best["scores"] or None
        self._plateau = PlateauSchedule(state["cuts"], state["cut_epoch"])
