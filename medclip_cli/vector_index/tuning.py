"""How much the words and how much the vectors should count in hybrid search, learnt on held-out questions."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from medclip_cli.records import Neighbour
from medclip_cli.vector_index.base import Query, VectorIndex

Relevance = Callable[[int, Neighbour], float]
# A weight of 0 leaves a ranking out; between, each step doubles how much the words count beside the vectors.
GRID = ((1.0, 0.0), (4.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (1.0, 4.0), (0.0, 1.0))
_QUESTIONS_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class WeightScore:
    """What one pair of weights is worth: mean nDCG of the answers, 0 to 1."""

    weights: tuple[float, float]
    ndcg: float


def score_weights(index: VectorIndex, questions: Sequence[Query], relevance: Relevance) -> list[WeightScore]:
    """Ask every question with every pair of weights of `GRID`.

    Args:
        index: the collection.
        questions: hybrid ones, with words and a vector.
        relevance: 0 or more, of an answer to the question of this number.

    Returns:
        A score for each pair; the mean of the normalised discounted cumulative gain (Järvelin and Kekäläinen,
        ACM TOIS 2002), whose ideal is the best order of all answers that any pair of weights gave.
    """
    gains = {weights: _gains(index, questions, weights, relevance) for weights in GRID}
    ideals = [
        _discounted(sorted(_best_of(gains, number, question.top), reverse=True))
        for number, question in enumerate(questions)
    ]
    return [
        WeightScore(weights, _mean(_discounted(g) / i for g, i in zip(found, ideals, strict=True) if i > 0))
        for weights, found in gains.items()
    ]


def best_weights(scores: Sequence[WeightScore]) -> WeightScore:
    """Return the best score; among equals the one that is nearest to counting both alike."""
    return max(scores, key=lambda score: (round(score.ndcg, 6), -abs(score.weights[0] - score.weights[1])))


def _gains(
    index: VectorIndex, questions: Sequence[Query], weights: tuple[float, float], relevance: Relevance
) -> list[list[float]]:
    gains: list[list[float]] = []
    for start in range(0, len(questions), _QUESTIONS_AT_ONCE):
        batch = [
            replace(question, weights=weights) for question in questions[start : start + _QUESTIONS_AT_ONCE]
        ]
        for number, neighbours in enumerate(index.query(batch), start):
            gains.append([relevance(number, neighbour) for neighbour in neighbours])
    return gains


def _best_of(gains: dict[tuple[float, float], list[list[float]]], number: int, top: int) -> list[float]:
    return max(
        (found[number][:top] for found in gains.values()), key=lambda g: _discounted(sorted(g, reverse=True))
    )


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0
