"""Predictions from any system, checked: each item has an id, a caption and what it should have been."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from medclip_cli.errors import ScoringError
from medclip_cli.scoring.prediction_files import Row, read_rows

_ID_KEYS = ("id", "image_id", "image")
_PREDICTION_KEYS = ("prediction", "hypothesis", "caption")
_REFERENCE_KEYS = ("references", "reference")


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
    """

    items: tuple[PredictedCaption, ...]
    unmatched: tuple[str, ...]

    @property
    def empty(self) -> int:
        """How many items have a blank prediction; they score 0 and count."""
        return sum(not item.prediction.strip() for item in self.items)


def parse_predictions(data: bytes, name: str) -> Predictions:
    """Read and check a file of predictions: JSON Lines, a JSON array or CSV.

    A prediction of null or an empty cell is a system that gave no answer: an empty caption. An item without a
    reference is unmatched.

    Args:
        data: the whole file.
        name: of the file, for messages and for its ending.

    Raises:
        ScoringError: one line naming the file, the line and the item.
    """
    return collect(read_rows(data, name), name)


def collect(rows: Iterable[Row], name: str) -> Predictions:
    """Check the rows of a file and sort them into scorable and unmatched."""
    items: list[PredictedCaption] = []
    unmatched: list[str] = []
    seen: dict[str, str] = {}
    for row in rows:
        identity = _identity(row)
        if identity in seen:
            raise ScoringError(
                f"{row.place}: id {identity!r} was already given in {seen[identity]}; ids must be unique"
            )
        seen[identity] = row.place
        prediction = _prediction(row, identity)
        references = _references(row, identity)
        if references:
            items.append(PredictedCaption(identity, prediction, references))
        else:
            unmatched.append(identity)
    if not items:
        raise ScoringError(_nothing_to_score(name, unmatched))
    return Predictions(tuple(items), tuple(unmatched))


def _nothing_to_score(name: str, unmatched: list[str]) -> str:
    if not unmatched:
        return f"{name} holds no records: expected id, prediction and references"
    return (
        f"{name}: none of its {len(unmatched)} items has a reference (the first is {unmatched[0]!r}); "
        "give each a 'references' list"
    )


def _identity(row: Row) -> str:
    key = _first_key(row, _ID_KEYS)
    value = row.values.get(key) if key else None
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise ScoringError(f"{row.place}: no 'id'; every item needs one, a text or a whole number")
    return str(value)


def _prediction(row: Row, identity: str) -> str:
    key = _first_key(row, _PREDICTION_KEYS)
    if key is None:
        found = ", ".join(sorted(row.values)) or "nothing"
        raise ScoringError(f"{row.place}: item {identity!r} has no 'prediction' (found: {found})")
    value = row.values[key]
    return "" if value is None else _text(value, row, identity, "prediction")


def _references(row: Row, identity: str) -> tuple[str, ...]:
    key = _first_key(row, _REFERENCE_KEYS)
    value = row.values.get(key) if key else None
    if value is None:
        return ()
    captions = value if isinstance(value, list) else [value]
    return tuple(_text(caption, row, identity, "reference") for caption in captions)


def _text(value: Any, row: Row, identity: str, what: str) -> str:  # noqa: ANN401 - whatever the file held
    if not isinstance(value, str):
        kind = {type(None): "null", float: "a number", int: "a number"}.get(type(value), type(value).__name__)
        shown = "NaN" if value != value else kind  # NaN alone differs from itself
        raise ScoringError(f"{row.place}: a {what} of item {identity!r} is {shown}, expected text")
    if value.strip().lower() == "nan":
        raise ScoringError(
            f"{row.place}: a {what} of item {identity!r} reads {value.strip()!r}, "
            "a missing value written as text; leave it empty instead"
        )
    return value


def _first_key(row: Row, keys: Iterable[str]) -> str | None:
    return next((key for key in keys if key in row.values), None)
