"""A corpus for other programs: JSON Lines, CSV, and WebDataset shards, there and back.

A shard is a tar file with, for every row, the image's own bytes and a JSON file of the same name; its
convention is that of github.com/webdataset/webdataset. Unpacked again it is a folder of images with
``captions.jsonl``, which `medclip clean folder` reads.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.corpora.image_files import IMAGE_SUFFIXES
from medclip_cli.errors import CorpusError
from medclip_cli.records import CaptionedImage

ROWS_PER_SHARD = 10_000
CAPTIONS_FILE = "captions.jsonl"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")


def write_jsonl(records: Iterable[CaptionedImage], out: TextIO) -> int:
    """Write one JSON object a row; return how many."""
    count = 0
    for record in records:
        out.write(json.dumps(asdict(record), ensure_ascii=False) + "\n")
        count += 1
    return count


def write_csv(records: Iterable[CaptionedImage], out: TextIO) -> int:
    """Write a table with lists joined by ``|``; return how many rows."""
    writer: csv.DictWriter[str] | None = None
    count = 0
    for record in records:
        row = {name: "|".join(v) if isinstance(v, tuple) else v for name, v in asdict(record).items()}
        if writer is None:
            writer = csv.DictWriter(out, list(row), lineterminator="\n")
            writer.writeheader()
        writer.writerow(row)
        count += 1
    return count


def write_shards(
    corpus: Corpus,
    folder: Path,
    *,
    records: Iterable[CaptionedImage] | None = None,
    rows_per_shard: int = ROWS_PER_SHARD,
    on_image: Callable[[], None] = lambda: None,
) -> list[Path]:
    """Write ``<split>-000000.tar`` and on; a shard under way ends in ``.part``.

    Args:
        corpus: whose images are read.
        folder: where the shards go; made if it is missing.
        records: the rows to write; all of the corpus by default.
        rows_per_shard: so many in each, the last of a split excepted.
        on_image: called after each row.

    Raises:
        CorpusError: an image cannot be read, or a shard cannot be written.
    """
    by_split: dict[str, list[CaptionedImage]] = {}
    for record in corpus.records if records is None else records:
        by_split.setdefault(record.split, []).append(record)
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for split, rows in by_split.items():
            for number, start in enumerate(range(0, len(rows), rows_per_shard)):
                shard = folder / f"{split}-{number:06d}.tar"
                _write_shard(corpus, shard, rows[start : start + rows_per_shard], start, on_image)
                written.append(shard)
    except OSError as error:
        raise CorpusError(f"{error.filename or folder} failed ({error.strerror}): export again") from error
    return written


def unpack_shards(shards: Path, folder: Path) -> int:
    """Unpack the shards of a folder into another one, and return how many rows there were.

    Members are written under names of our own making, so that none can leave the folder.

    Raises:
        CorpusError: no shard, one that is no tar file, or a folder that exists.
    """
    paths = sorted(shards.glob("*.tar"))
    if not paths:
        raise CorpusError(f"{shards} has no *.tar shards")
    if folder.exists():
        raise CorpusError(f"{folder} exists: give another --out")
    count = 0
    try:
        (folder / "images").mkdir(parents=True)
        with (folder / CAPTIONS_FILE).open("w", encoding="utf-8") as table:
            for path in paths:
                for row in _unpack(path, folder):
                    table.write(json.dumps(row, ensure_ascii=True) + "\n")
                    count += 1
    except (OSError, tarfile.TarError) as error:
        raise CorpusError(f"{shards} cannot be unpacked ({error})") from error
    return count


def _write_shard(
    corpus: Corpus, shard: Path, rows: list[CaptionedImage], start: int, on_image: Callable[[], None]
) -> None:
    part = shard.with_name(shard.name + ".part")
    with tarfile.open(part, "w") as tar:
        for number, record in enumerate(rows, start):
            key = f"{number:08d}"
            suffix = os.path.splitext(record.image)[1].lower() or ".img"
            _add(tar, key + suffix, corpus.image_path(record).read_bytes())
            _add(tar, f"{key}.json", json.dumps(asdict(record), ensure_ascii=False).encode())
            on_image()
    part.replace(shard)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    # No owner, no time: the same corpus makes the same shards.
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _unpack(path: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one shard, whose image and description may come in either order."""
    waiting: dict[str, dict[str, Any]] = {}
    with tarfile.open(path, "r|*") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            key, _, suffix = member.name.rpartition("/")[2].partition(".")
            row = waiting.setdefault(member.name.partition(".")[0], {})
            if suffix == "json":
                row.update(_description(file.read()))
            elif suffix in ("txt", "caption"):
                row.setdefault("caption", file.read().decode("utf-8", "replace"))
            elif f".{suffix}" in IMAGE_SUFFIXES:
                name = f"images/{path.stem}-{_UNSAFE.sub('_', key)}-{len(waiting):08d}.{suffix}"
                (folder / name).write_bytes(file.read())
                row["image"] = name
    yield from (row for row in waiting.values() if "image" in row)


def _description(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    if not isinstance(found, dict):
        return {}
    # The path of the image was that of another folder; and one caption is said as well by several.
    return {
        name: value for name, value in found.items() if name not in ("image", "sha256", "dhash", "caption")
    } | ({} if found.get("captions") or "caption" not in found else {"caption": found["caption"]})
