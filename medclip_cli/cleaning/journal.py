"""What was found out about images so far, on disk, so that an interrupted cleaning goes on where it stopped.

One JSON line an image, beside the corpus to be; a file that has changed since (size or time) is looked at
again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from medclip_cli.cleaning.images import ImageFacts
from medclip_cli.cleaning.rules import Reason
from medclip_cli.errors import CorpusError
from medclip_cli.private_files import open_private_text

VERSION = 3
# A kill loses at most this many findings; flushing each would cost more than it saves.
FLUSH_EVERY = 100


class Journal:
    """Findings of an earlier, interrupted run, and those of this one."""

    def __init__(self, root: Path, earlier: dict[str, dict[str, Any]], file: IO[str] | None) -> None:
        """Wrap an open journal; use `open_journal`."""
        self._folder = str(root)
        self._earlier = earlier
        self._file = file
        self._unflushed = 0

    def recall(self, image: str) -> ImageFacts | Reason | None:
        """Return what an earlier run found, if the file is still the same."""
        entry = self._earlier.get(image)
        if entry is None or entry["stamp"] != self._stamp(image):
            return None
        return Reason(*entry["reason"]) if "reason" in entry else ImageFacts(*entry["facts"])

    def remember(self, image: str, found: ImageFacts | Reason) -> None:
        """Note what was found."""
        stamp = self._stamp(image)
        if self._file is None or stamp is None:
            return
        what = {"reason": list(found)} if isinstance(found, Reason) else {"facts": _listed(found)}
        self._file.write(json.dumps({"image": image, "stamp": stamp, **what}) + "\n")
        self._unflushed += 1
        if self._unflushed >= FLUSH_EVERY:
            self._file.flush()
            self._unflushed = 0

    def _stamp(self, image: str) -> str | None:
        try:
            status = os.stat(f"{self._folder}/{image}")
        except (OSError, ValueError):
            return None
        return f"{status.st_size}:{status.st_mtime_ns}"


def journal_path(corpus: Path) -> Path:
    """Return where the journal of a corpus to be lies."""
    corpus = corpus.absolute()
    return corpus.with_name(f".{corpus.name}.cleaning.jsonl")


@contextmanager
def open_journal(path: Path | None, root: Path) -> Iterator[Journal]:
    """Open the journal, go on from an earlier one of the same image root.

    Args:
        path: its file; None keeps no journal (``--dry-run``).
        root: what image paths are relative to.

    Raises:
        CorpusError: the file cannot be written.
    """
    if path is None:
        yield Journal(root, {}, None)
        return
    earlier = _read(path, root)
    try:
        file = open_private_text(path, append=bool(earlier))
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror}): give another --out") from error
    with file:
        # After a torn last line a new one must start on a line of its own.
        file.write("\n" if earlier else json.dumps({"version": VERSION, "root": str(root)}) + "\n")
        yield Journal(root, earlier, file)


def _read(path: Path, root: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            if _parsed(file.readline()) != {"version": VERSION, "root": str(root)}:
                return {}
            for line in file:
                entry = _parsed(line)
                if "image" in entry and "stamp" in entry and ("reason" in entry or "facts" in entry):
                    entries[entry["image"]] = entry
    except OSError:
        return {}
    return entries


def _listed(facts: ImageFacts) -> list[str]:
    return [facts.sha256, facts.dhash, facts.fine_hash]


def _parsed(line: str) -> dict[str, Any]:
    try:
        entry = json.loads(line)
    except ValueError:
        return {}
    return entry if isinstance(entry, dict) else {}
