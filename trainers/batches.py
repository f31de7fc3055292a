"""From training pairs to batches: order, captions, images, one batch ahead of the model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.preprocessing import CaptionTokenizer
from trainers.randomness import derived_seed
from trainers.squares import SquareCache

Rows = np.ndarray


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """An image and what was written about it.

    Attributes:
        id: unique among the pairs.
        image: the image file.
        text: its caption.
        group: patient, else case, else article.
        labels: ``field=value`` names: modality, view, region, findings ...
        other_texts: further captions of the same image; each epoch draws one of them all.
    """

    id: str
    image: Path
    text: str
    group: str = ""
    labels: tuple[str, ...] = ()
    other_texts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Batch:
    """What one step sees.

    Attributes:
        rows: of the pairs, int64 [b].
        squares: uint8 [b, h, w, 3].
        ids: token ids int64 [b, s].
        mask: 1 for tokens, 0 for padding, int64 [b, s].
    """

    rows: Rows
    squares: Tensor
    ids: Tensor
    mask: Tensor

    def __len__(self) -> int:
        """Pairs in the batch."""
        return len(self.rows)


class TokenCache:
    """Every caption tokenized once."""

    def __init__(self, pairs: Sequence[TrainingPair], tokenizer: CaptionTokenizer) -> None:
        """Tokenize all captions of all pairs."""
        choices = [(pair.text, *pair.other_texts) for pair in pairs]
        self._first = np.cumsum([0, *(len(texts) for texts in choices)])
        ids, mask = tokenizer([text for texts in choices for text in texts])
        self._ids, self._mask = torch.from_numpy(ids), torch.from_numpy(mask)

    def rows(self, rows: Rows, seed: int | None = None) -> tuple[Tensor, Tensor]:
        """Token ids and mask [b, s], cut to the longest caption of the batch.

        Args:
            rows: of the pairs.
            seed: draws one caption of each pair; None takes the first.
        """
        places = self._first[rows]
        if seed is not None:
            counts = self._first[rows + 1] - places
            places = places + np.random.default_rng(seed).integers(counts)
        mask = self._mask[places]
        longest = int(mask.sum(dim=1).max()) if len(rows) else 1
        return self._ids[places, :longest], mask[:, :longest]


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Rows of each batch of an epoch: all of them, shuffled, in batches of nearly the same size.

    Args:
        count: pairs there are.
        batch_size: wanted; batches differ from it so that none is left with a small rest.
        seed: of the run.
        epoch: from 0.
    """
    order = np.random.default_rng(derived_seed(seed, "order", epoch)).permutation(count)
    return np.array_split(order, batches_per_epoch(count, batch_size))


def batches_per_epoch(count: int, batch_size: int) -> int:
    """How many batches an epoch has."""
    return max(1, round(count / batch_size))


class BatchSource:
    """Makes the batches of an epoch, each while the model still works on the one before."""

    def __init__(
        self, images: SquareCache, tokens: TokenCache, *, count: int, batch_size: int, seed: int
    ) -> None:
        """Join images and captions of ``count`` pairs."""
        self._images, self._tokens = images, tokens
        self._count, self._batch_size, self._seed = count, batch_size, seed
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    def epoch(self, epoch: int, *, first_batch: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch (from 0), from the given batch on.

        A batch is smaller by the images that cannot be read; one with fewer than two pairs is still yielded,
        so that steps keep their numbers.
        """
        order = epoch_order(self._count, self._batch_size, self._seed, epoch)
        places = range(first_batch, len(order))
        ahead = [self._thread.submit(self._make, order[place], epoch, place) for place in places[:1]]
        for place in places:
            batch = ahead.pop().result()
            if place + 1 < len(order):
                ahead.append(self._thread.submit(self._make, order[place + 1], epoch, place + 1))
            yield batch

    def close(self) -> None:
        """Stop the threads."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._images.close()

    def _make(self, rows: Rows, epoch: int, place: int) -> Batch:
        rows = self._images.readable(rows)
        ids, mask = self._tokens.rows(rows, derived_seed(self._seed, "captions", epoch, place))
        return Batch(rows, torch.from_numpy(self._images.squares(rows)), ids, mask)
