"""Tables as people publish them: CSV in any encoding, TSV, gzip, JSON Lines, and Excel under any name."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal, TextIO, cast

from medclip_cli.corpora.encodings import TITLES, encoding_of
from medclip_cli.corpora.notes import note
from medclip_cli.corpora.vocabulary import known
from medclip_cli.errors import CorpusError
from medclip_cli.extras import require
from medclip_cli.progress import counted
from medclip_cli.records import SourceRow

# A cell as large as this is an unclosed quote that swallows the rest of the file, not a report.
MAX_CELL = 1 << 20

_CHUNK = 1 << 20
_EXCEL_MAGIC = b"PK\x03\x04"
_GZIP_MAGIC = b"\x1f\x8b"


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table."""

    number: int  # its line in the file, from 1
    cells: dict[str, Any] = field(default_factory=dict)  # by header, in lower case
    fault: str | None = None  # why it could not be read

    def get(self, *names: str) -> str | None:
        """Return the first of these columns that says something, without its outer white space."""
        texts = (known(self.cells.get(name)) for name in names)
        return next((text for text in texts if text is not None), None)

    def raw(self, *names: str) -> Any:  # noqa: ANN401 - JSON tables hold anything
        """Return the first of these columns that is there, just as it stands."""
        return next((self.cells[name] for name in names if self.cells.get(name) is not None), None)


def read_table(
    path: Path, *, columns: Sequence[str] | None = None, delimiter: str | None = None, quoted: bool = True
) -> Iterator[Row]:
    """Read a table row by row; a row that cannot be read comes back with its fault.

    Args:
        path: ``.csv``, ``.tsv``, ``.jsonl``, ``.json`` or ``.xlsx``, the text ones also gzipped.
        columns: headers, for a file that has no header line.
        delimiter: between cells; guessed from the first line by default.
        quoted: whether double quotes quote.

    Raises:
        CorpusError: the file is missing, cannot be read, is empty, or a quote in it is never closed.
    """
    suffix = _suffix(path)
    if suffix in (".jsonl", ".ndjson"):
        return _json_lines(path)
    if suffix == ".json":
        content = read_json(path)
        rows = content if isinstance(content, list) else [content]
        return (_json_row(number, row) for number, row in enumerate(rows, 1))
    if _starts_with(path, _EXCEL_MAGIC):
        return _excel(path, columns)
    return _delimited(path, columns, delimiter, quoted)


def read_pairs(path: Path, columns: tuple[str, str]) -> Iterator[Row]:
    """Read a table of two columns that may or may not have a header line and quotes.

    A tab in the first line makes it tab-separated. Without a header (a first cell like ``ID``) quotes are
    taken as characters of the text.
    """
    first = ""
    if not _starts_with(path, _EXCEL_MAGIC):
        with _open_text(path) as file:
            first = file.readline()
    delimiter = "\t" if "\t" in first else ","
    headed = _is_header(first.split(delimiter)[0].strip(' "\n'))
    for number, row in enumerate(
        read_table(path, columns=columns, delimiter=delimiter, quoted=headed or delimiter == ",")
    ):
        if number or not _is_header(row.get(columns[0])):
            yield row


def _is_header(cell: str | None) -> bool:
    return (cell or "").lower() in ("id", "image", "image_id", "cui", "concept")


def unusable(row: Row, why: str = "no image named", *, prefix: str = "") -> SourceRow:
    """Return the row that stands for one that cannot be used."""
    return SourceRow(f"{prefix}line{row.number}", "", fault=("malformed_row", row.fault or why))


def columns_of(path: Path) -> list[str]:
    """Return the columns of a table, in lower case; those of JSON are all that any record has."""
    rows = (row for row in read_table(path) if row.fault is None)
    if _is_json(path):
        return list(dict.fromkeys(name for row in rows for name in row.cells))
    return next((list(row.cells) for row in rows), [])


def _is_json(path: Path) -> bool:
    return _suffix(path) in (".jsonl", ".ndjson", ".json")


def _suffix(path: Path) -> str:
    return Path(path.name.lower().removesuffix(".gz")).suffix


def read_json(path: Path) -> Any:  # noqa: ANN401 - JSON is anything
    """Read a whole JSON file; a `CorpusError` if it is missing or is no JSON."""
    try:
        with _open_text(path) as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:
        raise CorpusError(f"{path} is not JSON ({error}): download it again") from error


def read_lines(path: Path) -> list[str]:
    """Return a text file's lines, stripped, without empty ones."""
    with _open_text(path) as file:
        return [line.strip() for line in file if line.strip()]


def _delimited(
    path: Path, columns: Sequence[str] | None, delimiter: str | None, quoted: bool
) -> Iterator[Row]:
    with _open_text(path, newline="") as file:
        if delimiter is None:
            delimiter = max(",\t;", key=file.readline().count)
            file.seek(0)
        quoting: Literal[0, 3] = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
        yield from _headed(_cells(file, delimiter, quoting, path), columns, path)


# Stands after the last line: inside a quote that nobody closed it becomes part of a cell.
_END = "\ue000end of the table"


def _cells(
    file: TextIO, delimiter: str, quoting: Literal[0, 3], path: Path
) -> Iterator[tuple[int, list[str] | str]]:
    record: list[str] = []  # the lines of the row under way

    def lines() -> Iterator[str]:
        for line in chain(file, [_END]):
            record.append(line)
            yield line

    def closed() -> bool:
        """Whether every quote of a row of several lines is closed, and where a cell ends."""
        try:
            return _END not in record and bool(list(csv.reader(record, delimiter=delimiter, strict=True)))
        except csv.Error:
            return False

    reader = csv.reader(lines(), delimiter=delimiter, quoting=quoting)
    while True:
        record.clear()
        first = reader.line_num + 1
        cells: list[str] | str | None
        try:
            csv.field_size_limit(MAX_CELL)  # one limit for the whole process: other readers have theirs
            cells = next(reader, None)
        except csv.Error as error:
            cells = f"{error} (an unclosed quote?)"
        if cells is None or cells == [_END]:
            return
        if len(record) > 1 and not closed():
            raise CorpusError(
                f"{path}, line {first}: a quote is opened there and not closed: close it, or double it "
                "inside a cell"
            )
        if cells:
            yield reader.line_num, cells


def _headed(
    lines: Iterable[tuple[int, Sequence[Any] | str]], columns: Sequence[str] | None, path: Path
) -> Iterator[Row]:
    names = _names(columns) if columns else None
    for number, cells in lines:
        if names is None:
            if isinstance(cells, str):
                raise CorpusError(f"{path} has no header line that can be read: {cells}")
            names = _names(cells)
        elif isinstance(cells, str):
            yield Row(number, fault=cells)
        elif len(cells) > len(names) and any(known(cell) for cell in cells[len(names) :]):
            yield Row(number, fault=f"{len(cells)} cells under {len(names)} headers")
        else:
            row = dict(zip_longest(names, cells[: len(names)], fillvalue=""))
            row.pop("", None)
            yield Row(number, row)


def _names(cells: Sequence[Any]) -> list[str]:
    names = ["" if cell is None else str(cell).strip() for cell in cells]
    return ["" if name.startswith("Unnamed:") else name.lower() for name in names]


def _json_lines(path: Path) -> Iterator[Row]:
    with _open_text(path) as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                yield _json_row(number, json.loads(line))
            except (ValueError, RecursionError):
                yield Row(number, fault="not a line of JSON")


def _json_row(number: int, value: object) -> Row:
    if not isinstance(value, dict):
        return Row(number, fault="not a JSON object")
    return Row(number, {str(name).strip().lower(): cell for name, cell in value.items()})


def _excel(path: Path, columns: Sequence[str] | None) -> Iterator[Row]:
    require("excel", f"reading {path}")
    from openpyxl import load_workbook

    try:
        with path.open("rb") as file:
            sheet = load_workbook(file, read_only=True, data_only=True).active
            lines = ((n, list(cells)) for n, cells in enumerate(sheet.iter_rows(values_only=True), 1))
            yield from _headed(lines, columns, path)
    except CorpusError:
        raise
    except Exception as error:  # openpyxl raises KeyError, BadZipFile, InvalidFileException ...
        reason = type(error).__name__
        raise CorpusError(f"{path} cannot be read as Excel ({reason}): save it as CSV") from error


@contextmanager
def _open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    try:
        encoding = _encoding(path)
        with _open_binary(path) as file:
            yield io.TextIOWrapper(file, encoding, errors="replace", newline=newline)
    except FileNotFoundError:
        raise CorpusError(f"there is no {path}") from None
    except (OSError, EOFError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CorpusError(f"{path} cannot be read ({reason}): download it again") from error


def _open_binary(path: Path) -> BinaryIO:
    packed = _starts_with(path, _GZIP_MAGIC)
    return cast("BinaryIO", gzip.open(path, "rb")) if packed else path.open("rb")


def _starts_with(path: Path, magic: bytes) -> bool:
    # A table is read more than once, and opening a pipe that nobody writes to never returns.
    if path.is_fifo() or path.is_char_device():
        raise CorpusError(f"{path} is a pipe or a device: save the table as a file first")
    try:
        with path.open("rb") as file:
            return file.read(len(magic)) == magic
    except FileNotFoundError:
        raise CorpusError(f"there is no {path}") from None
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})") from error


def _encoding(path: Path) -> str:
    """UTF-8 if all of the file is, UTF-16 if it says so, else what its bytes tell.

    Raises:
        CorpusError: they do not tell.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    with _open_binary(path) as file:
        chunk = file.read(_CHUNK)
        if chunk.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            return "utf-16"
        try:
            while chunk:
                decoder.decode(chunk)
                chunk = file.read(_CHUNK)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return _other_encoding(path)
    return "utf-8-sig"


def _other_encoding(path: Path) -> str:
    first, count, size, sample = 0, 0, 0, []
    with _open_binary(path) as file:
        for number, line in enumerate(file, 1):
            if line.isascii():
                continue
            first, count = first or number, count + 1
            if size < _CHUNK:
                sample.append(line)
                size += len(line)
    encoding = encoding_of(b"".join(sample))
    if encoding is None:
        raise CorpusError(
            f"{path}, line {first}: not UTF-8, and no other encoding for sure: save the file as UTF-8"
        )
    note(f"{path} is read as {TITLES[encoding]}: {counted(count, 'line')} with more than ASCII")
    return encoding
