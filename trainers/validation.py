"""How well captions find their images, and images their captions."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class DirectionRecall:
    """Retrieval in one direction.

    Attributes:
        r1: share of queries whose own partner ranks first.
        r5: within the first 5.
        r10: within the first 10.
        median_rank: of the own partner, 1 is best.
    """

    r1: float
    r5: float
    r10: float
    median_rank: float


@dataclass(frozen=True, slots=True)
class RetrievalRecall:
    """Retrieval in both directions over one pool.

    Attributes:
        pool: pairs in the pool; each query has one relevant candidate among this many.
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


def own_ranks(queries: Tensor, candidates: Tensor) -> Tensor:
    """Rank of candidate ``i`` for query ``i``.

    Only the own partner counts as relevant, as is the custom. Candidates with the same similarity share the
    mean of their ranks: captions repeat within a case, and an order among equals would be luck.

    Args:
        queries: unit vectors [n, d].
        candidates: unit vectors [n, d].

    Returns:
        Ranks from 1, in steps of one half, float64 [n].
    """
    # float64: equal captions must come out equal, whatever row of the product they stand in.
    similarity = queries.double() @ candidates.double().T  # [n, n]
    own = similarity.diagonal().unsqueeze(1)  # [n, 1]
    tied = (similarity - own).abs() <= 1e-6
    better = (similarity > own) & ~tied
    return 1 + better.sum(dim=1) + (tied.sum(dim=1) - 1) / 2


def retrieval_recall(images: Tensor, texts: Tensor) -> RetrievalRecall:
    """Recall at 1, 5 and 10 and the median rank, both ways.

    Args:
        images: unit vectors [n, d]; row ``i`` belongs to row ``i`` of ``texts``.
        texts: unit vectors [n, d].
    """
    return RetrievalRecall(
        pool=len(images),
        image_to_text=_direction(own_ranks(images, texts)),
        text_to_image=_direction(own_ranks(texts, images)),
    )


def _direction(ranks: Tensor) -> DirectionRecall:
    r1, r5, r10 = ((ranks <= k).double().mean().item() for k in (1, 5, 10))
    return DirectionRecall(r1, r5, r10, torch.quantile(ranks, 0.5).item())
