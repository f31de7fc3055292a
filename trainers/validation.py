"""How well captions find their images, and images their captions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

TIE = 1e-6
# Queries that are compared at a time: all at once, 20,000 pairs would fill 10 GB.
QUERIES_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class DirectionRecall:
    """Retrieval in one direction.

    Attributes:
        r1: share of queries whose right answer ranks first.
        r5: within the first 5.
        r10: within the first 10.
        median_rank: of the first right answer, 1 is best.
    """

    r1: float
    r5: float
    r10: float
    median_rank: float


@dataclass(frozen=True, slots=True)
class RetrievalRecall:
    """Retrieval in both directions over one pool.

    Attributes:
        pool: pairs in the pool.
        image_to_text: an image looks for its caption.
        text_to_image: a caption looks for its image.
    """

    pool: int
    image_to_text: DirectionRecall
    text_to_image: DirectionRecall

    @property
    def mean_recall(self) -> float:
        """Mean of recall at 1, 5 and 10 over both directions: what the best epoch is chosen by."""
        ways = (self.image_to_text, self.text_to_image)
        return sum(way.r1 + way.r5 + way.r10 for way in ways) / 6

    def to_dict(self) -> dict[str, Any]:
        """As plain values, with the mean."""
        return {**asdict(self), "mean_recall": self.mean_recall}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RetrievalRecall:
        """The inverse of ``to_dict``."""
        ways = {name: DirectionRecall(**values[name]) for name in ("image_to_text", "text_to_image")}
        return cls(pool=values["pool"], **ways)


def first_ranks(queries: Tensor, candidates: Tensor, right: Tensor) -> Tensor:
    """Rank of the best right candidate of each query; ties count against it.

    Args:
        queries: unit vectors [q, d].
        candidates: unit vectors [n, d].
        right: which candidates answer each query, bool [q, n], at least one a row.

    Returns:
        Ranks from 1, int64 [q].
    """
    # float64: equal captions must come out equal, whatever row of the product they stand in.
    similarity = queries.double() @ candidates.double().T  # [q, n]
    best = similarity.masked_fill(~right, -torch.inf).amax(dim=1, keepdim=True)
    return 1 + ((similarity >= best - TIE) & ~right).sum(dim=1)


def retrieval_recall(images: Tensor, texts: Tensor, captions: Sequence[str]) -> RetrievalRecall:
    """Recall at 1, 5 and 10 and the median rank, both ways.

    An equal caption is a right answer, as in `medclip evaluate`: the images of one case share theirs, and no
    model can tell two equal texts apart.

    Args:
        images: unit vectors [n, d]; row ``i`` belongs to row ``i`` of ``texts``.
        texts: unit vectors [n, d].
        captions: the n texts themselves.
    """
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    kind = torch.tensor([numbers[caption] for caption in captions])
    return RetrievalRecall(
        pool=len(images),
        image_to_text=_direction(_ranks(images, texts, kind)),
        text_to_image=_direction(_ranks(texts, images, kind)),
    )


def _ranks(queries: Tensor, candidates: Tensor, kind: Tensor) -> Tensor:
    candidates = candidates.double()
    parts = torch.split(torch.arange(len(queries)), QUERIES_AT_ONCE)
    return torch.cat(
        [first_ranks(queries[part], candidates, kind[part, None] == kind[None, :]) for part in parts]
    )


def _direction(ranks: Tensor) -> DirectionRecall:
    r1, r5, r10 = ((ranks <= k).double().mean().item() for k in (1, 5, 10))
    return DirectionRecall(r1, r5, r10, torch.quantile(ranks.double(), 0.5).item())
