"""Judges a model on the validation pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.dual import DualEncoder
from encoders.preprocessing import CaptionTokenizer, ImagePreprocessing
from trainers.augmentation import NO_AUGMENTATION
from trainers.batches import TokenCache, TrainingPair
from trainers.errors import DataError
from trainers.objective import to_pixels
from trainers.placement import Placement
from trainers.squares import SquareCache
from trainers.validation import RetrievalRecall, retrieval_recall

BATCH_SIZE = 64
MIN_POOL = 2


class Judge:
    """Embeds the validation pairs and measures how well they find each other."""

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        spec: ImagePreprocessing,
        tokenizer: CaptionTokenizer,
        placement: Placement,
        *,
        on_skip: Callable[[str, Path, str], None],
    ) -> None:
        """Read the validation images; those that cannot be read leave the pool and are reported.

        Raises:
            DataError: fewer than two validation pairs can be read.
        """

        def skipped(row: int, reason: str) -> None:
            on_skip(pairs[row].id, pairs[row].image, reason)

        self._spec, self._placement = spec, placement
        cache = SquareCache([pair.image for pair in pairs], spec, on_skip=skipped)
        rows = cache.readable(np.arange(len(pairs)))
        cache.close()
        if len(rows) < MIN_POOL:
            raise DataError(f"{len(rows)} validation images can be read: recall needs at least {MIN_POOL}")
        self._squares = cache.images(rows)
        self._captions = [pairs[row].text for row in rows]
        tokens = TokenCache([pairs[row] for row in rows], tokenizer)
        self._ids, self._mask = tokens.tokens(tokens.places(np.arange(len(rows))))

    @property
    def pool(self) -> int:
        """Pairs that can be read."""
        return len(self._squares)

    @torch.inference_mode()
    def recall(self, model: DualEncoder) -> RetrievalRecall:
        """Recall of a model, which is left in evaluation mode."""
        model.eval()
        places = torch.split(torch.arange(self.pool), BATCH_SIZE)
        images = torch.cat([self._embed_images(model, place) for place in places])
        texts = torch.cat([self._embed_texts(model, place) for place in places])
        return retrieval_recall(images, texts, self._captions)

    def _embed_images(self, model: DualEncoder, place: Tensor) -> Tensor:
        squares = self._squares[place].to(self._placement.device)
        pixels = to_pixels(squares, self._spec, torch.zeros(len(squares), 6), NO_AUGMENTATION)
        with self._placement.autocast():
            features = model.image_tower(pixels)
        return model.project_images(features.float()).cpu()

    def _embed_texts(self, model: DualEncoder, place: Tensor) -> Tensor:
        ids, mask = (part[place].to(self._placement.device) for part in (self._ids, self._mask))
        with self._placement.autocast():
            features = model.text_tower(ids, mask)
        return model.project_texts(features.float()).cpu()
