"""A corpus for other programs: JSON Lines, CSV, and WebDataset shards.

A shard is a tar file with, for every row, the image's own bytes and a JSON file of the same name; its
convention is that of github.com/webdataset/webdataset. `medclip clean webdataset` reads shards again.
"""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CorpusError
from medclip_cli.private_files import open_private_bytes
from medclip_cli.records import CaptionedImage

ROWS_PER_SHARD = 10_000


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
        missing = isinstance(error, FileNotFoundError)
        hint = f"if the images moved from {corpus.image_root}, clean again" if missing else "export again"
        raise CorpusError(f"{error.filename or folder} failed ({error.strerror}): {hint}") from error
    return written


def _write_shard(
    corpus: Corpus, shard: Path, rows: list[CaptionedImage], start: int, on_image: Callable[[], None]
) -> None:
    part = shard.with_name(shard.name + ".part")
    with open_private_bytes(part) as whole, tarfile.open(fileobj=whole, mode="w") as tar:
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
