"""From training pairs to batches: decoded images, tokens, order; one step ahead of the model."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from encoders.errors import ScanError
from encoders.preprocessing import CaptionTokenizer, ImagePreprocessing, load_image
from trainers.augmentation import draw
from trainers.processes import Processes
from trainers.randomness import derived_seed, generator

IN_MEMORY_BYTES = 4 * 2**30
Skipped = Callable[[int, str], None]


class ImageCache:
    """The training images at the model's size, each decoded when it is first needed.

    From the second epoch on an image costs one copy of its bytes. An image that cannot be read is reported
    once and left out from then on; no other image takes its place.
    """

    def __init__(
        self,
        files: Sequence[Path],
        spec: ImagePreprocessing,
        *,
        on_skip: Skipped,
        in_memory_bytes: int = IN_MEMORY_BYTES,
        threads: int | None = None,
    ) -> None:
        """Prepare the space; nothing is read yet.

        Args:
            files: the image files, by row.
            spec: the model's preprocessing.
            on_skip: called once for each image that cannot be read, with its row and the reason.
            in_memory_bytes: a larger cache is a temporary file that the system pages in and out.
            threads: that decode; by default one for each core, at most eight.
        """
        self._files = list(files)
        self._spec = spec
        self._on_skip = on_skip
        self._pixels = empty_array((len(self._files), spec.size, spec.size, 3), np.uint8, in_memory_bytes)
        self._known = np.zeros(len(self._files), dtype=bool)
        self._readable = np.ones(len(self._files), dtype=bool)
        self._pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    @property
    def skipped(self) -> int:
        """Images that turned out unreadable so far."""
        return int((~self._readable).sum())

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` whose images can be read, in their order; decodes what was not decoded yet."""
        new = rows[~self._known[rows]]
        for row, problem in zip(new, self._pool.map(self._decode, new), strict=True):
            self._known[row] = True
            if problem is not None:
                self._readable[row] = False
                self._on_skip(int(row), problem)
        kept: np.ndarray = rows[self._readable[rows]]
        return kept

    def images(self, rows: np.ndarray) -> Tensor:
        """The images of rows that ``readable`` returned: a copy, uint8 ``[b, size, size, 3]``."""
        return torch.from_numpy(self._pixels[rows])

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _decode(self, row: int) -> str | None:
        try:
            self._pixels[row] = load_image(self._files[row], self._spec)
        except ScanError as error:
            return str(error)
        return None


def empty_array(shape: tuple[int, ...], dtype: type[np.generic], in_memory_bytes: int) -> np.ndarray:
    """An empty array in memory, or in a nameless temporary file when it is larger than this."""
    if int(np.prod(shape)) * np.dtype(dtype).itemsize <= in_memory_bytes:
        return np.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile(prefix="medclip-cache-") as file:  # the map keeps it alive
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


Rows = np.ndarray


@dataclass(frozen=True, slots=True)
class TrainingPair:
    """An image and what was written about it."""

    id: str  # unique among the pairs
    image: Path  # the image file
    text: str  # its caption
    group: str = ""  # patient, else case, else article
    labels: tuple[str, ...] = ()  # ``field=value`` names: modality, view, region, findings
    other_texts: tuple[str, ...] = ()  # further captions of the same image; each epoch draws one of them all


@dataclass(frozen=True, slots=True)
class PairSplits:
    """The pairs of a run."""

    train: Sequence[TrainingPair]  # to learn from
    validation: Sequence[TrainingPair]  # to evaluate on; they should share no patient with ``train``


@dataclass(frozen=True, slots=True)
class Batch:
    """Pairs that are contrasted with each other in one forward pass."""

    rows: Rows  # of the pairs, int64 [b]
    images: Tensor  # uint8 images [b, h, w, 3], or float32 features of a frozen tower [b, f]
    draws: tuple[Tensor, ...]  # of the augmentation, for each view of the images [b, 6]
    # Token ids and their mask, int64 [b, s] each, or float32 features of a frozen tower [b, f].
    texts: tuple[Tensor, ...]

    def __len__(self) -> int:
        """Pairs in the batch."""
        return len(self.rows)

    def chunks(self, size: int | None) -> list[Batch]:
        """The batch in pieces of at most ``size`` pairs; None leaves it whole."""
        if size is None or size >= len(self):
            return [self]
        cuts = [slice(first, first + size) for first in range(0, len(self), size)]
        return [
            Batch(
                rows=self.rows[cut],
                images=self.images[cut],
                draws=tuple(part[cut] for part in self.draws),
                texts=tuple(part[cut] for part in self.texts),
            )
            for cut in cuts
        ]


class ImageSource(Protocol):
    """Where the images of a batch come from."""

    def readable(self, rows: Rows) -> Rows:
        """Those of ``rows`` whose images can be read, in their order."""

    def images(self, rows: Rows) -> Tensor:
        """Squares or features of readable rows."""

    def close(self) -> None:
        """Let go of threads."""


class TextSource(Protocol):
    """Where the captions of a batch come from."""

    def texts(self, rows: Rows, picks: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """Tokens or features of the caption that each pair's pick (0 to below 1) chooses; None: the first."""


class TokenCache:
    """Every caption tokenized once."""

    def __init__(self, pairs: Sequence[TrainingPair], tokenizer: CaptionTokenizer) -> None:
        """Tokenize all captions of all pairs."""
        choices = [(pair.text, *pair.other_texts) for pair in pairs]
        self._first = np.cumsum([0, *(len(texts) for texts in choices)])
        ids, mask = tokenizer([text for texts in choices for text in texts])
        self._ids, self._mask = torch.from_numpy(ids), torch.from_numpy(mask)

    def __len__(self) -> int:
        """How many captions there are."""
        return len(self._ids)

    def caption_rows(self, rows: Rows, picks: np.ndarray | None = None) -> np.ndarray:
        """The row of each pair's chosen caption among all captions; see ``texts``."""
        first: np.ndarray = self._first[rows]
        if picks is None:
            return first
        counts = self._first[rows + 1] - first
        chosen: np.ndarray = first + np.minimum((picks * counts).astype(np.int64), counts - 1)
        return chosen

    def tokens(self, places: np.ndarray) -> tuple[Tensor, Tensor]:
        """Token ids and mask [b, s] of captions, cut to the longest of them."""
        mask = self._mask[places]
        longest = int(mask.sum(dim=1).max()) if len(places) else 1
        return self._ids[places, :longest], mask[:, :longest]

    def texts(self, rows: Rows, picks: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """Token ids and mask [b, s] of the caption that each row's pick chooses; see `TextSource`."""
        return self.tokens(self.caption_rows(rows, picks))


def epoch_order(count: int, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Rows of each step of an epoch (from 0): all of them, shuffled, in batches of nearly the same size.

    Batches differ from ``batch_size`` so that none is left with a small rest.
    """
    order = np.random.default_rng(derived_seed(seed, "order", epoch)).permutation(count)
    return np.array_split(order, steps_per_epoch(count, batch_size))


def steps_per_epoch(count: int, batch_size: int) -> int:
    """How many steps an epoch has."""
    return max(1, round(count / batch_size))


class BatchSource:
    """Makes the batches of an epoch, those of a step while the model still works on the step before."""

    def __init__(
        self,
        images: ImageSource,
        texts: TextSource,
        *,
        count: int,
        batch_size: int,
        accumulate: int = 1,
        seed: int,
        views: int = 1,
        processes: Processes | None = None,
    ) -> None:
        """Join images and captions of ``count`` pairs.

        ``batch_size`` counts pairs over all processes, each of which gets its share; ``accumulate`` batches
        make a step, in which each image is augmented ``views`` times.
        """
        self._images, self._texts = images, texts
        self._count, self._batch_size, self._accumulate = count, batch_size, accumulate
        self._seed, self._views, self._processes = seed, views, processes or Processes()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="batches")

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return steps_per_epoch(self._count, self._batch_size * self._accumulate)

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[list[Batch]]:
        """Yield the batches of each step of an epoch (from 0), from the given step on.

        A batch is smaller by the images that cannot be read, down to none at all, so that steps keep their
        numbers.
        """
        order = epoch_order(self._count, self._batch_size * self._accumulate, self._seed, epoch)
        steps = range(first_step, len(order))
        ahead = [self._thread.submit(self._make, order[step], epoch, step) for step in steps[:1]]
        for step in steps:
            batches = ahead.pop().result()
            if step + 1 < len(order):
                ahead.append(self._thread.submit(self._make, order[step + 1], epoch, step + 1))
            yield batches

    def close(self) -> None:
        """Stop the threads."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._images.close()

    def _make(self, planned: Rows, epoch: int, step: int) -> list[Batch]:
        # Drawn for the whole step, whoever takes which share of it and whatever cannot be read.
        draws = [
            draw(len(planned), generator(self._seed, "augmentation", epoch, step, *view))
            for view in ((), *((view,) for view in range(1, self._views)))
        ]
        picks = np.random.default_rng(derived_seed(self._seed, "captions", epoch, step)).random(len(planned))
        parts = np.array_split(np.arange(len(planned)), self._accumulate)
        own = [np.array_split(part, self._processes.world)[self._processes.rank] for part in parts]
        return [self._batch(planned[share], [part[share] for part in draws], picks[share]) for share in own]

    def _batch(self, rows: Rows, draws: Sequence[Tensor], picks: np.ndarray) -> Batch:
        kept = self._images.readable(rows)
        stays = np.isin(rows, kept)
        return Batch(
            rows=kept,
            images=self._images.images(kept),
            draws=tuple(part[stays] for part in draws),
            texts=self._texts.texts(kept, picks[stays]),
        )
