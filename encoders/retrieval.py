"""How well captions find their images, and images their captions: ranks and recall, with NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

TIE = 1e-6  # similarities this close to each other count as equal
QUERIES_AT_ONCE = 1024  # all at once, the similarities of 20,000 pairs would fill 3 GB


@dataclass(frozen=True, slots=True)
class DirectionRecall:
    """Retrieval in one direction."""

    r1: float  # share of queries whose right answer ranks first
    r5: float  # within the first 5
    r10: float  # within the first 10
    median_rank: float  # of the first right answer, 1 is best


@dataclass(frozen=True, slots=True)
class RetrievalRecall:
    """Retrieval in both directions over one pool."""

    pool: int  # pairs in the pool
    image_to_text: DirectionRecall  # an image looks for its caption
    text_to_image: DirectionRecall  # a caption looks for its image

    @property
    def mean_recall(self) -> float:
        """Mean of recall at 1, 5 and 10 over both directions: what the best epoch is chosen by."""
        directions = (self.image_to_text, self.text_to_image)
        return sum(found.r1 + found.r5 + found.r10 for found in directions) / 6

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the mean."""
        return {**asdict(self), "mean_recall": self.mean_recall}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RetrievalRecall:
        """The inverse of ``to_dict``."""
        directions = {name: DirectionRecall(**values[name]) for name in ("image_to_text", "text_to_image")}
        return cls(pool=values["pool"], **directions)


def first_ranks(similarity: NDArray[Any], relevant: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Rank of the best relevant candidate of each query; ties count against it.

    Similarities within `TIE` of each other are ties: equal captions, or equal vectors in another place of a
    matrix product, must not be ranked by rounding. Pass float64 similarities where ties matter.

    Args:
        similarity: higher is more alike [q, n].
        relevant: which candidates answer each query [q, n].

    Returns:
        Ranks from 1 [q]; 0 where no candidate is relevant.

    >>> first_ranks(np.array([[0.9, 0.5, 0.9]]), np.array([[True, True, False]])).tolist()
    [2]
    """
    best = np.max(similarity, axis=1, initial=-np.inf, where=relevant, keepdims=True)
    above = np.sum((similarity >= best - TIE) & ~relevant, axis=1)
    return np.where(relevant.any(axis=1), above + 1, 0)


def retrieval_recall(images: NDArray[Any], texts: NDArray[Any], captions: Sequence[str]) -> RetrievalRecall:
    """Recall at 1, 5 and 10 and the median rank, in both directions.

    An equal caption is a right answer: the images of one case share theirs, and no model can tell two equal
    texts apart.

    Args:
        images: unit vectors [n, d]; row ``i`` belongs to row ``i`` of ``texts``.
        texts: unit vectors [n, d].
        captions: the n texts themselves.
    """
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    kind = np.array([numbers[caption] for caption in captions])
    images, texts = images.astype(np.float64), texts.astype(np.float64)

    def direction(queries: NDArray[Any], candidates: NDArray[Any]) -> DirectionRecall:
        blocks = [slice(first, first + QUERIES_AT_ONCE) for first in range(0, len(queries), QUERIES_AT_ONCE)]
        ranks = np.concatenate(
            [first_ranks(queries[block] @ candidates.T, kind[block, None] == kind) for block in blocks]
        )
        r1, r5, r10 = (float(np.mean(ranks <= k)) for k in (1, 5, 10))
        return DirectionRecall(r1, r5, r10, float(np.median(ranks)))

    return RetrievalRecall(len(images), direction(images, texts), direction(texts, images))
