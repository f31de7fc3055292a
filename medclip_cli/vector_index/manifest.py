"""``collection.json``: what a collection is, and which of its generations is the live one."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index.base import CollectionInfo, CorpusSource

FORMAT_VERSION = 1
MANIFEST = "collection.json"
HOW_TO_MEND = "rebuild it with medclip index --rebuild, or bring back a copy with medclip collections import"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def check_name(name: str) -> str:
    """Return the name if a folder and a server can bear it.

    Raises:
        UsageError: it cannot be a collection's name.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} cannot name a collection: use letters, digits, dots, dashes and underscores, and "
            "begin with a letter or a digit"
        )
    return name


def now() -> str:
    """Return the time as UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def info_to_json(info: CollectionInfo) -> dict[str, Any]:
    """Return a collection's description as plain data."""
    return {"format_version": FORMAT_VERSION, **asdict(info)}


def info_from_json(name: str, data: Mapping[str, Any]) -> CollectionInfo:
    """Read a description back.

    Raises:
        CollectionError: written by a newer version, or damaged.
    """
    version = data.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CollectionError(
            f"collection {name!r} has format {version}, newer than format {FORMAT_VERSION} of this medclip: "
            "update medclip"
        )
    try:
        values = {key: value for key, value in data.items() if key != "format_version"}
        corpora = {
            corpus: CorpusSource(source["path"], source["image_root"], tuple(source["splits"]))
            for corpus, source in values["corpora"].items()
        }
        dense, words = values.get("weights", (1.0, 1.0))
        info = CollectionInfo(**{**values, "corpora": corpora, "name": name, "weights": (dense, words)})
        _check_kinds(info)
        return info
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CollectionError(f"collection {name!r} is damaged ({MANIFEST}): {HOW_TO_MEND}") from error


def _check_kinds(info: CollectionInfo) -> None:
    """Raise TypeError where text stands for a number, a number for text, and so on."""
    whole: tuple[int, ...] = (info.points, info.dim, info.generation, info.size_bytes)
    counts = [count for values in info.fields.values() for count in values.values()]
    sources = [text for source in info.corpora.values() for text in (source.path, source.image_root)]
    words = (info.engine, info.fingerprint, info.model_name, info.model_path, info.created, info.updated)
    if min(whole) < 0:  # a generation's number is the name of its folder
        raise ValueError("a negative number")
    for values, kind in (
        ((*whole, *counts), int),
        ((*words, *sources), str),
        ((info.average_words, *info.weights), (int, float)),
    ):
        if not all(isinstance(value, kind) for value in values):
            raise TypeError(f"a value is of another kind than {kind}")


def read_manifest(folder: Path) -> CollectionInfo | None:
    """Return the live collection in this folder, or None when there is none (yet).

    Raises:
        CollectionError: it is damaged or of a newer format.
    """
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CollectionError(
            f"collection {folder.name!r} cannot be read ({error.strerror}): {folder}"
        ) from error
    except ValueError as error:
        raise CollectionError(f"collection {folder.name!r} is damaged ({MANIFEST}): {HOW_TO_MEND}") from error
    if not isinstance(data, dict):
        raise CollectionError(f"collection {folder.name!r} is damaged ({MANIFEST}): {HOW_TO_MEND}")
    return info_from_json(folder.name, data)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Put a file in place whole: an interruption, even of power, leaves the old one or the new."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(data, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError:  # some network file systems cannot sync a folder
        pass
    finally:
        os.close(descriptor)
