"""The clinical part of a score report: fields and findings of captions, structured or in sentences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from medclip_cli.scoring.clinical.fields import FieldAgreement, field_agreement, fields_in
from medclip_cli.scoring.clinical.findings import CHEST, Vocabulary
from medclip_cli.scoring.clinical.label_sets import LabelScores, label_scores
from medclip_cli.scoring.clinical.structured import StructuredCaption, all_structured, parse_structured


@dataclass(frozen=True, slots=True)
class ClinicalScores:
    """What captions get right.

    Attributes:
        form: whether the references are lists of fields or sentences.
        fields: agreement by field.
        findings: precision, recall and F1 of the findings.
        vocabulary: where the findings come from.
    """

    form: Literal["structured", "sentences"]
    fields: dict[str, FieldAgreement]
    findings: LabelScores
    vocabulary: str

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "form": self.form,
            "fields": {name: agreement.to_json() for name, agreement in self.fields.items()},
            "findings": {"vocabulary": self.vocabulary, **self.findings.to_json()},
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
    if vocabulary is None and all_structured(caption for captions in references for caption in captions):
        return _structured(predictions, references)
    words = vocabulary or CHEST
    return ClinicalScores(
        form="sentences",
        fields=field_agreement(
            [fields_in(caption) for caption in predictions],
            [fields_in(captions[0]) for captions in references],
        ),
        findings=label_scores(
            [words.find(caption) for caption in predictions],
            [frozenset().union(*map(words.find, captions)) for captions in references],
        ),
        vocabulary=words.name,
    )


def _structured(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> ClinicalScores:
    nothing = StructuredCaption({}, frozenset())
    predicted = [parse_structured(caption) or nothing for caption in predictions]
    true = [[parse_structured(caption) or nothing for caption in captions] for captions in references]
    return ClinicalScores(
        form="structured",
        fields=field_agreement(
            [caption.fields for caption in predicted], [first.fields for first, *_ in true]
        ),
        findings=label_scores(
            [caption.labels for caption in predicted],
            [frozenset().union(*(caption.labels for caption in captions)) for captions in true],
        ),
        vocabulary="the labels of the captions",
    )
