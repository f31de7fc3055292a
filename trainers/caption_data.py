"""Joins grids, captions and the captions of neighbours to the batches a decoder learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.caption_codec import PAD_ID, CaptionCodec
from encoders.caption_runtime import retrieved_ids
from trainers.caption_features import GridCache
from trainers.data import TrainingPair
from trainers.options import CaptioningOptions
from trainers.processes import Processes
from trainers.randomness import derived_seed

# Training draws the captions it reads from this many times more neighbours: those of a training image are
# nearer than those of a new one will be, and a decoder that trusts the first blindly learns to copy.
POOL_FACTOR = 3

# Captions of so many batches are sorted together: enough to save most padding, few enough to stay shuffled.
SORTED_BATCHES = 8
# Neighbours among which those with different captions are looked for, as when a question is asked.
LOOKED_AT = 100
Rows = np.ndarray


@dataclass(frozen=True, slots=True)
class CaptionBatch:
    """Captions that are learned in one forward pass: this process's share of them.

    Attributes:
        ids: their tokens, int64 ``[b, s]``.
        grids: what the image tower saw, float32 ``[b, g, c]``.
        retrieved: captions of neighbours, int64 ``[b, k, r]``; None for a decoder that reads none.
    """

    ids: Tensor
    grids: Tensor
    retrieved: Tensor | None

    def __len__(self) -> int:
        """Captions in the share."""
        return len(self.ids)


class RetrievalBank:
    """The captions of the training images, found by how near their images are."""

    def __init__(
        self, pairs: Sequence[TrainingPair], seen: GridCache, codec: CaptionCodec, options: CaptioningOptions
    ) -> None:
        """Keep the captions and vectors of the images that can be read."""
        self._vectors = seen.vectors[seen.rows]
        self._groups = [pairs[row].group for row in seen.rows]
        self._texts = [pairs[row].text for row in seen.rows]
        self._codec, self._options = codec, options

    def nearest(self, pairs: Sequence[TrainingPair], seen: GridCache, factor: int = 1) -> Rows:
        """Places of the nearest known images of each readable image, ``factor`` times as many as are read.

        No two of them have the same caption, and images of the own patient, case or article are left out; see
        `nearest_rows`.
        """
        groups = [pairs[row].group for row in seen.rows]
        count = factor * self._options.retrieve
        return nearest_rows(
            seen.vectors[seen.rows], groups, self._vectors, self._groups, count, known_texts=self._texts
        )

    def read(self, near: Rows) -> Tensor | None:
        """Tokens ``[b, k, r]`` of the captions at these places; None where no captions are read."""
        if not self._options.retrieve:
            return None
        texts = [[self._texts[place] for place in row if place >= 0] for row in near]
        ids = retrieved_ids(self._codec, texts, self._options.retrieve, self._options.retrieved_tokens)
        return torch.from_numpy(ids)


class CaptionFeed:
    """The batches of each epoch, each a function of the seed and its number alone."""

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        seen: GridCache,
        codec: CaptionCodec,
        library: RetrievalBank,
        options: CaptioningOptions,
        processes: Processes,
    ) -> None:
        """Feed the captions of the images that were seen; each process gets its share of every batch."""
        self._seen, self._codec, self._library = seen, codec, library
        self._options, self._processes = options, processes
        self._texts = [texts_of(pairs[row]) for row in seen.rows]
        self._lengths = np.array([len(texts[0]) for texts in self._texts])
        self._near = library.nearest(pairs, seen, POOL_FACTOR)

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return -(-len(self._texts) // self._options.batch_size)

    def epoch(self, epoch: int, *, first_step: int = 0) -> Iterator[CaptionBatch]:
        """Yield the batches of an epoch (from 0), from the given step on."""
        order = batches_by_length(self._lengths, self._options.batch_size, self._options.seed, epoch)
        for step, planned in enumerate(order[first_step:], start=first_step):
            yield self._batch(planned, epoch, step)

    def _batch(self, planned: Rows, epoch: int, step: int) -> CaptionBatch:
        # Drawn for the whole batch, whoever takes which share of it.
        dice = np.random.default_rng(derived_seed(self._options.seed, "captions", epoch, step))
        lots, order = dice.random(len(planned)), dice.random((len(planned), self._near.shape[1]))
        share = np.array_split(np.arange(len(planned)), self._processes.world)[self._processes.rank]
        is_idle = not len(share)
        if is_idle:  # the others wait for this process's gradients: those of no words at all
            share = np.arange(1)
        places = planned[share]
        texts = [
            self._texts[place][int(lot * len(self._texts[place]))]
            for place, lot in zip(places, lots[share], strict=True)
        ]
        ids = self._codec.encode(texts, self._options.max_tokens)
        if is_idle:
            ids[:, 1:] = PAD_ID
        return CaptionBatch(
            torch.from_numpy(ids),
            self._seen.grids(self._seen.rows[places], epoch % self._options.views),
            self._library.read(self._drawn(self._near[places], order[share])),
        )

    def _drawn(self, near: Rows, order: np.ndarray) -> Rows:
        """Some of the neighbours of each image, nearest first."""
        places = np.argsort(order, axis=1)[:, : self._options.retrieve]
        return np.take_along_axis(near, np.sort(places, axis=1), axis=1)


def texts_of(pair: TrainingPair) -> tuple[str, ...]:
    """All captions of a pair, its own first."""
    return (pair.text, *pair.other_texts)


def batches_by_length(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Shuffle an epoch into batches of captions of like length: padding costs as much as words.

    Args:
        lengths: of each caption, in letters.
        batch_size: at most.
        seed: of the run.
        epoch: from 0.

    Returns:
        Places in ``lengths``, each once.
    """
    dice = np.random.default_rng(derived_seed(seed, "order", epoch))
    order = dice.permutation(len(lengths))
    batches = []
    for first in range(0, len(order), SORTED_BATCHES * batch_size):
        part = order[first : first + SORTED_BATCHES * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += np.split(part, range(batch_size, len(part), batch_size))
    return [batches[place] for place in dice.permutation(len(batches))]


def nearest_rows(
    vectors: np.ndarray,
    groups: Sequence[str],
    known: np.ndarray,
    known_groups: Sequence[str],
    count: int,
    *,
    known_texts: Sequence[str],
) -> np.ndarray:
    """Which known images are nearest to each image, its own patient, case or article left out.

    Of the images with one caption only the nearest is taken: the slices of a case would say the same again.

    Args:
        vectors: of the images, unit length ``[n, d]``.
        groups: of the images; an empty name belongs to nobody.
        known: vectors of the images that may answer ``[m, d]``.
        known_groups: of those.
        count: how many.
        known_texts: their captions.

    Returns:
        int64 ``[n, count]``, nearest first; -1 where there are no more.
    """
    numbers = {name: place for place, name in enumerate(dict.fromkeys([*groups, *known_groups]))}
    own = np.array([numbers[name] if name else -1 for name in groups])
    theirs = np.array([numbers[name] if name else -2 for name in known_groups])
    wordings = np.unique(np.asarray(known_texts, dtype=object).astype(str), return_inverse=True)[1]
    found = np.full((len(vectors), count), -1, dtype=np.int64)
    for row, similarity in enumerate(_similarities(vectors, known) if count else ()):
        allowed = np.flatnonzero(theirs != own[row])
        distance = -similarity[allowed]
        if len(allowed) > LOOKED_AT:  # sorting all of a large corpus for each of its images would take hours
            near = np.sort(np.argpartition(distance, LOOKED_AT)[:LOOKED_AT])
            allowed, distance = allowed[near], distance[near]
        order = allowed[np.argsort(distance, kind="stable")]
        firsts = np.sort(np.unique(wordings[order], return_index=True)[1])[:count]
        found[row, : len(firsts)] = order[firsts]
    return found


def _similarities(vectors: np.ndarray, known: np.ndarray) -> Iterator[np.ndarray]:
    """The similarities ``[m]`` of each vector to all known ones, multiplied some at a time."""
    for first in range(0, len(vectors), 256):
        yield from vectors[first : first + 256] @ known.T
