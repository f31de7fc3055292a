"""Precision, recall and F1 over sets of labels."""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How well predicted label sets agree with the true ones.

    Shapes: l labels, those that occur in truth or prediction, by name.

    Attributes:
        labels: their names.
        true: [l] items that have each label.
        predicted: [l] items predicted to have it.
        precision: [l] 0 where a label was never predicted.
        recall: [l] 0 where a label is never true.
        f1: [l]
        micro: precision, recall and F1 of all decisions taken together.
        macro: means over the labels.
        exact_match: share of items whose whole set is right; where nothing is true and nothing predicted, it
            is right.
        labelled: items of which any label is true.
        exact_match_labelled: share of those whose whole set is right; 0 where there are none.
    """

    labels: tuple[str, ...]
    true: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    precision: Floats
    recall: Floats
    f1: Floats
    micro: tuple[float, float, float]
    macro: tuple[float, float, float]
    exact_match: float
    labelled: int
    exact_match_labelled: float

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        names = ("precision", "recall", "f1")
        rows = zip(self.labels, self.precision, self.recall, self.f1, self.true, self.predicted, strict=True)
        return {
            "micro": dict(zip(names, self.micro, strict=True)),
            "macro": dict(zip(names, self.macro, strict=True)),
            "exact_match": self.exact_match,
            "labelled": self.labelled,
            "exact_match_labelled": self.exact_match_labelled,
            "labels": {
                label: dict(zip((*names, "true", "predicted"), map(float, values), strict=True))
                for label, *values in rows
            },
        }


def label_scores(predicted: Sequence[Set[str]], true: Sequence[Set[str]]) -> LabelScores:
    """Compare label sets item by item.

    Args:
        predicted: [n] sets.
        true: [n] sets.

    >>> scores = label_scores([{"edema"}, {"edema", "mass"}], [{"edema"}, {"mass"}])
    >>> scores.labels, scores.f1.round(3).tolist(), scores.exact_match
    (('edema', 'mass'), [0.667, 1.0], 0.5)
    """
    labels = sorted(set().union(*predicted, *true))
    guess, truth = _indicators(predicted, labels), _indicators(true, labels)
    hits, guessed, there = (guess & truth).sum(axis=0), guess.sum(axis=0), truth.sum(axis=0)
    equal, labelled = (guess == truth).all(axis=1), truth.any(axis=1)
    precision, recall, f1 = _measures(hits, guessed, there)
    micro = [float(value[0]) for value in _measures(*(np.array([c.sum()]) for c in (hits, guessed, there)))]
    macro = [float(values.mean()) if labels else 0.0 for values in (precision, recall, f1)]
    return LabelScores(
        labels=tuple(labels),
        true=there,
        predicted=guessed,
        precision=precision,
        recall=recall,
        f1=f1,
        micro=(micro[0], micro[1], micro[2]),
        macro=(macro[0], macro[1], macro[2]),
        exact_match=float(equal.mean()) if len(equal) else 0.0,
        labelled=int(labelled.sum()),
        exact_match_labelled=float(equal[labelled].mean()) if labelled.any() else 0.0,
    )


def _indicators(sets: Sequence[Set[str]], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    column = {label: number for number, label in enumerate(labels)}
    table = np.zeros((len(sets), len(labels)), dtype=bool)
    for row, members in enumerate(sets):
        table[row, [column[label] for label in members]] = True
    return table


def _measures(
    hits: npt.NDArray[Any], guessed: npt.NDArray[Any], there: npt.NDArray[Any]
) -> tuple[Floats, Floats, Floats]:
    return (
        _ratio(hits, guessed),
        _ratio(hits, there),
        _ratio(2 * hits, guessed + there),  # the harmonic mean of the two, without their divisions by 0
    )


def _ratio(above: npt.NDArray[Any], below: npt.NDArray[Any]) -> Floats:
    return np.asarray(np.divide(above, below, out=np.zeros(len(above)), where=below > 0))
