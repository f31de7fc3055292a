"""Scores of retrieval: given how similar queries and candidates are, how high the right ones rank.

Ties count against the system: a query whose right answer ties with k others is ranked behind them, so a model
that gives everything the same score does not look good by the order of the file.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from encoders.retrieval import first_ranks
from medclip_cli.scoring.clinical import label_indicators

Floats = npt.NDArray[np.floating[Any]]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

RECALL_AT = (1, 5, 10)
NDCG_AT = 10
_SIMILARITIES_AT_ONCE = 8_000_000  # 64 MB of float64; the whole matrix of a large split would not fit


@dataclass(frozen=True, slots=True)
class RankedQueries:
    """The ranks of each query's right answers."""

    rank: Ints  # [q] of the first right answer, ties against it; 0 where the pool holds none
    average_precision: Floats  # [q]
    ndcg: Floats  # [q] NaN without labels
    right: Ints  # [q] how many right answers the pool holds
    pool: int  # how many candidates there are

    def only(self, chosen: Bools) -> RankedQueries:
        """Some of the queries, against the same pool.

        Args:
            chosen: [q]
        """
        return RankedQueries(
            self.rank[chosen],
            self.average_precision[chosen],
            self.ndcg[chosen],
            self.right[chosen],
            self.pool,
        )

    def recall(self, ks: Sequence[int]) -> dict[int, float]:
        """Share of the queries that have an answer with one among the first k."""
        found = self.rank[self.rank > 0]
        return {k: float(np.mean(found <= k)) if len(found) else 0.0 for k in ks}

    def curve(self, ks: Sequence[int]) -> dict[str, list[float]]:
        """Recall and chance by k, as far as the pool goes."""
        ks = [k for k in ks if k <= self.pool]
        return {
            "k": [float(k) for k in ks],
            "recall": list(self.recall(ks).values()),
            "chance": list(chance_recall(self.right, self.pool, ks).values()) if ks else [],
        }

    def scores(self, ks: Sequence[int] = RECALL_AT) -> dict[str, float]:
        """Sum up; queries with no right answer in the pool are left out.

        Returns:
            By name: ``r@k`` (share of queries with a right answer among the first k) and ``chance_r@k`` (the
            same in random order); ``median_rank`` and ``mean_rank`` of the first right answer, 1 is best;
            ``mrr``, mean of 1 / rank; ``map``, mean average precision over all right answers; ``ndcg@10``,
            the gain being the overlap of labels (NaN without labels); ``queries`` counted; ``pool``.
        """
        answerable = self.rank > 0
        rank = self.rank[answerable]
        some = len(rank) > 0
        return {
            **{f"r@{k}": value for k, value in self.recall(ks).items()},
            **{f"chance_r@{k}": value for k, value in chance_recall(self.right, self.pool, ks).items()},
            "median_rank": float(np.median(rank)) if some else float("nan"),
            "mean_rank": float(np.mean(rank)) if some else float("nan"),
            "mrr": float(np.mean(1.0 / rank)) if some else 0.0,
            "map": float(np.mean(self.average_precision[answerable])) if some else 0.0,
            "ndcg@10": float(np.mean(self.ndcg[answerable])) if some else float("nan"),
            "queries": len(rank),
            "pool": self.pool,
        }


def rank_queries(
    queries: Floats,
    pool: Floats,
    groups: tuple[Sequence[object], Sequence[object]],
    labels: tuple[Sequence[Set[str]], Sequence[Set[str]]] | None = None,
) -> RankedQueries:
    """Compare every query with the whole pool, block by block.

    Args:
        queries: [q, d] unit length.
        pool: [p, d] unit length.
        groups: of the queries and of the pool; a candidate of the query's group is a right answer.
        labels: of the queries and of the pool, for nDCG.

    Raises:
        ValueError: vectors and groups differ in number.
    """
    if (len(queries), len(pool)) != (len(groups[0]), len(groups[1])):
        raise ValueError(f"{len(queries)} queries and {len(pool)} candidates do not agree with their groups")
    numbers = {group: number for number, group in enumerate(dict.fromkeys([*groups[0], *groups[1]]))}
    query_kinds, pool_kinds = (
        np.array([numbers[group] for group in side], dtype=np.int64) for side in groups
    )
    indicators: list[Floats] = []
    if labels:
        names = sorted(set().union(*labels[0], *labels[1]))
        indicators = [label_indicators(side, names).astype(np.float64) for side in labels]
    queries, pool = queries.astype(np.float64), pool.astype(np.float64)
    block = max(1, _SIMILARITIES_AT_ONCE // max(1, len(pool)))
    rank, precision, gain, right = [], [], [], []
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        similarity = queries[rows] @ pool.T
        relevant = query_kinds[rows, None] == pool_kinds[None, :]
        rank.append(first_ranks(similarity, relevant))
        similarity = similarity.round(6)  # so that ties are the same as in `first_ranks`
        precision.append(average_precision(similarity, relevant))
        right.append(relevant.sum(axis=1))
        if indicators:
            gain.append(ndcg(similarity, label_overlap(indicators[0][rows], indicators[1])))
    return RankedQueries(
        rank=np.concatenate(rank) if rank else np.zeros(0, dtype=np.int64),
        average_precision=np.concatenate(precision) if precision else np.zeros(0),
        ndcg=np.concatenate(gain) if gain else np.full(len(queries), np.nan),
        right=np.concatenate(right) if right else np.zeros(0, dtype=np.int64),
        pool=len(pool),
    )


def average_precision(similarity: Floats, relevant: Bools) -> Floats:
    """[q] mean, over the right answers of each query, of the precision down to it; ties against it.

    Args:
        similarity: [q, p] higher is more alike.
        relevant: [q, p] which candidates are right.

    >>> average_precision(np.array([[0.9, 0.8, 0.7]]), np.array([[True, False, True]])).round(3).tolist()
    [0.833]
    """
    order = np.lexsort((relevant, -similarity))
    hit = np.take_along_axis(relevant, order, axis=1)
    precision = np.cumsum(hit, axis=1) / np.arange(1, relevant.shape[1] + 1)
    return np.asarray((precision * hit).sum(axis=1) / np.maximum(1, hit.sum(axis=1)))


def ndcg(similarity: Floats, gain: Floats, at: int = NDCG_AT) -> Floats:
    """[q] normalised discounted cumulative gain of the first answers; ties against them, 0 without any gain.

    Jarvelin and Kekalainen 2002, https://doi.org/10.1145/582415.582418, with log2(rank + 1).

    Args:
        similarity: [q, p] higher is more alike.
        gain: [q, p] how much each candidate is worth to each query.
        at: how many answers count.

    >>> ndcg(np.array([[0.9, 0.8]]), np.array([[0.5, 1.0]])).round(3).tolist()
    [0.86]
    """
    first = min(at, similarity.shape[1])
    order = np.lexsort((gain, -similarity))[:, :first]
    discount = 1.0 / np.log2(np.arange(2, first + 2))
    found = np.take_along_axis(gain, order, axis=1) @ discount
    ideal = -np.sort(-gain, axis=1)[:, :first] @ discount
    return np.asarray(np.divide(found, ideal, out=np.zeros(len(found)), where=ideal > 0))


def label_overlap(queries: Floats, pool: Floats) -> Floats:
    """[q, p] labels shared, as a share of the labels of either (Jaccard); two empty sets share nothing.

    Args:
        queries: [q, l] 1 where a query has a label.
        pool: [p, l] 1 where a candidate has a label.
    """
    shared = queries @ pool.T
    either = queries.sum(axis=1)[:, None] + pool.sum(axis=1)[None, :] - shared
    return np.asarray(np.divide(shared, either, out=np.zeros_like(shared), where=either > 0))


def chance_recall(right: Ints, pool: int, ks: Sequence[int] = RECALL_AT) -> dict[int, float]:
    """Recall of an order drawn at random: the chance that k draws without repeats hold a right answer.

    Args:
        right: [q] right answers of each query; those with none are left out.
        pool: how many candidates there are.
        ks: where recall is taken.

    >>> chance_recall(np.array([1, 2]), pool=4, ks=(1, 2))
    {1: 0.375, 2: 0.6666666666666667}
    """
    right = right[right > 0]
    missed, chances = np.ones(len(right)), {}
    for drawn in range(max(ks)):
        missed *= np.clip((pool - right - drawn) / max(1, pool - drawn), 0.0, 1.0)
        if drawn + 1 in ks:
            chances[drawn + 1] = float(np.mean(1.0 - missed)) if len(right) else 0.0
    return chances
