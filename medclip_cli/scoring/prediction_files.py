"""The file formats captions come in: JSON Lines, a JSON array, COCO annotations, CSV. All become rows."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from medclip_cli.errors import ScoringError

_ID_KEYS = ("id", "image_id", "image")
_WIDEST_CSV_FIELD = 2**31 - 1  # csv refuses fields over 128 KiB unless told; captions may be longer
_NUMBERED_REFERENCE = re.compile(r"references?[ _]?\d+")


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it was read; its values are checked as they are asked for.

    Attributes:
        place: where it stands, for messages: ``preds.jsonl, line 3``.
        values: by column or key.
        id_keys: the keys that may hold its id, the first that is there counts.
    """

    place: str
    values: dict[str, Any]
    id_keys: Sequence[str] = _ID_KEYS

    def identity(self) -> str:
        """The id, as text.

        Raises:
            ScoringError: there is none.
        """
        value = self._first(self.id_keys)
        if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
            raise ScoringError(f"{self.place}: no 'id'; every item needs one, a text or a whole number")
        return str(value)

    def caption(self, keys: Sequence[str], identity: str) -> str:
        """The caption under the first of the keys; null is an empty one.

        Raises:
            ScoringError: none of the keys is there, or it holds something else.
        """
        if not any(key in self.values for key in keys):
            found = ", ".join(sorted(self.values)) or "nothing"
            raise ScoringError(f"{self.place}: item {identity!r} has no {keys[0]!r} (found: {found})")
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
        several = value if isinstance(value, list) else [value]
        return tuple(self._text(caption, identity, "reference") for caption in several)

    def _first(self, keys: Sequence[str]) -> Any:  # noqa: ANN401 - whatever the file held
        return next((self.values[key] for key in keys if key in self.values), None)

    def _text(self, value: Any, identity: str, what: str) -> str:  # noqa: ANN401
        if not isinstance(value, str):
            kind = {type(None): "null", float: "a number", int: "a number"}.get(
                type(value), type(value).__name__
            )
            shown = "NaN" if value != value else kind  # NaN alone differs from itself
            raise ScoringError(f"{self.place}: a {what} of item {identity!r} is {shown}, expected text")
        if value.strip().lower() == "nan":
            raise ScoringError(
                f"{self.place}: a {what} of item {identity!r} reads {value.strip()!r}, "
                "a missing value written as text; leave it empty instead"
            )
        return value


def read_rows(data: bytes, name: str) -> Iterator[Row]:
    """Read the rows of a file in whichever format it is.

    Args:
        data: the whole file.
        name: of the file, for messages; its ending tells CSV from JSON, or else its first character does.

    Raises:
        ScoringError: the file is empty, not UTF-8, or breaks off; the message names the line.
    """
    text = _decode(data, name)
    start = text.lstrip()[:1]
    if not start:
        raise ScoringError(f"{name} is empty: expected one record of id, prediction and references per line")
    if name.endswith(".tsv"):
        return _csv_rows(text, name, "\t")
    if name.endswith(".csv"):
        return _csv_rows(text, name, ",")
    if start == "[":
        return _array_rows(_json_array(text, name), name)
    if start == "{" and (annotations := _coco_annotations(text)) is not None:
        return _array_rows(annotations, name, id_keys=("image_id",))  # their own ids number the captions
    if start == "{" or name.endswith((".jsonl", ".ndjson", ".json")):
        return _json_lines_rows(text, name)
    return _csv_rows(text, name, ",")


def _decode(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ScoringError(f"{name}, line {line}: not UTF-8; save the file as UTF-8") from error


def _json_lines_rows(text: str, name: str) -> Iterator[Row]:
    # Not str.splitlines: that would also cut a caption at U+2028 and its like.
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        place = f"{name}, line {number}"
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", "nested too deep")
            raise ScoringError(f"{place}: not JSON ({reason}); expected one object per line") from error
        yield Row(place, _object(record, place))


def _json_array(text: str, name: str) -> list[Any]:
    try:
        records: list[Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        reason = getattr(error, "msg", "nested too deep")
        raise ScoringError(f"{name}, line {line}: not JSON ({reason})") from error
    return records


def _coco_annotations(text: str) -> list[Any] | None:
    """The list of a COCO annotations file; None when the text is something else."""
    try:
        document = json.loads(text)  # breaks off early on JSON Lines: its second line is extra data
    except (ValueError, RecursionError):
        return None
    annotations = document.get("annotations")
    return annotations if isinstance(annotations, list) else None


def _array_rows(records: Sequence[Any], name: str, id_keys: Sequence[str] = _ID_KEYS) -> Iterator[Row]:
    for number, record in enumerate(records, 1):
        place = f"{name}, record {number}"
        yield Row(place, _object(record, place), id_keys)


def _object(record: Any, place: str) -> dict[str, Any]:  # noqa: ANN401 - whatever JSON held
    if not isinstance(record, dict):
        raise ScoringError(f"{place}: expected an object with id, prediction and references")
    return record


def _csv_rows(text: str, name: str, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_WIDEST_CSV_FIELD)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    header = [column.strip().lower() for column in _next_record(reader, name) or []]
    while (record := _next_record(reader, name)) is not None:
        if not record:
            continue
        place = f"{name}, line {reader.line_num}"
        if len(record) != len(header):
            raise ScoringError(
                f"{place}: {len(record)} fields under {len(header)} columns; "
                f"put quotes around fields that hold {delimiter!r} or a quote"
            )
        yield Row(place, _csv_values(header, record))


def _next_record(reader: Iterator[list[str]], name: str) -> list[str] | None:
    first_line = reader.line_num + 1  # type: ignore[attr-defined]
    try:
        return next(reader, None)
    except csv.Error as error:
        raise ScoringError(
            f"{name}, line {first_line}: a quote is not closed or not doubled ({error})"
        ) from error


def _csv_values(header: list[str], record: list[str]) -> dict[str, Any]:
    """Columns by name; ``reference_1``, ``reference_2`` or a JSON list in a cell are several references."""
    values: dict[str, Any] = dict(zip(header, record, strict=True))
    numbered = [value for column, value in values.items() if _NUMBERED_REFERENCE.fullmatch(column) and value]
    if numbered:
        return values | {"references": numbered}
    for column in ("references", "reference"):
        if column in values:
            return values | {"references": _csv_references(values[column])}
    return values


def _csv_references(cell: str) -> list[Any] | None:
    if cell.startswith('["') and cell.endswith('"]'):
        try:
            return list(json.loads(cell))
        except ValueError:
            return [cell]
    return [cell] if cell else None
