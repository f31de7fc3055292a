"""Predictions from any system, checked: each item has an id, a caption and what it should have been."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from medclip_cli.errors import ScoringError
from medclip_cli.scoring.prediction_files import read_rows

CAPTION_KEYS = ("caption",)
PREDICTION_KEYS = ("prediction", "hypothesis", *CAPTION_KEYS)
REFERENCE_KEYS = ("references", "reference")

References = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PredictedCaption:
    """What a system said of one image, and what is true of it."""

    id: str
    prediction: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """A file of predictions.

    Attributes:
        items: those that can be scored, in the order of the file.
        unmatched: ids that came without a reference; they are not scored.
        missing: ids that have a reference and no prediction; they are not scored either.
    """

    items: tuple[PredictedCaption, ...]
    unmatched: tuple[str, ...]
    missing: tuple[str, ...] = ()

    @property
    def empty(self) -> int:
        """How many items have a blank prediction; they score 0 and count."""
        return sum(not item.prediction.strip() for item in self.items)


def parse_predictions(data: bytes, name: str, references: References | None = None) -> Predictions:
    """Read and check a file of predictions: JSON Lines, a JSON array (COCO results) or CSV.

    A prediction of null or an empty cell is a system that gave no answer: an empty caption. An item without a
    reference is unmatched.

    Args:
        data: the whole file.
        name: of the file, for messages and for its ending.
        references: of a file of their own; without it each record brings its own.

    Raises:
        ScoringError: one line naming the file, the line and the item.
    """
    items: list[PredictedCaption] = []
    unmatched: list[str] = []
    seen: dict[str, str] = {}
    for row in read_rows(data, name):
        identity = row.identity()
        if identity in seen:
            raise ScoringError(
                f"{row.place}: id {identity!r} was already given in {seen[identity]}; ids must be unique"
            )
        seen[identity] = row.place
        prediction = row.caption(PREDICTION_KEYS, identity)
        true = row.captions(REFERENCE_KEYS, identity) if references is None else references.get(identity, ())
        if true:
            items.append(PredictedCaption(identity, prediction, true))
        else:
            unmatched.append(identity)
    if not items:
        raise ScoringError(_nothing_to_score(name, unmatched))
    missing = tuple(identity for identity in references or () if identity not in seen)
    return Predictions(tuple(items), tuple(unmatched), missing)


def parse_references(data: bytes, name: str) -> References:
    """Read references of a file of their own: COCO annotations, or rows of id and references.

    Several rows may speak of one item, as COCO's annotations do; each adds a reference.

    Args:
        data: the whole file.
        name: of the file, for messages and for its ending.

    Raises:
        ScoringError: one line naming the file, the line and the item.
    """
    found: dict[str, tuple[str, ...]] = {}
    for row in read_rows(data, name):
        identity = row.identity()
        captions = row.captions(REFERENCE_KEYS + CAPTION_KEYS, identity)
        if captions:
            found[identity] = found.get(identity, ()) + captions
    if not found:
        raise ScoringError(
            f"{name} holds no references: expected COCO annotations, or rows of id and references"
        )
    return found


def _nothing_to_score(name: str, unmatched: list[str]) -> str:
    if not unmatched:
        return f"{name} holds no records: expected id, prediction and references"
    return (
        f"{name}: none of its {len(unmatched)} items has a reference (the first is {unmatched[0]!r}); "
        "give each a 'references' list, or a file of them with --references"
    )
