"""The columns of ``corpus.parquet``, and records to and from them. Arrow only: the asking path reads it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from medclip_cli.errors import CorpusError
from medclip_cli.records import MODALITIES, SPLITS, CaptionedImage

# Small enough that writing a large corpus needs no more memory than a small one.
ROWS_PER_GROUP = 4_096
_ROWS_READ_AT_ONCE = 512

SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("image", pa.string(), nullable=False),
        pa.field("caption", pa.string(), nullable=False),
        pa.field("captions", pa.list_(pa.string()), nullable=False),
        pa.field("modality", pa.string(), nullable=False),
        pa.field("view", pa.string()),
        pa.field("region", pa.string()),
        pa.field("category", pa.string()),
        pa.field("findings", pa.list_(pa.string()), nullable=False),
        pa.field("age", pa.float64()),
        pa.field("sex", pa.string()),
        pa.field("group", pa.string(), nullable=False),
        pa.field("split", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("licence", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("dhash", pa.string(), nullable=False),
    ]
)

# Columns whose values repeat: each value is kept once, which halves the memory of a corpus.
_REPEATING = ("modality", "view", "region", "category", "sex", "group", "split", "source", "licence")

# A corpus made by another program may leave these out.
_DEFAULTS = {"view": None, "region": None, "category": None, "age": None, "sex": None}
_EMPTY = {"captions": [], "findings": [], "licence": "", "sha256": "", "dhash": ""}


def write_table(path: Path, records: Iterable[CaptionedImage]) -> None:
    """Write records as one Parquet file, a row group at a time so that memory stays flat."""
    remaining = iter(records)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while batch := list(islice(remaining, ROWS_PER_GROUP)):
            writer.write_table(_to_arrow(batch))


def stream_table(path: Path) -> Iterator[CaptionedImage]:
    """Read and check the records of a Parquet file, some hundred in memory at a time.

    Raises:
        CorpusError: the file cannot be read, lacks a column, or breaks a rule of the schema.
    """
    return checked(path, _stream(path))


def _stream(path: Path) -> Iterator[CaptionedImage]:
    try:
        # Not pq.read_table: it imports pyarrow.dataset, which imports pandas where that is installed.
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_READ_AT_ONCE):
                columns = {name: _column(batch, path, name) for name in SCHEMA.names}
                shared: dict[str, str] = {}
                for name in _REPEATING:
                    columns[name] = [shared.setdefault(value, value) for value in columns[name]]
                yield from _records(columns)
    except (OSError, UnicodeDecodeError, pa.ArrowException) as error:
        raise CorpusError(
            f"{path} cannot be read as a corpus table ({_first_line(error)}): clean again"
        ) from error


def checked(path: Path, records: Iterable[CaptionedImage]) -> Iterator[CaptionedImage]:
    """Yield records that keep the rules of the schema and have ids of their own.

    Raises:
        CorpusError: naming the corpus, the row and the rule that it breaks.
    """
    seen: set[str] = set()
    for number, record in enumerate(records):
        fault = _fault(record)
        if fault is None and record.id in seen:
            fault = "its id is used twice"
        if fault is not None:
            raise CorpusError(f"{path}, row {number}: {fault}: clean again, or mend the table")
        seen.add(record.id)
        yield record


def leaves_root(image: str) -> bool:
    """Whether a path of a table is empty, absolute, or climbs out of the folder that it is relative to."""
    parts = image.replace("\\", "/").split("/")
    return not image or parts[0] == "" or ".." in parts or "\0" in image or parts[0][1:2] == ":"


def _to_arrow(batch: Sequence[CaptionedImage]) -> pa.Table:
    columns = [
        pa.array([getattr(record, field.name) for record in batch], type=field.type) for field in SCHEMA
    ]
    return pa.Table.from_arrays(columns, schema=SCHEMA)


def _column(table: pa.RecordBatch, path: Path, name: str) -> list[Any]:
    if name in table.schema.names:
        return list(table.column(name).cast(SCHEMA.field(name).type).to_pylist())
    if name in _DEFAULTS or name in _EMPTY:
        return [_DEFAULTS.get(name, _EMPTY.get(name))] * table.num_rows
    raise CorpusError(f"{path} has no column {name!r}: it has {', '.join(table.schema.names)}")


def _records(columns: dict[str, list[Any]]) -> Iterator[CaptionedImage]:
    # Columns in the order of the record's own fields, so that each row is one positional call.
    names = [field.name for field in fields(CaptionedImage)]
    as_tuples = {"captions", "findings"}
    ordered = [[tuple(v or ()) for v in columns[n]] if n in as_tuples else columns[n] for n in names]
    at = names.index("captions")
    for row in zip(*ordered, strict=True):
        values = list(row)
        if values[at] in ((), own := (values[names.index("caption")],)):
            values[at] = own  # the same string, not another one like it
        yield CaptionedImage(*values)


def _fault(record: CaptionedImage) -> str | None:
    if not record.id or not record.group or not record.caption:
        return "id, group or caption is empty"
    if record.split not in SPLITS:
        return f"split {record.split!r} is not one of {', '.join(SPLITS)}"
    if record.modality not in MODALITIES:
        return f"modality {record.modality!r} is not one of {', '.join(MODALITIES)}"
    if leaves_root(record.image):
        return f"image path {record.image!r} leaves the image root"
    return None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
