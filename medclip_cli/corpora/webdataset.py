"""WebDataset shards: tar files with an image and its description under one name, whoever made them.

Their convention is that of github.com/webdataset/webdataset. Images in a tar file cannot be read one by
one, so the shards are unpacked first, into the corpus to be; then they are a folder like any other. Shards
unpacked by an interrupted run are not unpacked again.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medclip_cli.corpora import folder as plain_folder
from medclip_cli.corpora.layout import IMAGE_SUFFIXES
from medclip_cli.corpora.vocabulary import split_of
from medclip_cli.errors import CorpusError

CAPTIONS_FILE = "captions.jsonl"
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
# What a description says of the corpus it came from, and what is not true of this one.
_STALE = frozenset({"image", "sha256", "dhash", "source", "licence"})


def unpack(shards: Path, into: Path) -> None:
    """Unpack shards into a folder of images with ``captions.jsonl``.

    Members are written under names of our own making, so that none can leave the folder.

    Args:
        shards: one ``.tar`` file, or a folder of them.
        into: made if it is missing; shards that it holds already are left out.

    Raises:
        CorpusError: no shard, one that is no tar file, or the folder cannot be written.
    """
    paths = [shards] if shards.is_file() else sorted(path for path in shards.glob("*.tar") if path.is_file())
    if not paths:
        raise CorpusError(f"{shards} has no *.tar shards: name the folder they are in, or one of them")
    try:
        into.mkdir(parents=True, exist_ok=True)
        tables = [_unpack_once(path, into) for path in paths]
        _join(tables, into / CAPTIONS_FILE)
    except (OSError, tarfile.TarError, EOFError) as error:
        raise CorpusError(f"{shards} cannot be unpacked ({error}): download it again") from error


def _unpack_once(shard: Path, into: Path) -> Path:
    """Unpack a shard unless that is done, and return the table of its rows."""
    status = shard.stat()
    table = into / f".{_safe(shard.stem)}-{status.st_size}-{status.st_mtime_ns}.jsonl"
    if table.exists():
        return table
    part = table.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row) + "\n" for row in _rows(shard, into))
    part.replace(table)
    return table


def _rows(shard: Path, into: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of one shard, whose image and description may come in either order."""
    rows: dict[str, dict[str, Any]] = {}
    folder = _safe(shard.stem)
    (into / folder).mkdir(exist_ok=True)
    split = split_of(re.split(r"[-_.]", shard.stem)[0])
    with tarfile.open(shard, "r|*") as tar:
        for member in tar:
            file = tar.extractfile(member) if member.isfile() else None
            if file is None:
                continue
            key, _, suffix = member.name.rpartition("/")[2].partition(".")
            row = rows.setdefault(member.name.removesuffix(f".{suffix}"), {"split": split} if split else {})
            if suffix == "json":
                row.update(_description(file.read()))
            elif suffix in ("txt", "caption"):
                row.setdefault("caption", file.read().decode("utf-8", "replace"))
            elif f".{suffix.lower()}" in IMAGE_SUFFIXES:
                row["image"] = f"{folder}/{len(rows):08d}-{_safe(key)}.{suffix.lower()}"
                (into / row["image"]).write_bytes(file.read())
    yield from (row for row in rows.values() if "image" in row)


def _description(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    described = {name: value for name, value in found.items() if name not in _STALE}
    # Several captions say what one of them does as well.
    if described.get("captions"):
        described.pop("caption", None)
    return described


def _join(tables: Sequence[Path], joined: Path) -> None:
    """Write all rows into one table; each has every column, since the first one tells what there are."""
    columns = {"image": None, **{name: None for row in _read(tables) for name in row}}
    part = joined.with_suffix(".part")
    with part.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps({**columns, **row}) + "\n" for row in _read(tables))
    part.replace(joined)


def _read(tables: Iterable[Path]) -> Iterator[dict[str, Any]]:
    for table in tables:
        with table.open(encoding="utf-8") as file:
            yield from map(json.loads, file)


def _safe(name: str) -> str:
    # A name of a few hundred letters is one that file systems refuse.
    return _UNSAFE.sub("_", os.fsencode(name).decode("ascii", "replace"))[:100]


LAYOUT = replace(
    plain_folder.LAYOUT,
    name="webdataset",
    title="WebDataset shards",
    download="*.tar shards of images with .json or .txt beside each; medclip corpus export writes such",
    reads="all shards, or one; the images are unpacked into the corpus",
    unpack=unpack,
)
