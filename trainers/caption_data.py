"""What a decoder learns from: batches of grids, captions, and the captions of neighbouring images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoders.captioner import CaptionCodec, retrieved_ids
from encoders.generation import PAD_ID
from trainers.caption_features import GridCache
from trainers.data import Rows, TrainingPair
from trainers.options import CaptioningOptions
from trainers.processes import Processes
from trainers.randomness import derived_seed

# Training draws the captions it reads from this many times more neighbours: those of a training image are
# nearer than those of a new one will be, and a decoder that trusts the first blindly learns to copy.
POOL_FACTOR = 3
# Captions of so many batches are sorted together: enough to save most padding, few enough to stay shuffled.
SORTED_BATCHES = 8
# Neighbours among which those with different captions are searched, as when a model is asked.
CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class CaptionBatch:
    """This process's share of the captions of a step."""

    ids: Tensor  # their tokens, int64 ``[b, s]``
    grids: Tensor  # of their images, float32 ``[b, g, c]``
    # Captions of neighbours, int64 ``[b, k, r]``; None for a decoder that reads none.
    retrieved: Tensor | None

    def __len__(self) -> int:
        return len(self.ids)


class RetrievalBank:
    """The captions of the training images, found by the similarity of their images."""

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        features: GridCache,
        codec: CaptionCodec,
        options: CaptioningOptions,
    ) -> None:
        """Keep the captions and vectors of the images that can be read."""
        self._vectors = features.vectors[features.rows]
        self._groups = [pairs[row].group for row in features.rows]
        self._texts = [pairs[row].text for row in features.rows]
        self._codec, self._options = codec, options

    def nearest(self, pairs: Sequence[TrainingPair], features: GridCache, factor: int = 1) -> Rows:
        """The nearest known images of each readable image, ``factor`` times as many as are read.

        No two of them have the same caption, and images of the own patient, case or article are left out; see
        `nearest_rows`.
        """
        return nearest_rows(
            features.vectors[features.rows],
            [pairs[row].group for row in features.rows],
            self._vectors,
            self._groups,
            factor * self._options.retrieve,
            known_texts=self._texts,
        )

    def captions(self, neighbours: Rows) -> Tensor | None:
        """Tokens ``[b, k, r]`` of the captions of these known images; None where no captions are read."""
        if not self._options.retrieve:
            return None
        texts = [[self._texts[index] for index in row if index >= 0] for row in neighbours]
        ids = retrieved_ids(self._codec, texts, self._options.retrieve, self._options.retrieved_tokens)
        return torch.from_numpy(ids)


class CaptionBatches:
    """The batches of each epoch, each a function of the seed and its number alone."""

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        features: GridCache,
        codec: CaptionCodec,
        bank: RetrievalBank,
        options: CaptioningOptions,
        processes: Processes,
    ) -> None:
        """Prepare the captions of the readable images; each process gets its share of every batch."""
        self._features, self._codec, self._bank = features, codec, bank
        self._options, self._processes = options, processes
        self._texts = [captions_of(pairs[row]) for row in features.rows]
        self._lengths = np.array([len(texts[0]) for texts in self._texts])
        self._neighbours = bank.nearest(pairs, features, POOL_FACTOR)

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
        options, processes = self._options, self._processes
        # Drawn for the whole batch, whichever process takes which share of it.
        rng = np.random.default_rng(derived_seed(options.seed, "captions", epoch, step))
        picks, order = rng.random(len(planned)), rng.random((len(planned), self._neighbours.shape[1]))
        share = np.array_split(np.arange(len(planned)), processes.world)[processes.rank]
        is_idle = not len(share)
        if is_idle:  # the others wait for this process's gradients: those of no words at all
            share = np.arange(1)
        images = planned[share]
        texts = [
            self._texts[image][int(pick * len(self._texts[image]))]
            for image, pick in zip(images, picks[share], strict=True)
        ]
        ids = self._codec.encode(texts, options.max_tokens)
        if is_idle:
            ids[:, 1:] = PAD_ID
        # Some of the neighbours at random, nearest first.
        chosen = np.sort(np.argsort(order[share], axis=1)[:, : options.retrieve], axis=1)
        return CaptionBatch(
            torch.from_numpy(ids),
            self._features.grids(self._features.rows[images], epoch % options.views),
            self._bank.captions(np.take_along_axis(self._neighbours[images], chosen, axis=1)),
        )


def captions_of(pair: TrainingPair) -> tuple[str, ...]:
    """All captions of a pair, its own first."""
    return (pair.text, *pair.other_texts)


def batches_by_length(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Shuffle an epoch (from 0) into batches of captions of similar length: padding costs as much as words.

    Returns:
        Indices into ``lengths`` (in letters), each once, in batches of at most ``batch_size``.
    """
    rng = np.random.default_rng(derived_seed(seed, "order", epoch))
    order = rng.permutation(len(lengths))
    batches = []
    for first in range(0, len(order), SORTED_BATCHES * batch_size):
        part = order[first : first + SORTED_BATCHES * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += np.split(part, range(batch_size, len(part), batch_size))
    return [batches[index] for index in rng.permutation(len(batches))]


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

    Of the images with one caption only the nearest is taken: the slices of a case would repeat it.

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
    numbers = {name: number for number, name in enumerate(dict.fromkeys([*groups, *known_groups]))}
    own = np.array([numbers[name] if name else -1 for name in groups])
    theirs = np.array([numbers[name] if name else -2 for name in known_groups])
    wordings = np.unique(np.asarray(known_texts, dtype=object).astype(str), return_inverse=True)[1]
    found = np.full((len(vectors), count), -1, dtype=np.int64)
    for row, similarity in enumerate(_similarities(vectors, known) if count else ()):
        allowed = np.flatnonzero(theirs != own[row])
        distance = -similarity[allowed]
        if len(allowed) > CANDIDATES:  # sorting a large corpus for each of its images would take hours
            near = np.sort(np.argpartition(distance, CANDIDATES)[:CANDIDATES])
            allowed, distance = allowed[near], distance[near]
        order = allowed[np.argsort(distance, kind="stable")]
        firsts = np.sort(np.unique(wordings[order], return_index=True)[1])[:count]
        found[row, : len(firsts)] = order[firsts]
    return found


def _similarities(vectors: np.ndarray, known: np.ndarray) -> Iterator[np.ndarray]:
    """The similarities ``[m]`` of each vector to all known ones, multiplied some at a time."""
    for first in range(0, len(vectors), 256):
        yield from vectors[first : first + 256] @ known.T
