"""The corpus folder: ``corpus.parquet`` (one row an image), ``rejected.csv``, ``report.json``.

A corpus is written to a temporary folder beside its target and renamed, so that an interruption or a full
disk leaves what was there before. Arrow only: the asking path reads it.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from encoders.errors import first_line
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.records import MODALITIES, SPLITS, CaptionedImage, Rejection

if TYPE_CHECKING:
    from pandas import DataFrame

FORMAT_VERSION = 1
TABLE_FILE = "corpus.parquet"
REJECTED_FILE = "rejected.csv"
REPORT_FILE = "report.json"
IMAGES_FOLDER = "images"
# A folder is replaced only when it holds nothing but these.
OWN_ENTRIES = frozenset({TABLE_FILE, REJECTED_FILE, REPORT_FILE, IMAGES_FOLDER})

# Small enough that writing a large corpus needs no more memory than a small one.
ROWS_PER_GROUP = 4_096
_ROWS_READ_AT_ONCE = 512
_SHOWN = 6  # images, in a notebook

_TEXT, _LIST = pa.string(), pa.list_(pa.string())
_NULLABLE = ("view", "region", "category", "age", "sex")
_TYPES = {"captions": _LIST, "findings": _LIST, "age": pa.float64()}
_COLUMNS = (
    *("id", "image", "caption", "captions", "modality", "view", "region", "category", "findings", "age"),
    *("sex", "group", "split", "source", "licence", "sha256", "dhash"),
)
SCHEMA = pa.schema([pa.field(name, _TYPES.get(name, _TEXT), nullable=name in _NULLABLE) for name in _COLUMNS])
# Columns whose values repeat: each value is kept once, which halves the memory of a corpus.
_REPEATING = ("modality", "view", "region", "category", "sex", "group", "split", "source", "licence")
# A corpus made by another program may leave these out.
_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys(_NULLABLE),
    **{"captions": [], "findings": [], "licence": "", "sha256": "", "dhash": ""},
}


@dataclass(frozen=True, eq=False, repr=False)
class Corpus:
    """A corpus folder: image-caption pairs with what is known of them, and where the images lie.

        corpus = Corpus.open("work/medpix")
        for record in corpus.split("val"):
            print(record.caption, corpus.image_path(record))

    Opening reads ``report.json`` alone. `walk` streams the table some hundred rows at a time, however large
    it is; `records`, `split` and `to_pandas` read it into memory.

    Attributes:
        path: the folder.
        name: recorded at cleaning; with a record's id it makes the point id of an index.
        image_root: what the records' image paths are relative to.
        caption_style: the style or template the captions were made with.
        given_records: records held in memory in the place of the table's.
        report: what cleaning counted, as ``report.json`` has it.
    """

    path: Path
    name: str
    image_root: Path
    caption_style: str
    given_records: tuple[CaptionedImage, ...] | None = None
    report: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def open(cls, path: Path | str) -> Corpus:
        """Open a corpus folder; its table is read, and checked, when it is needed.

        Raises:
            CorpusError: the folder is missing, is not a corpus, is incomplete or of a newer format.
        """
        path = Path(path)
        if not path.is_dir():
            raise CorpusError(f"no corpus at {path}, there is no such folder: make one with medclip clean")
        report = _read_report(path)
        if not (path / TABLE_FILE).is_file():
            raise CorpusError(f"the corpus {path} has no {TABLE_FILE}: clean again, replacing it")
        root = Path(os.path.normpath(path.absolute() / str(report["image_root"])))
        return cls(path, str(report["name"]), root, str(report.get("caption_style", "")), None, report)

    @cached_property
    def records(self) -> tuple[CaptionedImage, ...]:
        """Every row, in the order of the table.

        Raises:
            CorpusError: the table cannot be read, or breaks a rule of the schema.
        """
        return tuple(self.walk())

    def walk(self) -> Iterator[CaptionedImage]:
        """Yield every row, in the order of the table, without keeping them.

        Raises:
            CorpusError: as `records`.
        """
        if self.given_records is not None:
            return iter(self.given_records)
        return stream_table(self.path / TABLE_FILE)

    def split(self, name: str) -> tuple[CaptionedImage, ...]:
        """Return the records of one split; a `UsageError` if it is not train, val or test."""
        if name not in SPLITS:
            raise UsageError(f"split {name!r} is not one of {', '.join(SPLITS)}")
        return tuple(record for record in self.records if record.split == name)

    def image_path(self, record: CaptionedImage) -> Path:
        """Where the image of a record lies."""
        return self.image_root / record.image

    def to_pandas(self) -> DataFrame:
        """Return the records as a table, one row an image."""
        import pandas

        names = [one.name for one in fields(CaptionedImage)]
        return pandas.DataFrame({name: [getattr(row, name) for row in self.records] for name in names})

    def __repr__(self) -> str:
        return f"Corpus({self.name!r}, {str(self.path)!r})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the sizes of the splits, the modalities, and a few images."""
        from medclip_cli import pages

        kinds = Counter(record.modality for record in self.records).most_common()
        title = f"{self.name}: {', '.join(f'{count:,} {kind}' for kind, count in kinds)}"
        sizes = split_sizes(self.records).items()
        rows = [(split, f"{size['images']:,}", f"{size['groups']:,}") for split, size in sizes]
        shown = [pages.Card(self.image_path(one), one.caption, one.id) for one in self.records[:_SHOWN]]
        return pages.table_html(title, ("split", "images", "groups"), rows) + pages.cards(shown)


def split_sizes(records: Iterable[CaptionedImage]) -> dict[str, dict[str, int]]:
    """Return images and groups by split."""
    images: Counter[str] = Counter()
    groups: dict[str, set[str]] = {split: set() for split in SPLITS}
    for record in records:
        images[record.split] += 1
        groups[record.split].add(record.group)
    return {split: {"images": images[split], "groups": len(groups[split])} for split in SPLITS}


def staging_folder(corpus: Path) -> Path:
    """Return where the images of a corpus to be are gathered; an interrupted run leaves them there."""
    corpus = corpus.absolute()
    return corpus.with_name(f".{corpus.name}.images")


def write_corpus(
    path: Path,
    *,
    name: str,
    image_root: Path,
    caption_style: str,
    records: Iterable[CaptionedImage],
    rejected: Iterable[Rejection],
    report: Mapping[str, Any],
    force: bool = False,
) -> Corpus:
    """Write a corpus folder whole, or leave what is there.

    Args:
        path: the folder to make.
        name: of the corpus.
        image_root: what the image paths are relative to. The corpus's `staging_folder` is moved into it.
        caption_style: recorded, so that a reader knows what the captions are.
        records: the kept rows.
        rejected: the rows left out.
        report: the counts of the cleaning.
        force: replace a corpus that is already there.

    Raises:
        CorpusError: the folder exists, cannot be written, or a record breaks the schema.
    """
    path = Path(path)
    check_target(path, force=force)
    kept = tuple(checked(path, records))
    staged = image_root if image_root == staging_folder(path) else None
    if staged:
        image_root = path / IMAGES_FOLDER
    root = Path(os.path.abspath(image_root))
    # Relative when both lie in one folder, so that the two can move together; else absolute.
    together = root.is_relative_to(path.absolute().parent)
    head = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "image_root": Path(os.path.relpath(root, path.absolute()) if together else root).as_posix(),
        "caption_style": caption_style,
    }
    whole = {**head, **report}
    with _replacing(path) as folder:
        write_table(folder / TABLE_FILE, kept)
        rejected_file = folder / REJECTED_FILE
        with rejected_file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("id", "image", "reason", "detail"))
            writer.writerows((row.id, row.image, row.reason, row.detail) for row in rejected)
        text = json.dumps(whole, ensure_ascii=False, indent=2)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        if staged:
            staged.rename(folder / IMAGES_FOLDER)
    return Corpus(path, name, root, caption_style, kept, whole)


def check_target(path: Path, *, force: bool) -> None:
    """Check that a corpus may be written here, before hours of work; a `CorpusError` if it may not."""
    if os.path.lexists(path):
        if path.is_symlink() or not path.is_dir():
            raise CorpusError(f"{path} exists and is not a folder: choose another folder")
        strangers = sorted({entry.name for entry in path.iterdir()} - OWN_ENTRIES)
        if strangers:
            raise CorpusError(
                f"{path} exists and is not a corpus, it holds {strangers[0]!r}: choose another folder"
            )
        if not force and any(path.iterdir()):
            raise CorpusError(f"{path} exists: replace it with force, or choose another folder")
    parent = path.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        probe = parent / f".{path.name}.{uuid.uuid4().hex[:8]}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror}): choose another folder") from error


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    target = path.absolute()
    fresh = target.with_name(f".{target.name}.new-{uuid.uuid4().hex[:8]}")
    old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex[:8]}")
    try:
        fresh.mkdir()
        yield fresh
        if target.is_dir():
            target.rename(old)
        try:
            fresh.rename(target)
        except BaseException:
            if old.is_dir():
                old.rename(target)
            raise
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror or error}): nothing was changed") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    shutil.rmtree(old, ignore_errors=True)


def _read_report(path: Path) -> dict[str, Any]:
    file = path / REPORT_FILE
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorpusError(
            f"{path} is not a corpus, it has no {REPORT_FILE}: make one with medclip clean"
        ) from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"{file} cannot be read: clean again, replacing it") from error
    if not isinstance(report, dict) or not {"format_version", "name", "image_root"} <= report.keys():
        raise CorpusError(f"{file} is not a corpus report: clean again, replacing it")
    if report["format_version"] != FORMAT_VERSION:
        versions = f"format {report['format_version']}, this medclip reads {FORMAT_VERSION}"
        raise CorpusError(f"the corpus {path} has {versions}: update medclip, or clean again")
    return report


def write_table(path: Path, records: Iterable[CaptionedImage]) -> None:
    """Write records as one Parquet file, a row group at a time so that memory stays flat."""
    remaining = iter(records)
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while batch := list(islice(remaining, ROWS_PER_GROUP)):
            columns = [
                pa.array([getattr(one, name.name) for one in batch], type=name.type) for name in SCHEMA
            ]
            writer.write_table(pa.Table.from_arrays(columns, schema=SCHEMA))


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
        reason = first_line(error)
        raise CorpusError(f"{path} cannot be read as a corpus table ({reason}): clean again") from error


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


def _column(table: pa.RecordBatch, path: Path, name: str) -> list[Any]:
    if name in table.schema.names:
        return list(table.column(name).cast(SCHEMA.field(name).type).to_pylist())
    if name in _DEFAULTS:
        return [_DEFAULTS[name]] * table.num_rows
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
