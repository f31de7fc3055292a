"""A corpus for other programs (JSON Lines, CSV, WebDataset shards), and copies of its images for itself.

A shard is a tar file with, for every row, the image's own bytes and a JSON file of the same name; its
convention is that of github.com/webdataset/webdataset. `medclip clean webdataset` reads shards again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Literal, TextIO

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CorpusError
from medclip_cli.private_files import open_private_bytes, open_private_text
from medclip_cli.progress import OnProgress, Progress, no_progress
from medclip_cli.records import CaptionedImage

ROWS_PER_SHARD = 10_000


def export_table(records: Iterable[CaptionedImage], kind: Literal["jsonl", "csv"], out: Path | TextIO) -> int:
    """Write one JSON object a row, or a CSV table with lists joined by ``|``; return how many rows.

    A file is written whole or not at all.

    Raises:
        CorpusError: the file cannot be written.
    """
    if not isinstance(out, Path):
        return _write_rows(records, kind, out)
    part = out.with_name(out.name + ".part")
    try:
        with open_private_text(part, newline="") as file:
            count = _write_rows(records, kind, file)
        part.replace(out)
    except OSError as error:
        raise CorpusError(f"cannot write {out} ({error.strerror}): choose another file") from error
    return count


def _write_rows(records: Iterable[CaptionedImage], kind: str, out: TextIO) -> int:
    table = csv.DictWriter(out, [one.name for one in fields(CaptionedImage)], lineterminator="\n")
    count = 0
    for count, record in enumerate(records, 1):
        row = asdict(record)
        if kind == "jsonl":
            out.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if count == 1:
            table.writeheader()
        table.writerow({name: "|".join(v) if isinstance(v, tuple) else v for name, v in row.items()})
    return count


def write_shards(
    corpus: Corpus,
    folder: Path,
    records: Sequence[CaptionedImage] | None = None,
    *,
    rows_per_shard: int = ROWS_PER_SHARD,
    on_progress: OnProgress = no_progress,
) -> list[Path]:
    """Write ``<split>-000000.tar`` and on into a folder; a shard under way ends in ``.part``.

    Args:
        corpus: whose images are read.
        folder: made if it is missing.
        records: the rows to write; all of the corpus by default.
        rows_per_shard: so many in each, the last of a split excepted.
        on_progress: called for each row.

    Raises:
        CorpusError: an image cannot be read, or a shard cannot be written.
    """
    records = corpus.records if records is None else records
    by_split: dict[str, list[CaptionedImage]] = {}
    for record in records:
        by_split.setdefault(record.split, []).append(record)
    written: list[Path] = []
    done = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, rows in by_split.items():
            for number, start in enumerate(range(0, len(rows), rows_per_shard)):
                shard = folder / f"{split}-{number:06d}.tar"
                for _ in _write_shard(corpus, shard, rows[start : start + rows_per_shard], start):
                    done += 1
                    on_progress(Progress("Packing", done, len(records)))
                written.append(shard)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        hint = f"if the images moved from {corpus.image_root}, clean again" if missing else "export again"
        raise CorpusError(f"{error.filename or folder} failed ({error.strerror}): {hint}") from error
    return written


def _write_shard(corpus: Corpus, shard: Path, rows: list[CaptionedImage], start: int) -> Iterator[None]:
    """Write one shard, yielding after each row."""
    part = shard.with_name(shard.name + ".part")
    with open_private_bytes(part) as whole, tarfile.open(fileobj=whole, mode="w") as tar:
        for number, record in enumerate(rows, start):
            suffix = os.path.splitext(record.image)[1].lower() or ".img"
            description = json.dumps(asdict(record), ensure_ascii=False).encode()
            for ending, content in ((suffix, corpus.image_path(record).read_bytes()), (".json", description)):
                # No owner, no time: the same corpus makes the same shards.
                member = tarfile.TarInfo(f"{number:08d}{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            yield
    part.replace(shard)


def copy_images(
    records: Sequence[CaptionedImage],
    image_root: Path,
    staging: Path,
    on_progress: OnProgress = no_progress,
) -> None:
    """Copy the images of records into a staging folder, under their own relative paths.

    A copy that an earlier run made stays if its size and time are those of the image.

    Raises:
        CorpusError: an image is gone or has changed since it was checked, or there is no room for it.
    """
    for number, record in enumerate(records, 1):
        try:
            _copy(image_root / record.image, staging / record.image, record.sha256)
        except OSError as error:
            fault = f"{record.image} cannot be copied ({error.strerror})"
            raise CorpusError(f"{fault}: clean again to go on") from error
        on_progress(Progress("Copying", number, len(records)))


def keep_only(records: Iterable[CaptionedImage], staging: Path) -> None:
    """Remove all files from a staging folder but the images of these records, and then empty folders."""
    wanted = {os.path.normpath(staging / record.image) for record in records}
    for folder, _, files in os.walk(staging, topdown=False):
        for name in files:
            if os.path.join(folder, name) not in wanted:
                os.unlink(os.path.join(folder, name))
        if not os.listdir(folder):
            os.rmdir(folder)


def _copy(source: Path, target: Path, sha256: str) -> None:
    status = os.stat(source)
    with suppress(OSError):
        there = os.stat(target)
        if (there.st_size, there.st_mtime_ns) == (status.st_size, status.st_mtime_ns):
            return
    content = source.read_bytes()
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise CorpusError(f"{source} has changed since it was checked: clean again")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(content)
    shutil.copystat(source, part)
    part.replace(target)
