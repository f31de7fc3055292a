"""The corpus folder: ``corpus.parquet``, ``rejected.csv``, ``report.json``.

A corpus is written to a temporary folder beside its target and renamed, so that an interruption or a full
disk leaves what was there before.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medclip_cli.corpora.corpus_table import checked, stream_table, write_table
from medclip_cli.corpora.image_copies import staging_folder
from medclip_cli.errors import CorpusError
from medclip_cli.records import CaptionedImage, Rejection

FORMAT_VERSION = 1
TABLE_FILE = "corpus.parquet"
REJECTED_FILE = "rejected.csv"
REPORT_FILE = "report.json"
IMAGES_FOLDER = "images"
# --force replaces a folder only when it holds nothing but these.
OWN_ENTRIES = frozenset({TABLE_FILE, REJECTED_FILE, REPORT_FILE, IMAGES_FOLDER})


@dataclass(frozen=True, slots=True)
class Corpus:
    """An opened corpus folder.

    Attributes:
        path: the folder.
        name: recorded at cleaning; with a record's id it makes the point id of an index.
        image_root: what the records' image paths are relative to.
        caption_style: the style or template the captions were made with.
        records: every row, in the order of the table.
        report: what cleaning counted, as ``report.json`` has it.
    """

    path: Path
    name: str
    image_root: Path
    caption_style: str
    records: tuple[CaptionedImage, ...]
    report: Mapping[str, Any] = field(default_factory=dict)

    def split(self, name: str) -> tuple[CaptionedImage, ...]:
        """Return the records of one split: ``train``, ``val`` or ``test``."""
        return tuple(record for record in self.records if record.split == name)

    def image_path(self, record: CaptionedImage) -> Path:
        """Return where the image of a record lies."""
        return self.image_root / record.image


@dataclass(frozen=True, slots=True)
class StreamedCorpus:
    """A corpus folder whose table is read anew whenever it is walked through, so that memory stays flat.

    Attributes: those of `Corpus`.
    """

    path: Path
    name: str
    image_root: Path
    caption_style: str
    report: Mapping[str, Any]

    def walk(self) -> Iterator[CaptionedImage]:
        """Yield every row, in the order of the table.

        Raises:
            CorpusError: the table is damaged.
        """
        return stream_table(self.path / TABLE_FILE)

    def image_path(self, record: CaptionedImage) -> Path:
        """Return where the image of a record lies."""
        return self.image_root / record.image


def open_corpus(path: Path) -> Corpus:
    """Open a corpus folder, read its table into memory and check it.

    Raises:
        CorpusError: the folder is missing, is no corpus, is incomplete, damaged or of a newer format.
    """
    found = stream_corpus(path)
    records = tuple(found.walk())
    return Corpus(found.path, found.name, found.image_root, found.caption_style, records, found.report)


def stream_corpus(path: Path) -> StreamedCorpus:
    """Open a corpus folder without reading its table yet.

    Raises:
        CorpusError: the folder is missing, is no corpus, is incomplete or of a newer format.
    """
    path = Path(path)
    if not path.is_dir():
        raise CorpusError(
            f"no corpus at {path}, there is no such folder: medclip clean DATASET ROOT --out {path} makes one"
        )
    report = _read_report(path)
    if not (path / TABLE_FILE).is_file():
        raise CorpusError(f"the corpus {path} has no {TABLE_FILE}: clean again with --force")
    root = Path(os.path.normpath(path.absolute() / str(report["image_root"])))
    name, style = str(report["name"]), str(report.get("caption_style", ""))
    return StreamedCorpus(path, name, root, style, report)


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
    head = {
        "format_version": FORMAT_VERSION,
        "name": name,
        "image_root": _portable_root(path, image_root),
        "caption_style": caption_style,
    }
    whole = {**head, **report}
    with _replacing(path) as folder:
        write_table(folder / TABLE_FILE, kept)
        _write_rejected(folder / REJECTED_FILE, rejected)
        text = json.dumps(whole, ensure_ascii=False, indent=2)
        (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8", errors="backslashreplace")
        if staged:
            staged.rename(folder / IMAGES_FOLDER)
    return Corpus(path, name, Path(os.path.abspath(image_root)), caption_style, kept, whole)


def check_target(path: Path, *, force: bool) -> None:
    """Check that a corpus may be written here; worth asking before hours of work.

    Raises:
        CorpusError: something is there that may not be replaced, or nothing can be written there.
    """
    if os.path.lexists(path):
        _check_replaceable(path, force)
    parent = path.absolute().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        probe = parent / f".{path.name}.{uuid.uuid4().hex[:8]}"
        probe.mkdir()
        probe.rmdir()
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror}): give another --out") from error


def _check_replaceable(path: Path, force: bool) -> None:
    if path.is_symlink() or not path.is_dir():
        raise CorpusError(f"{path} exists and is not a folder: give another --out")
    strangers = sorted({entry.name for entry in path.iterdir()} - OWN_ENTRIES)
    if strangers:
        raise CorpusError(f"{path} exists and is no corpus, it holds {strangers[0]!r}: give another --out")
    if not force and any(path.iterdir()):
        raise CorpusError(f"{path} exists: replace it with --force, or give another --out")


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    target = path.absolute()
    fresh = target.with_name(f".{target.name}.new-{uuid.uuid4().hex[:8]}")
    try:
        fresh.mkdir()
        yield fresh
        _swap_in(fresh, target)
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror or error}): nothing was changed") from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _swap_in(fresh: Path, target: Path) -> None:
    if not target.is_dir():
        fresh.rename(target)
        return
    old = target.with_name(f".{target.name}.old-{uuid.uuid4().hex[:8]}")
    target.rename(old)
    try:
        fresh.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _portable_root(path: Path, image_root: Path) -> str:
    """Relative when both lie in one folder, so that the two can move together; else absolute."""
    parent, root = path.absolute().parent, Path(os.path.abspath(image_root))
    if root.is_relative_to(parent):
        return Path(os.path.relpath(root, path.absolute())).as_posix()
    return root.as_posix()


def _write_rejected(path: Path, rejected: Iterable[Rejection]) -> None:
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "image", "reason", "detail"))
        writer.writerows((row.id, row.image, row.reason, row.detail) for row in rejected)


def _read_report(path: Path) -> dict[str, Any]:
    file = path / REPORT_FILE
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CorpusError(
            f"{path} is no corpus, it has no {REPORT_FILE}: make one with medclip clean"
        ) from None
    except (OSError, ValueError) as error:
        raise CorpusError(f"{file} cannot be read: clean again with --force") from error
    if not isinstance(report, dict) or not {"format_version", "name", "image_root"} <= report.keys():
        raise CorpusError(f"{file} is not a corpus report: clean again with --force")
    if report["format_version"] != FORMAT_VERSION:
        versions = f"format {report['format_version']}, this medclip reads {FORMAT_VERSION}"
        raise CorpusError(f"the corpus {path} has {versions}: update medclip, or clean again")
    return report
