"""Evaluates an encoder on the validation pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from encoders.dual import DualEncoder
from encoders.errors import DataError
from encoders.preprocessing import CaptionTokenizer, ImagePreprocessing
from encoders.retrieval import RetrievalRecall, retrieval_recall
from trainers.augmentation import NO_AUGMENTATION, to_pixels
from trainers.criterion import Criterion, EmbeddingPair
from trainers.data import ImageCache, TokenCache, TrainingPair
from trainers.device import Placement
from trainers.pair_encoder import PairEncoder

BATCH_SIZE = 64
MIN_POOL = 2


class Evaluation(NamedTuple):
    """The scores of an epoch."""

    recall: RetrievalRecall  # in both directions
    loss: float  # the mean over the pairs


class RetrievalEvaluator:
    """Embeds the validation pairs and measures how well they find each other."""

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        spec: ImagePreprocessing,
        tokenizer: CaptionTokenizer,
        placement: Placement,
        *,
        criterion: Criterion,
        batch_size: int,
        on_skip: Callable[[str, Path, str], None],
    ) -> None:
        """Read the validation images; those that cannot be read leave the pool and are reported.

        The loss, by ``criterion``, contrasts ``batch_size`` pairs with each other.

        Raises:
            DataError: fewer than two validation pairs can be read.
        """

        def skipped(row: int, reason: str) -> None:
            on_skip(pairs[row].id, pairs[row].image, reason)

        self._spec, self._placement = spec, placement
        self._images = ImageCache([pair.image for pair in pairs], spec, on_skip=skipped)
        rows = self._images.readable(np.arange(len(pairs)))
        self._images.close()
        if len(rows) < MIN_POOL:
            raise DataError(f"{len(rows)} validation images can be read: recall needs at least {MIN_POOL}")
        self._rows, self._criterion, self._loss_size = rows, criterion, batch_size
        self._captions = [pairs[row].text for row in rows]
        tokens = TokenCache([pairs[row] for row in rows], tokenizer)
        self._ids, self._mask = tokens.tokens(tokens.caption_rows(np.arange(len(rows))))

    @property
    def pool(self) -> int:
        """Pairs that can be read."""
        return len(self._rows)

    @torch.inference_mode()
    def evaluate(self, encoder: PairEncoder) -> Evaluation:
        """Recall and loss of an encoder, which is left in evaluation mode."""
        model = encoder.model.eval()
        batches = torch.split(torch.arange(self.pool), BATCH_SIZE)
        images = torch.cat([self._embed_images(model, part) for part in batches])
        texts = torch.cat([self._embed_texts(model, part) for part in batches])
        scale_and_bias = encoder.scale_and_bias().cpu()
        parts = torch.split(torch.arange(self.pool), self._loss_size)
        losses = [self._loss(images[part], texts[part], scale_and_bias, part) for part in parts]
        loss = sum(loss * len(part) for loss, part in zip(losses, parts, strict=True)) / self.pool
        return Evaluation(retrieval_recall(images.numpy(), texts.numpy(), self._captions), loss)

    def _loss(self, images: Tensor, texts: Tensor, scale_and_bias: Tensor, place: Tensor) -> float:
        targets = self._criterion.targets(self._rows[place.numpy()], images.device)
        none = images.new_empty((0, 0))
        return float(self._criterion(EmbeddingPair(images, texts, none, none, scale_and_bias), targets))

    def _embed_images(self, model: DualEncoder, place: Tensor) -> Tensor:
        images = self._images.images(self._rows[place.numpy()]).to(self._placement.device)
        pixels = to_pixels(images, self._spec, torch.zeros(len(images), 6), NO_AUGMENTATION)
        with self._placement.autocast():
            features = model.image_tower(pixels)
        return model.project_images(features.float()).cpu()

    def _embed_texts(self, model: DualEncoder, place: Tensor) -> Tensor:
        ids, mask = (part[place].to(self._placement.device) for part in (self._ids, self._mask))
        with self._placement.autocast():
            features = model.text_tower(ids, mask)
        return model.project_texts(features.float()).cpu()
