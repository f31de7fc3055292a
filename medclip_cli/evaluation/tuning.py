"""How much words and vectors should count in hybrid search, learnt from the captions of a held-out split."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.captioning.consensus import known_fields
from medclip_cli.errors import CorpusError
from medclip_cli.records import CaptionedImage, Neighbour
from medclip_cli.vector_index.base import VectorIndex
from medclip_cli.vector_index.queries import Query

if TYPE_CHECKING:
    from medclip_cli.vector_index.store import Store

Relevance = Callable[[int, Neighbour], float]
Weights = tuple[float, float]  # of the vectors and of the words
JUDGED_FIELDS = ("modality", "view", "region", "category")
# A weight of 0 leaves a ranking out; between, each step doubles how much the words count beside the vectors.
GRID: tuple[Weights, ...] = (
    (1.0, 0.0), (4.0, 1.0), (2.0, 1.0), (1.0, 1.0), (1.0, 2.0), (1.0, 4.0), (0.0, 1.0),
)  # fmt: skip
_QUERIES_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class WeightScore:
    """What one pair of weights is worth: mean nDCG of the answers, 0 to 1."""

    weights: Weights
    ndcg: float


@dataclass(frozen=True, slots=True)
class TuningReport:
    """The score of each pair of weights, and the best, which the collection now keeps."""

    collection: str
    best: WeightScore
    scores: list[WeightScore]

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data, as ``medclip collections tune --json`` prints it."""
        found = [{"vectors": s.weights[0], "words": s.weights[1], "ndcg": s.ndcg} for s in self.scores]
        return {"collection": self.collection, "best": list(self.best.weights), "scores": found}


def tune(
    location: Store, name: str, source: Path, *, split: str = "val", model: Path | None = None, top: int = 10
) -> TuningReport:
    """Learn the weights of hybrid search, and keep them with the collection.

    The captions of a held-out split are the queries, and never find their own patient, case or article. The
    gain of an answer is the share of the caption's known fields that it has in common with it.

    Args:
        location: where the collection is kept.
        name: of the collection.
        source: the corpus folder.
        split: whose captions are the queries.
        model: the model folder; None takes the collection's.
        top: how many answers count.

    Raises:
        CorpusError: the split is empty, or its images have no known field to compare answers by.
        CollectionError: the collection cannot be searched or written, or was made by another model.
    """
    from medclip_cli.captioning.session import open_matching_model
    from medclip_cli.corpora.corpus_folder import Corpus

    records = Corpus.open(source).split(split)
    if not records:
        raise CorpusError(f"{source} has no images in its {split} split: choose another split")
    if not any(known_fields(record, JUDGED_FIELDS) for record in records):
        raise CorpusError(
            f"{source} has no {', '.join(JUDGED_FIELDS[:-1])} or {JUDGED_FIELDS[-1]} in its {split} split: "
            "there is nothing to compare answers with"
        )
    with location.open(name) as index:
        vectors = open_matching_model(index.info, model).embed_texts([record.caption for record in records])
        queries = [
            Query(
                text_vector=vector,
                words=record.caption,
                mode="hybrid",
                top=top,
                exclude_groups=frozenset({record.group}),
            )
            for record, vector in zip(records, vectors, strict=True)
        ]
        scores = score_weights(index, queries, lambda number, answer: shared_fields(records[number], answer))
    best = best_weights(scores)
    location.remember_weights(name, best.weights)
    return TuningReport(name, best, scores)


def shared_fields(record: CaptionedImage, answer: Neighbour) -> float:
    """Return the share of a record's known fields that an answer has in common with it."""
    known = known_fields(record, JUDGED_FIELDS)
    shared = [answer.fields.get(field) == value for field, value in known.items()]
    return float(sum(shared)) / max(1, len(known))


def score_weights(index: VectorIndex, queries: Sequence[Query], relevance: Relevance) -> list[WeightScore]:
    """Run every query with every pair of weights of `GRID`.

    Args:
        index: the collection.
        queries: hybrid ones, with words and a vector.
        relevance: 0 or more, of an answer to the query of this number.

    Returns:
        A score for each pair; the mean of the normalised discounted cumulative gain (Järvelin and Kekäläinen,
        ACM TOIS 2002), whose ideal is the best order of all answers that any pair of weights gave. Queries
        without any relevant answer do not count.
    """
    gains: dict[Weights, list[list[float]]] = {weights: [] for weights in GRID}
    for weights, found in gains.items():
        for start in range(0, len(queries), _QUERIES_AT_ONCE):
            batch = [replace(query, weights=weights) for query in queries[start : start + _QUERIES_AT_ONCE]]
            for number, neighbours in enumerate(index.query(batch), start):
                found.append([relevance(number, neighbour) for neighbour in neighbours])
    ideals = [_ideal(gains, number, query.top) for number, query in enumerate(queries)]
    scores = []
    for weights, found in gains.items():
        ratios = [_discounted(g) / ideal for g, ideal in zip(found, ideals, strict=True) if ideal > 0]
        scores.append(WeightScore(weights, sum(ratios) / len(ratios) if ratios else 0.0))
    return scores


def best_weights(scores: Sequence[WeightScore]) -> WeightScore:
    """Return the best score; among equals the one that is nearest to counting both alike."""
    return max(scores, key=lambda score: (round(score.ndcg, 6), -abs(score.weights[0] - score.weights[1])))


def _ideal(gains: Mapping[Weights, list[list[float]]], number: int, top: int) -> float:
    return max(_discounted(sorted(found[number][:top], reverse=True)) for found in gains.values())


def _discounted(gains: Sequence[float]) -> float:
    return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains, 1))
