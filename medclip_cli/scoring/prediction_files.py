"""The file formats predictions come in: JSON Lines, a JSON array, CSV. All become rows with their place."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medclip_cli.errors import ScoringError

_WIDEST_CSV_FIELD = 2**31 - 1  # csv refuses fields over 128 KiB unless told; captions may be longer
_NUMBERED_REFERENCE = re.compile(r"references?[ _]?\d+")


@dataclass(frozen=True, slots=True)
class Row:
    """One record as it was read.

    Attributes:
        place: where it stands, for messages: ``preds.jsonl, line 3``.
        values: by column or key.
    """

    place: str
    values: dict[str, Any]


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
        return _json_array_rows(text, name)
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


def _json_array_rows(text: str, name: str) -> Iterator[Row]:
    try:
        records = json.loads(text)
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise ScoringError(
            f"{name}, line {line}: not JSON ({getattr(error, 'msg', 'nested too deep')})"
        ) from error
    for number, record in enumerate(records, 1):
        place = f"{name}, record {number}"
        yield Row(place, _object(record, place))


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
