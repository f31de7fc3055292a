"""Trains a caption decoder on what a frozen dual encoder sees; the epoch with the best CIDEr is kept."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from encoders.bundle import ModelBundle
from encoders.caption_codec import PAD_ID, train_codec
from encoders.caption_runtime import retrieved_ids
from encoders.decoder_export import decoder_files, describe_decoder
from encoders.dual import load_dual_encoder
from encoders.generation import GenerationOptions
from trainers.batches import TrainingPair
from trainers.caption_examples import (
    GridCache,
    Rows,
    Views,
    batches_by_length,
    grid_sides,
    nearest_rows,
)
from trainers.caption_listeners import CaptionEpoch, CaptionListener
from trainers.captioning_options import CaptioningOptions
from trainers.errors import DataError, DivergedError
from trainers.placement import choose_placement
from trainers.randomness import derived_seed, seed_torch
from trainers.schedules import run_progress, warmup_cosine
from trainers.stopping import StopSignals
from trainers.torch_captions import build_for, generate_with_torch

# Training draws the captions it reads from this many times more neighbours: those of a training image are
# nearer than those of a new one will be, and a decoder that trusts the first blindly learns to copy.
POOL_FACTOR = 3
DECIDING_SCORE = "cider"
ScoreCaptions = Callable[[Sequence[str], Sequence[Sequence[str]]], Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class CaptioningResult:
    """What came out of a decoder run.

    Attributes:
        files: what belongs into the model folder, by name.
        best_epoch: it was taken from, from 1.
        scores: of the best epoch's greedy captions on the validation images.
        interrupted: whether the run was stopped before its end.
        epochs: finished epochs.
        skipped: images that could not be read.
        seconds: the run took, without the export.
    """

    files: dict[str, bytes]
    best_epoch: int
    scores: dict[str, float]
    interrupted: bool
    epochs: int
    skipped: int
    seconds: float


def train_decoder(
    train: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    bundle: ModelBundle,
    options: CaptioningOptions,
    score: ScoreCaptions,
    listener: CaptionListener,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> CaptioningResult:
    """Train a decoder for the images of an encoder model.

    Args:
        train: pairs to learn from.
        validation: pairs each epoch is judged on; they should share no patient with ``train``.
        bundle: the encoder model; it is not changed.
        options: everything else.
        score: captions and their references to scores by name, ``cider`` among them.
        listener: hears of every epoch.
        provenance: what is known of the corpus, for ``decoder.json``.

    Raises:
        DataError: no training or no validation image can be read.
        DivergedError: the loss is no longer a number.
        OptionsError: the device is not there.
        encoders.errors.EncoderError: the encoder is damaged or its image tower has no grid.
    """
    run = _Run(train, validation, bundle, options, score, listener)
    interrupted = run.fit()
    summary = {
        **(provenance or {}),
        "pairs": len(train),
        "groups": len({pair.group for pair in train}),
        "epochs": run.epochs_done,
        "best_epoch": run.best_epoch,
        "interrupted": interrupted,
        "seconds": round(run.seconds, 1),
        "options": {**asdict(options), "augmentation": asdict(options.augmentation)},
    }
    spec = bundle.config.image
    config = describe_decoder(
        run.best,
        grid_sides(run.encoder, spec.size),
        options.max_tokens,
        trained_on=summary,
        validation={"pool": len(run.seen_validation.rows), **run.scores},
    )
    files = decoder_files(run.best, run.encoder, run.codec, config, spec.size)
    return CaptioningResult(
        files, run.best_epoch, run.scores, interrupted, run.epochs_done, run.skipped, run.seconds
    )


class _Run:
    """One run: what was seen, the decoder, and the best of its epochs."""

    def __init__(
        self,
        train: Sequence[TrainingPair],
        validation: Sequence[TrainingPair],
        bundle: ModelBundle,
        options: CaptioningOptions,
        score: ScoreCaptions,
        listener: CaptionListener,
    ) -> None:
        self.options, self.listener, self._score = options, listener, score
        self._train, self._validation = train, validation
        self._placement = choose_placement(options.device, options.precision)
        self.encoder = load_dual_encoder(bundle).to(self._placement.device).eval()
        self.codec = train_codec((text for pair in train for text in _texts(pair)), options.vocab_size)
        self.skipped = 0
        self._began = time.monotonic()
        total = len(train) * options.views + len(validation)
        self.seen_train = self._see(train, bundle, options.views, total)
        self.seen_validation = self._see(validation, bundle, 1, total)
        self._lengths = np.array([len(self._train[row].text) for row in self.seen_train.rows])
        self._retrieve()
        seed_torch(options.seed, "weights")
        self.decoder = build_for(options, self.codec.vocab_size, self.seen_train.shape)
        self.decoder.to(self._placement.device)
        self.best, self.best_epoch, self.epochs_done = self.decoder, 0, 0
        self.scores: dict[str, float] = {}
        self.seconds = 0.0

    def _see(self, pairs: Sequence[TrainingPair], bundle: ModelBundle, views: int, total: int) -> GridCache:
        def skip(pair_id: str, image: Path, reason: str) -> None:
            self.skipped += 1
            self.listener.on_skip(pair_id, image, reason)

        cache = GridCache(
            pairs,
            self.encoder,
            bundle.config.image,
            self._placement,
            on_skip=skip,
            on_seen=lambda count: self.listener.on_seen(count * views, total),
            views=Views(views, self.options.augmentation, self.options.seed),
        )
        if not len(cache.rows):
            raise DataError(f"none of {len(pairs)} images can be read: a decoder needs train and val images")
        return cache

    def _retrieve(self) -> None:
        """Find the neighbours whose captions a retrieving decoder reads."""
        rows = self.seen_train.rows
        groups = [self._train[row].group for row in rows]
        count = self.options.retrieve
        self._known_texts = [self._train[row].text for row in rows]
        self._near_train = self._near_validation = np.zeros((0, 0), dtype=np.int64)
        if count:
            known = self.seen_train.vectors[rows]
            self._near_train = nearest_rows(known, groups, known, groups, POOL_FACTOR * count)
            asked = self.seen_validation.rows
            self._near_validation = nearest_rows(
                self.seen_validation.vectors[asked],
                [self._validation[row].group for row in asked],
                known,
                groups,
                count,
            )

    def fit(self) -> bool:
        """Train until the epochs or the time are over; returns whether it was interrupted."""
        parameters = sum(parameter.numel() for parameter in self.decoder.parameters())
        self.listener.on_start(parameters, len(self.seen_train.rows), str(self._placement.device))
        decay = [parameter for parameter in self.decoder.parameters() if parameter.ndim >= 2]
        plain = [parameter for parameter in self.decoder.parameters() if parameter.ndim < 2]
        optimiser = torch.optim.AdamW(
            [
                {"params": decay, "weight_decay": self.options.weight_decay},
                {"params": plain, "weight_decay": 0.0},
            ],
            lr=self.options.learning_rate,
            betas=(0.9, 0.98),
        )
        with StopSignals() as stop:
            while self.epochs_done < self.options.epochs and not self._time_is_over():
                if not self._train_epoch(optimiser, stop):
                    self.listener.on_note("interrupted: the best epoch so far is kept")
                    break
        if not self.best_epoch:
            self._judge(0.0, time.monotonic())
        self.seconds = time.monotonic() - self._began
        return stop.asked

    def _train_epoch(self, optimiser: torch.optim.Optimizer, stop: StopSignals) -> bool:
        """One epoch; returns whether to go on."""
        began, losses, epoch = time.monotonic(), [], self.epochs_done
        order = batches_by_length(self._lengths, self.options.batch_size, self.options.seed, epoch)
        self.decoder.train()
        for place, chosen in enumerate(order):
            step = epoch * len(order) + place
            factor = self._rate_factor(step, self.options.epochs * len(order))
            for group in optimiser.param_groups:
                group["lr"] = self.options.learning_rate * factor
            seed_torch(self.options.seed, "dropout", step)
            losses.append(self._train_step(optimiser, chosen, epoch, step))
            if stop.asked:
                return False
        self.epochs_done += 1
        self._judge(float(np.mean(losses)), began)
        return not stop.asked

    def _train_step(self, optimiser: torch.optim.Optimizer, chosen: Rows, epoch: int, step: int) -> float:
        dice = np.random.default_rng(derived_seed(self.options.seed, "captions", step))
        rows = self.seen_train.rows[chosen]
        texts = [_texts(self._train[row]) for row in rows]
        ids = self.codec.encode([one[dice.integers(len(one))] for one in texts], self.options.max_tokens)
        retrieved = self._read(self._drawn(self._near_train[chosen], dice)) if self.options.retrieve else None
        grids = self.seen_train.grids(rows, epoch % self.options.views)
        loss = self._loss(torch.from_numpy(ids), grids, retrieved)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        length = torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), self.options.clip_norm)
        if not bool(torch.isfinite(loss) & torch.isfinite(length)):
            raise DivergedError(
                f"the loss is no longer a number at step {step + 1}: try a lower --learning-rate"
            )
        optimiser.step()
        return float(loss.detach())

    def _loss(self, ids: Tensor, grids: Tensor, retrieved: Tensor | None) -> Tensor:
        device = self._placement.device
        ids, grids = ids.to(device), grids.to(device)
        with self._placement.autocast():
            logits = self.decoder(ids[:, :-1], grids, None if retrieved is None else retrieved.to(device))
        wanted = ids[:, 1:]
        known = wanted != PAD_ID
        return F.cross_entropy(
            logits[known].float(), wanted[known], label_smoothing=self.options.label_smoothing
        )

    def _drawn(self, near: Rows, dice: np.random.Generator) -> Rows:
        """Some of the neighbours of each image, in their order."""
        places = np.argsort(dice.random(near.shape), axis=1)[:, : self.options.retrieve]
        return np.take_along_axis(near, np.sort(places, axis=1), axis=1)

    def _read(self, near: Rows) -> Tensor:
        texts = [[self._known_texts[place] for place in row if place >= 0] for row in near]
        ids = retrieved_ids(self.codec, texts, self.options.retrieve, self.options.retrieved_tokens)
        return torch.from_numpy(ids)

    def _judge(self, loss: float, began: float) -> None:
        captions = self._greedy_captions()
        references = [_texts(self._validation[row]) for row in self.seen_validation.rows]
        scores = dict(self._score(captions, references))
        is_best = not self.best_epoch or scores[DECIDING_SCORE] > self.scores[DECIDING_SCORE]
        if is_best:
            self.best, self.best_epoch, self.scores = copy.deepcopy(self.decoder), self.epochs_done, scores
        seconds = time.monotonic() - began
        left = seconds * (self.options.epochs - self.epochs_done)
        if self.options.time_limit_minutes is not None:
            left = min(left, 60 * self.options.time_limit_minutes - (time.monotonic() - self._began))
        self.listener.on_epoch(
            CaptionEpoch(
                self.epochs_done, self.options.epochs, loss, scores, is_best, seconds, max(0.0, left)
            )
        )

    def _greedy_captions(self) -> list[str]:
        options = GenerationOptions(beam=1, max_tokens=self.options.max_tokens - 1)
        captions = []
        rows = self.seen_validation.rows
        for first in range(0, len(rows), self.options.batch_size):
            part = slice(first, first + self.options.batch_size)
            retrieved = self._read(self._near_validation[part]) if self.options.retrieve else None
            found = generate_with_torch(
                self.decoder, self.seen_validation.grids(rows[part]), retrieved, options
            )
            captions += [self.codec.decode(one[0].tokens) for one in found]
        return captions

    def _rate_factor(self, step: int, total: int) -> float:
        limit = self.options.time_limit_minutes
        elapsed = time.monotonic() - self._began
        return warmup_cosine(
            run_progress(step, total, elapsed, limit and 60 * limit), self.options.warmup_fraction
        )

    def _time_is_over(self) -> bool:
        limit = self.options.time_limit_minutes
        return limit is not None and time.monotonic() - self._began >= 60 * limit


def _texts(pair: TrainingPair) -> tuple[str, ...]:
    return (pair.text, *pair.other_texts)
