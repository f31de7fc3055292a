"""What a decoder run learns: to write the captions of what a frozen image tower sees."""

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
from encoders.caption_codec import PAD_ID, CaptionCodec, train_codec
from encoders.decoder import Decoder
from encoders.dual import DualEncoder, load_dual_encoder
from encoders.errors import DataError, DeviceMemoryError, DivergedError
from trainers.caption_data import CaptionBatch, CaptionFeed, RetrievalBank, texts_of
from trainers.caption_evaluation import DECIDING_SCORE, CaptionJudge, ScoreCaptions, build_for
from trainers.caption_features import GridCache, Views
from trainers.data import PairSplits, TrainingPair
from trainers.device import Placement
from trainers.listeners import CaptionEpoch, CaptionListener
from trainers.optimisation import PlateauSchedule, build_adamw, set_rates, warmup_cosine
from trainers.options import CaptioningOptions
from trainers.processes import Processes
from trainers.randomness import seed_torch
from trainers.run_state import BestEpoch
from trainers.training_run import EpochFacts


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a decoder learns from and is judged by.

    Attributes:
        encoder: the frozen dual encoder, in evaluation mode.
        codec: the decoder's tokenizer, learned on the training captions.
        feed: the batches.
        judge: None in processes that do not judge.
        grid: cells and channels of what the image tower sees.
        captions: training images that can be read.
        skipped: images that cannot.
    """

    encoder: DualEncoder
    codec: CaptionCodec
    feed: CaptionFeed
    judge: CaptionJudge | None
    grid: tuple[int, int]
    captions: int
    skipped: int


def prepare(
    splits: PairSplits,
    bundle: ModelBundle,
    options: CaptioningOptions,
    score: ScoreCaptions,
    placement: Placement,
    listener: CaptionListener,
    processes: Processes,
) -> Prepared:
    """Run the frozen image tower over all images, in every process; only the first one judges.

    Raises:
        DataError: no training or no validation image can be read.
        ModelError: the encoder is damaged or its image tower has no grid.
    """
    encoder = load_dual_encoder(bundle).to(placement.device).eval()
    codec = train_codec((text for pair in splits.train for text in texts_of(pair)), options.vocab_size)
    views = Views(options.views, options.augmentation, options.seed)
    judged = splits.validation if processes.is_first else ()
    eye = _Eye(encoder, bundle, placement, listener, views.count * len(splits.train) + len(judged))
    seen = eye.see(splits.train, views)
    library = RetrievalBank(splits.train, seen, codec, options)
    feed = CaptionFeed(splits.train, seen, codec, library, options, processes)
    judge = None
    if processes.is_first:
        asked = eye.see(splits.validation, Views())
        judge = CaptionJudge(splits.validation, asked, codec, library, options, score)
    return Prepared(encoder, codec, feed, judge, seen.shape, len(seen.rows), eye.skipped)


class _Eye:
    """Looks at images and counts those that cannot be read."""

    def __init__(
        self,
        encoder: DualEncoder,
        bundle: ModelBundle,
        placement: Placement,
        listener: CaptionListener,
        total: int,
    ) -> None:
        self._encoder, self._spec, self._placement = encoder, bundle.config.image, placement
        self._listener, self._total = listener, total
        self.skipped = 0

    def see(self, pairs: Sequence[TrainingPair], views: Views) -> GridCache:
        cache = GridCache(
            pairs,
            self._encoder,
            self._spec,
            self._placement,
            on_skip=self._skip,
            on_seen=lambda count: self._listener.on_seen(count * views.count, self._total),
            views=views,
        )
        if not len(cache.rows):
            raise DataError(f"none of {len(pairs)} images can be read: a decoder needs train and val images")
        return cache

    def _skip(self, pair_id: str, image: Path, reason: str) -> None:
        self.skipped += 1
        self._listener.on_skip(pair_id, image, reason)


class CaptionStepper:
    """Teaches a decoder the next word, given the true ones before it (teacher forcing)."""

    def __init__(
        self, decoder: Decoder, options: CaptioningOptions, placement: Placement, processes: Processes
    ) -> None:
        """Build the optimiser and, with several processes, tie the copies of the decoder together."""
        self._decoder, self._options = decoder, options
        self._placement, self._processes = placement, processes
        parameters, rate = list(decoder.parameters()), options.learning_rate
        # Biases and norms are vectors: pulling them to zero helps nothing.
        decaying = [parameter for parameter in parameters if parameter.ndim >= 2]  # noqa: PLR2004
        plain = [parameter for parameter in parameters if parameter.ndim < 2]  # noqa: PLR2004
        self.optimiser = build_adamw(
            {"params": part, "lr": rate, "peak": rate, "weight_decay": decay}
            for part, decay in ((decaying, options.weight_decay), (plain, 0.0))
        )
        self._tied: nn.Module = DistributedDataParallel(decoder) if processes.world > 1 else decoder

    def take(self, batch: CaptionBatch, step: int, rate_factor: float) -> float:
        """Take one step on the mean loss of a batch's words, whichever process has them.

        Args:
            batch: this process's share.
            step: its number, from which dropout is drawn.
            rate_factor: what the peak learning rate is multiplied with.

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
                f"the GPU's memory is too small for {len(batch)} captions at once: use a smaller --batch-size"
            ) from error
        length = nn.utils.clip_grad_norm_(self._decoder.parameters(), self._options.clip_norm)
        if not bool(torch.isfinite(loss) & torch.isfinite(length)):
            raise DivergedError(
                f"the loss is no longer a number at step {step + 1}: try a lower --learning-rate"
            )
        self.optimiser.step()
        return float(loss)

    def _add_gradients(self, batch: CaptionBatch) -> Tensor:
        device = self._placement.device
        ids, grids = batch.ids.to(device, non_blocking=True), batch.grids.to(device, non_blocking=True)
        retrieved = None if batch.retrieved is None else batch.retrieved.to(device, non_blocking=True)
        with self._placement.autocast():
            logits = self._tied(ids[:, :-1], grids, retrieved)
        total, words = _loss(logits, ids[:, 1:], self._options.label_smoothing)
        # Shares hold different numbers of words: divided by those of all, they add up to the batch's mean.
        told = self._processes.gather(torch.stack([total.detach(), words]).unsqueeze(0))[0].sum(dim=0)
        mean = total / told[1]
        # DistributedDataParallel takes the mean of the processes; each holds only its share of the sum.
        (mean * self._processes.world).backward()  # type: ignore[no-untyped-call]
        return told[0] / told[1]


def _loss(logits: Tensor, wanted: Tensor, smoothing: float) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropy over the words, padding left out, and how many words they are.

    Args:
        logits: ``[b, s, v]``.
        wanted: ``[b, s]``.
        smoothing: share of each target that is spread over the vocabulary.
    """
    known = wanted != PAD_ID
    total = F.cross_entropy(logits[known].float(), wanted[known], label_smoothing=smoothing, reduction="sum")
    return total, known.sum().to(total.dtype)


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
