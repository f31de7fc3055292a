"""Predictions and references from any system: JSON Lines, a JSON array, COCO files, CSV, or Python values.

Everything becomes rows, and rows become items that have an id, a caption and what it should have been.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard, cast

from medclip_cli.corpora.vocabulary import listed
from medclip_cli.errors import ScoringError, UsageError

if TYPE_CHECKING:
    import pandas as pd

ID_KEYS = ("id", "image_id", "image")
CAPTION_KEYS = ("caption",)
PREDICTION_KEYS = ("prediction", "hypothesis", *CAPTION_KEYS)
REFERENCE_KEYS = ("references", "reference")
_WIDEST_CSV_FIELD = 2**31 - 1  # csv refuses fields over 128 KiB by default; captions may be longer
_NUMBERED_REFERENCE = re.compile(r"references?[ _]?\d+")

File: TypeAlias = "str | os.PathLike[str] | BinaryIO"
Captions: TypeAlias = "File | Sequence[Any] | Mapping[Any, Any] | pd.DataFrame"
"""A file; captions or records in a list; captions by id; or a table of records."""
References = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class PredictedCaption:
    """What a system said of one image, and what is true of it."""

    id: str
    prediction: str
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Predictions:
    """The predictions of one system.

    Attributes:
        name: of their file, or what they were given as.
        items: those that can be scored, in the order they were given.
        unmatched: ids that came without a reference; they are not scored.
        missing: ids that have a reference and no prediction; they are not scored either.
    """

    name: str
    items: tuple[PredictedCaption, ...]
    unmatched: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    @property
    def empty(self) -> int:
        """How many items have a blank prediction; they score 0 and count."""
        return sum(not item.prediction.strip() for item in self.items)


def read_predictions(
    source: Captions, references: References | None = None, what: str = "predictions"
) -> Predictions:
    """Read and check predictions.

    A prediction of null or an empty cell is a system that gave no answer: an empty caption. An item without a
    reference is unmatched.

    Args:
        source: where they are.
        references: by id; without them each record brings its own.
        what: they are called in messages, where they are no file.

    Raises:
        ScoringError: one line naming the file, the line and the item.
        UsageError: there is no such file.
    """
    items: list[PredictedCaption] = []
    unmatched: list[str] = []
    seen: dict[str, str] = {}
    name, rows = rows_of(source, what, PREDICTION_KEYS[0])
    for row in rows:
        identity = row.identity()
        if identity in seen:
            raise ScoringError(
                f"{row.location}: id {identity!r} was already given in {seen[identity]}; ids must be unique"
            )
        seen[identity] = row.location
        prediction = row.caption(PREDICTION_KEYS, identity)
        true = row.captions(REFERENCE_KEYS, identity) if references is None else references.get(identity, ())
        if true:
            items.append(PredictedCaption(identity, prediction, true))
        else:
            unmatched.append(identity)
    if not seen:
        raise ScoringError(f"{name} holds no records: expected id, prediction and references")
    if not items:
        raise ScoringError(
            f"{name}: none of its {len(unmatched)} items has a reference (the first is {unmatched[0]!r}); "
            "give each a 'references' list, or references of their own by id"
        )
    missing = tuple(identity for identity in references or () if identity not in seen)
    return Predictions(name, tuple(items), tuple(unmatched), missing)


def read_references(source: Captions) -> References:
    """Read references by id: COCO annotations, rows of id and references, or Python values.

    Several rows may be of one item, as COCO's annotations do; each adds a reference.

    Raises:
        ScoringError: one line naming the file, the line and the item.
        UsageError: there is no such file.
    """
    found: dict[str, tuple[str, ...]] = {}
    name, rows = rows_of(source, "references", REFERENCE_KEYS[0])
    for row in rows:
        identity = row.identity()
        captions = row.captions(REFERENCE_KEYS + CAPTION_KEYS, identity)
        if captions:
            found[identity] = found.get(identity, ()) + captions
    if not found:
        raise ScoringError(
            f"{name} holds no references: expected COCO annotations, or rows of id and references"
        )
    return found


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it was read; its values are checked when they are used."""

    location: str  # where it was read, for messages: ``preds.jsonl, line 3``
    values: Mapping[str, Any]  # by column or key
    id_keys: Sequence[str] = ID_KEYS  # the keys that may hold its id, the first that is there counts

    def identity(self) -> str:
        """The id, as text.

        Raises:
            ScoringError: there is none.
        """
        value = self._first(self.id_keys)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise ScoringError(f"{self.location}: no 'id'; every item needs one, a text or a whole number")
        return str(value)

    def caption(self, keys: Sequence[str], identity: str) -> str:
        """The caption under the first of the keys; null is an empty one.

        Raises:
            ScoringError: none of the keys is there, or it holds something else.
        """
        if not any(key in self.values for key in keys):
            found = ", ".join(sorted(self.values)) or "nothing"
            raise ScoringError(f"{self.location}: item {identity!r} has no {keys[0]!r} (found: {found})")
        value = self._first(keys)
        return "" if value is None else self._text(value, identity, keys[0])

    def captions(self, keys: Sequence[str], identity: str) -> tuple[str, ...]:
        """The captions under the first of the keys, a list or one text; none when it is missing or null.

        Raises:
            ScoringError: one of them is no text.
        """
        value = self._first(keys)
        if value is None:
            return ()
        if hasattr(value, "tolist"):  # a list in a table is an array
            value = value.tolist()
        several = listed(value)
        return tuple(
            self._text(caption, identity, "reference")
            for caption in ([value] if several is None else several)
        )

    def _first(self, keys: Sequence[str]) -> Any:  # noqa: ANN401 - whatever the file held
        return next((self.values[key] for key in keys if key in self.values), None)

    def _text(self, value: Any, identity: str, what: str) -> str:  # noqa: ANN401
        if not isinstance(value, str):
            kinds = {type(None): "null", float: "a number", int: "a number"}
            kind = kinds.get(type(value), type(value).__name__)
            shown = "NaN" if value != value else kind  # NaN alone differs from itself
            raise ScoringError(f"{self.location}: a {what} of item {identity!r} is {shown}, expected text")
        if value.strip().lower() == "nan":
            raise ScoringError(
                f"{self.location}: a {what} of item {identity!r} reads {value.strip()!r}, "
                "a missing value written as text; leave it empty instead"
            )
        return value


def is_file(source: object) -> TypeGuard[File]:
    """Whether captions are in a file, open or named."""
    return isinstance(source, str | os.PathLike) or hasattr(source, "read")


def read_file(source: File) -> tuple[str, bytes]:
    """Return what a file is called in messages, and all it holds.

    Raises:
        ScoringError: it cannot be read.
        UsageError: there is no such file.
    """
    if not isinstance(source, str | os.PathLike):
        name = Path(str(getattr(source, "name", "<stdin>"))).name
        return "standard input" if name == "<stdin>" else name, source.read()
    path = Path(source)
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    try:
        return path.name, path.read_bytes()
    except OSError as error:
        raise ScoringError(f"cannot read {path}: {error.strerror or error}") from error


def rows_of(source: Captions, what: str, key: str) -> tuple[str, Iterator[Row]]:
    """Return what a source is called, and its rows.

    Args:
        source: a file; captions or records in a list; captions by id; or a table of records.
        what: it is called, where it is no file.
        key: of the caption, where values are captions alone. Captions of a list are numbered from 0.

    Raises:
        ScoringError: it cannot be read.
        UsageError: there is no such file.
    """
    if is_file(source):
        name, data = read_file(source)
        return name, read_rows(data, name)
    records: Iterable[Any]
    if isinstance(source, Mapping):
        records = ({"id": identity, key: value} for identity, value in source.items())
    elif hasattr(source, "to_dict"):
        records = source.to_dict("records")
    else:
        records = (
            value if isinstance(value, Mapping) else {"id": number, key: value}
            for number, value in enumerate(cast("Sequence[Any]", source))
        )
    return what, _array_rows(records, what)


def read_rows(data: bytes, name: str) -> Iterator[Row]:
    """Read the rows of a file in whichever format it is.

    Args:
        data: the whole file.
        name: of the file, for messages; its ending tells CSV from JSON, or else its first character does.

    Raises:
        ScoringError: the file is empty, not UTF-8, or breaks off; the message names the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScoringError(f"{name}, line {line}: not UTF-8; save the file as UTF-8") from error
    start = text.lstrip()[:1]
    if not start:
        raise ScoringError(f"{name} is empty: expected one record of id, prediction and references per line")
    if name.endswith(".tsv"):
        return _csv_rows(text, name, "\t")
    if name.endswith(".csv"):
        return _csv_rows(text, name, ",")
    if start == "[":
        try:
            return _array_rows(json.loads(text), name)
        except (ValueError, RecursionError) as error:
            line = getattr(error, "lineno", 1)
            reason = getattr(error, "msg", "nested too deep")
            raise ScoringError(f"{name}, line {line}: not JSON ({reason})") from error
    if start == "{" and (annotations := _coco_annotations(text)) is not None:
        return _array_rows(annotations, name, id_keys=("image_id",))  # their own ids number the captions
    if start == "{" or name.endswith((".jsonl", ".ndjson", ".json")):
        return _json_lines_rows(text, name)
    return _csv_rows(text, name, ",")


def _coco_annotations(text: str) -> list[Any] | None:
    """The list of a COCO annotations file; None when the text is something else."""
    try:
        document = json.loads(text)  # breaks off early on JSON Lines: its second line is extra data
    except (ValueError, RecursionError):
        return None
    annotations = document.get("annotations")
    return annotations if isinstance(annotations, list) else None


def _json_lines_rows(text: str, name: str) -> Iterator[Row]:
    # Not str.splitlines: that would also cut a caption at U+2028 and its like.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        location = f"{name}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deep")
            raise ScoringError(f"{location}: not JSON ({reason}); expected one object per line") from error
        yield _row(record, location)


def _array_rows(records: Iterable[Any], name: str, id_keys: Sequence[str] = ID_KEYS) -> Iterator[Row]:
    return (_row(record, f"{name}, record {number}", id_keys) for number, record in enumerate(records, 1))


def _row(record: Any, location: str, id_keys: Sequence[str] = ID_KEYS) -> Row:  # noqa: ANN401
    if not isinstance(record, Mapping):
        raise ScoringError(f"{location}: expected an object with id, prediction and references")
    return Row(location, record, id_keys)


def _csv_rows(text: str, name: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)

    def next_record() -> list[str] | None:
        first_line = reader.line_num + 1
        try:
            csv.field_size_limit(
                _WIDEST_CSV_FIELD
            )  # one limit for the whole process: other readers have theirs
            return next(reader, None)
        except csv.Error as error:
            raise ScoringError(
                f"{name}, line {first_line}: a quote is not closed or not doubled ({error})"
            ) from error

    header = [column.strip().lower() for column in next_record() or []]
    while (record := next_record()) is not None:
        if not record:
            continue
        location = f"{name}, line {reader.line_num}"
        if len(record) != len(header):
            raise ScoringError(
                f"{location}: {len(record)} fields under {len(header)} columns; "
                f"put quotes around fields that hold {delimiter!r} or a quote"
            )
        yield Row(location, _csv_values(header, record))


def _csv_values(header: list[str], record: list[str]) -> dict[str, Any]:
    """Columns by name; ``reference_1``, ``reference_2`` or a list in a cell are several references."""
    values: dict[str, Any] = dict(zip(header, record, strict=True))
    numbered = [value for column, value in values.items() if _NUMBERED_REFERENCE.fullmatch(column) and value]
    if numbered:
        return values | {"references": numbered}
    column = next((name for name in REFERENCE_KEYS if name in values), None)
    if column is None:
        return values
    cell = values[column]
    return values | {"references": cell or None}
