"""The section on captions in a model's card: how each method did, and how its confidence was kept."""

from __future__ import annotations

from collections.abc import Sequence

from medclip_cli.captioning.calibration import Calibration

FILE_NAME = "MODEL_CARD.md"
_HEADING = "## Captions"
_SCORES = ("bleu1", "bleu4", "rouge_l", "cider")


def with_captions(card: str, measured: Calibration) -> str:
    """Put the section into a card, in place of the one that may stand there.

    Args:
        card: the whole card; may be empty.
        measured: what the section says.
    """
    before, _, after = card.partition(f"{_HEADING}\n")
    # What follows the old section begins with the next heading of its rank.
    _, found, rest = after.partition("\n## ")
    parts = [before.rstrip(), _section(measured), f"## {rest}".rstrip() if found else ""]
    return "\n\n".join(part for part in parts if part) + "\n"


def _section(measured: Calibration) -> str:
    scores = [
        (
            name,
            *(_number(record.scores.get(score)) for score in _SCORES),
            f"{record.right:.2f} of {record.answers}" if record.answers else "not known",
        )
        for name, record in measured.methods.items()
    ]
    kept = [
        (
            name,
            f"{row.low:g} to {row.high:g}",
            str(row.answers),
            _number(row.confidence),
            _number(row.right),
        )
        for name, record in measured.methods.items()
        for row in record.reliability
    ]
    paragraphs = [
        _HEADING,
        f"Captions of the validation images of `{measured.corpus}`, answered from its training images. "
        "Right: of modality, view and region all that are known are right.",
        _table(("method", *_SCORES, "right"), scores),
    ]
    if kept:
        paragraphs += [
            "Confidence beside how often the answers were right, each judged by a calibration that did not "
            "see its patient:",
            _table(("method", "confidence", "answers", "mean", "right"), kept),
        ]
    return "\n\n".join(paragraphs)


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
