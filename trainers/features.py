"""What a frozen tower says of every image or caption, computed once."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from encoders.preprocessing import ImagePreprocessing
from trainers.augmentation import NO_AUGMENTATION
from trainers.batches import ImageSource, Rows, TokenCache
from trainers.objective import PairEncoder, to_pixels

BATCH_SIZE = 64


class FrozenImages:
    """Features of all readable images."""

    def __init__(
        self, encoder: PairEncoder, source: ImageSource, count: int, spec: ImagePreprocessing
    ) -> None:
        """Run the image tower over ``count`` images; the source is read and closed."""
        encoder.eval()
        self._features: Tensor | None = None
        readable = np.zeros(count, dtype=bool)
        for first in range(0, count, BATCH_SIZE):
            rows = source.readable(np.arange(first, min(first + BATCH_SIZE, count)))
            if len(rows):
                self._keep(rows, _image_features(encoder, source.images(rows), spec), count)
                readable[rows] = True
        source.close()
        self._readable = readable

    def readable(self, rows: Rows) -> Rows:
        """Those of ``rows`` whose images can be read, in their order."""
        kept: Rows = rows[self._readable[rows]]
        return kept

    def images(self, rows: Rows) -> Tensor:
        """Features of readable rows, float32 [b, f]."""
        if self._features is None:
            return torch.empty(0, 0)
        return self._features[torch.from_numpy(rows)]

    def close(self) -> None:
        """Nothing is held."""

    def _keep(self, rows: Rows, features: Tensor, count: int) -> None:
        if self._features is None:
            self._features = torch.zeros(count, features.shape[1])
        self._features[torch.from_numpy(rows)] = features


class FrozenTexts:
    """Features of all captions."""

    def __init__(self, encoder: PairEncoder, tokens: TokenCache) -> None:
        """Run the text tower over all captions."""
        encoder.eval()
        self._tokens = tokens
        places = range(0, len(tokens), BATCH_SIZE)
        self._features = torch.cat(
            [_text_features(encoder, tokens, np.arange(p, min(p + BATCH_SIZE, len(tokens)))) for p in places]
        )

    def texts(self, rows: Rows, lots: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """Features of one caption of each row, float32 [b, f]."""
        return (self._features[torch.from_numpy(self._tokens.places(rows, lots))],)


@torch.no_grad()
def _image_features(encoder: PairEncoder, squares: Tensor, spec: ImagePreprocessing) -> Tensor:
    squares = squares.to(encoder.placement.device)
    pixels = to_pixels(squares, spec, torch.zeros(len(squares), 6), NO_AUGMENTATION)
    return encoder.image_features(pixels).float().cpu()


@torch.no_grad()
def _text_features(encoder: PairEncoder, tokens: TokenCache, places: np.ndarray) -> Tensor:
    ids, mask = (part.to(encoder.placement.device) for part in tokens.tokens(places))
    return encoder.text_features(ids, mask).float().cpu()
