"""Scores of retrieval: given how alike queries and candidates are, how high the right ones stand.

Ties count against the system: a query whose right answer ties with k others is ranked behind them, so a model
that gives everything the same score does not look good by the order of the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RECALL_AT = (1, 5, 10)


@dataclass(frozen=True, slots=True)
class RetrievalScores:
    """One direction of retrieval.

    Attributes:
        recall: share of queries with a right answer among the first k, by k.
        median_rank: of the first right answer; 1 is best.
        mean_rank: the same, as a mean.
        mrr: mean of 1 / rank.
        queries: how many had a right answer in the pool at all.
        pool: how many candidates each was compared with.
    """

    recall: dict[int, float]
    median_rank: float
    mean_rank: float
    mrr: float
    queries: int
    pool: int

    @property
    def chance(self) -> dict[int, float]:
        """Recall of an order drawn at random, with one right answer a query."""
        return {k: min(1.0, k / self.pool) if self.pool else 0.0 for k in self.recall}


def relevance_of(query_groups: Sequence[object], pool_groups: Sequence[object]) -> Bools:
    """[q, p] which candidates belong to the group of each query.

    >>> relevance_of(["a", "b"], ["b", "a", "a"]).astype(int).tolist()
    [[0, 1, 1], [1, 0, 0]]
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys([*query_groups, *pool_groups]))}
    queries = np.array([numbers[group] for group in query_groups], dtype=np.int64)
    pool = np.array([numbers[group] for group in pool_groups], dtype=np.int64)
    same: Bools = queries[:, None] == pool[None, :]
    return same


def first_ranks(similarity: Floats, relevant: Bools) -> Ints:
    """[q] rank of the best right answer of each query, ties against it; 0 where the pool holds none.

    Args:
        similarity: [q, p] higher is more alike.
        relevant: [q, p] which candidates are right.

    >>> first_ranks(np.array([[0.9, 0.5, 0.9]]), np.array([[True, True, False]])).tolist()
    [2]
    """
    best = np.max(similarity, axis=1, initial=-np.inf, where=relevant)
    above = np.sum((similarity >= best[:, None]) & ~relevant, axis=1)
    return np.where(relevant.any(axis=1), above + 1, 0)


def retrieval_scores(similarity: Floats, relevant: Bools, ks: Sequence[int] = RECALL_AT) -> RetrievalScores:
    """Score one direction; queries with no right answer in the pool are left out, and counted.

    Args:
        similarity: [q, p] higher is more alike.
        relevant: [q, p] which candidates are right.
        ks: where recall is taken.

    Raises:
        ValueError: the shapes differ.
    """
    if similarity.shape != relevant.shape:
        raise ValueError(
            f"similarity is {similarity.shape} but relevance is {relevant.shape}: they must agree"
        )
    return scores_of_ranks(first_ranks(similarity, relevant), similarity.shape[1], ks)


def scores_of_ranks(ranks: Ints, pool: int, ks: Sequence[int] = RECALL_AT) -> RetrievalScores:
    """Sum up the ranks of the first right answers; 0 is a query that has none.

    >>> scores_of_ranks(np.array([1, 2, 20, 0]), pool=20).recall
    {1: 0.3333333333333333, 5: 0.6666666666666666, 10: 0.6666666666666666}
    """
    found = ranks[ranks > 0]
    if not len(found):
        return RetrievalScores(dict.fromkeys(ks, 0.0), float("nan"), float("nan"), 0.0, 0, pool)
    return RetrievalScores(
        recall={k: float(np.mean(found <= k)) for k in ks},
        median_rank=float(np.median(found)),
        mean_rank=float(np.mean(found)),
        mrr=float(np.mean(1.0 / found)),
        queries=len(found),
        pool=pool,
    )


def both_directions(
    images: Floats, texts: Floats, groups: Sequence[object], ks: Sequence[int] = RECALL_AT
) -> dict[str, RetrievalScores]:
    """Image to text and text to image over n pairs; anything of the same group is a right answer.

    Args:
        images: [n, d] unit length.
        texts: [n, d] unit length.
        groups: [n] what makes an answer right: the id for the exact pair, the caption, or the patient.
        ks: where recall is taken.
    """
    similarity = images @ texts.T
    relevant = relevance_of(groups, groups)
    return {
        "image_to_text": retrieval_scores(similarity, relevant, ks),
        "text_to_image": retrieval_scores(similarity.T, relevant.T, ks),
    }


def chance_recall(relevant: Bools, ks: Sequence[int] = RECALL_AT) -> dict[int, float]:
    """Recall of an order drawn at random: the chance that k draws without repeats hold a right answer.

    Args:
        relevant: [q, p] which candidates are right.
        ks: where recall is taken.

    >>> chance_recall(np.array([[True, False, False, False], [True, True, False, False]]), ks=(1, 2))
    {1: 0.375, 2: 0.6666666666666667}
    """
    right = relevant.sum(axis=1, dtype=np.float64)
    right = right[right > 0]
    pool = relevant.shape[1]
    missed, chances = np.ones_like(right), {}
    for drawn in range(max(ks)):
        missed *= np.clip((pool - right - drawn) / max(1, pool - drawn), 0.0, 1.0)
        if drawn + 1 in ks:
            chances[drawn + 1] = float(np.mean(1.0 - missed)) if len(right) else 0.0
    return chances
