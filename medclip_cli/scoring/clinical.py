"""Is what a caption says of the image right? Agreement of fields, and precision, recall and F1 of findings.

No weights are needed: `clinical_words` reads the captions. A score made here is never called CheXpert F1
or RadGraph F1; those plug in, see `plugins`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from medclip_cli.scoring.clinical_words import CHEST, Vocabulary, all_structured, fields_in, parse_structured

Floats = npt.NDArray[np.float64]
NOT_GIVEN = "-"


@dataclass(frozen=True, slots=True)
class ClinicalScores:
    """What captions get right."""

    form: Literal["structured", "sentences"]  # whether the references are lists of fields or sentences
    fields: dict[str, FieldAgreement]  # agreement by field
    findings: LabelScores  # precision, recall and F1 of the findings
    vocabulary: str  # where the findings come from

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "form": self.form,
            "fields": {name: agreement.to_dict() for name, agreement in self.fields.items()},
            "findings": {"vocabulary": self.vocabulary, **self.findings.to_dict()},
        }


def clinical_scores(
    predictions: Sequence[str], references: Sequence[Sequence[str]], vocabulary: Vocabulary | None = None
) -> ClinicalScores:
    """Score what captions say.

    If every reference is a list of fields, predictions are read as such too: fields agree when their values
    are equal, labels are compared as sets. Otherwise fields and findings are looked for in the sentences,
    and a finding counts when it is asserted, not when it is denied. Of several references the first gives
    the fields, and a finding is true if any of them asserts it.

    Args:
        predictions: one caption per item.
        references: the true captions of each item, at least one.
        vocabulary: of the findings in sentences; chest findings unless given.
    """
    form: Literal["structured", "sentences"]
    if vocabulary is None and all_structured(caption for captions in references for caption in captions):
        form, name = "structured", "the labels of the captions"

        def read(caption: str) -> tuple[Mapping[str, str], frozenset[str]]:
            return parse_structured(caption) or ({}, frozenset())
    else:
        words = vocabulary or CHEST
        form, name = "sentences", words.name

        def read(caption: str) -> tuple[Mapping[str, str], frozenset[str]]:
            return fields_in(caption), words.find(caption)

    predicted = [read(caption) for caption in predictions]
    true = [[read(caption) for caption in captions] for captions in references]
    return ClinicalScores(
        form=form,
        fields=field_agreement([fields for fields, _ in predicted], [first[0] for first, *_ in true]),
        findings=label_scores(
            [labels for _, labels in predicted],
            [frozenset().union(*(labels for _, labels in captions)) for captions in true],
        ),
        vocabulary=name,
    )


@dataclass(frozen=True, slots=True)
class FieldAgreement:
    """How often a field is right."""

    agreement: float  # share of the items whose true value is known; a field left unsaid is wrong
    items: int  # how many those are
    values: tuple[str, ...]  # what occurs in truth or prediction; the rows and columns of `confusion`
    # [v, v] items by true value (row) and predicted value (column); ``-`` is a value not given
    confusion: npt.NDArray[np.int64]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "n": self.items,
            "agreement": self.agreement,
            "confusion": {"values": list(self.values), "counts": self.confusion.tolist()},
        }


def field_agreement(
    predicted: Sequence[Mapping[str, str | None]], true: Sequence[Mapping[str, str | None]]
) -> dict[str, FieldAgreement]:
    """Compare the fields of predictions with the true ones, field by field.

    Args:
        predicted: [n] values by field.
        true: [n] values by field; an item without one does not count for it.

    >>> field_agreement([{"view": "PA"}, {}], [{"view": "PA"}, {"view": "AP"}])["view"].agreement
    0.5
    """
    names = dict.fromkeys(name for fields in true for name, value in fields.items() if value)
    return {
        name: _agreement([(p.get(name), t.get(name)) for p, t in zip(predicted, true, strict=True)])
        for name in names
    }


def _agreement(pairs: Sequence[tuple[str | None, str | None]]) -> FieldAgreement:
    known = [(guess or NOT_GIVEN, truth) for guess, truth in pairs if truth]
    values = sorted({value for pair in known for value in pair})
    number = {value: index for index, value in enumerate(values)}
    confusion = np.zeros((len(values), len(values)), dtype=np.int64)
    for guess, truth in known:
        confusion[number[truth], number[guess]] += 1
    return FieldAgreement(float(np.trace(confusion) / len(known)), len(known), tuple(values), confusion)


@dataclass(frozen=True, slots=True)
class LabelScores:
    """How well predicted label sets agree with the true ones.

    Shapes: l labels, those that occur in truth or prediction, by name.
    """

    labels: tuple[str, ...]
    true: npt.NDArray[np.int64]  # [l] items that have each label
    predicted: npt.NDArray[np.int64]  # [l] items predicted to have it
    precision: Floats  # [l] 0 where a label was never predicted
    recall: Floats  # [l] 0 where a label is never true
    f1: Floats  # [l]
    micro: tuple[float, float, float]  # precision, recall and F1 of all decisions taken together
    macro: tuple[float, float, float]  # means over the labels
    # share of items whose whole set is right; where nothing is true and nothing predicted, it is right
    exact_match: float
    labelled: int  # items of which any label is true
    exact_match_labelled: float  # share of those whose whole set is right; 0 where there are none

    def to_dict(self) -> dict[str, Any]:
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
    guess, truth = label_indicators(predicted, labels), label_indicators(true, labels)
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


def label_indicators(sets: Sequence[Set[str]], labels: Sequence[str]) -> npt.NDArray[np.bool_]:
    """[n, l] whether each set has each of the labels."""
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
