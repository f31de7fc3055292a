"""Examining every image once: is it there, does it decode, does it show anything.

The journal keeps what was found on disk, one JSON line an image, beside the corpus to be, so that an
interrupted cleaning goes on where it stopped; a file that has changed since (size or time) is examined again.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import IO, Any

from PIL import Image

from encoders.images import MAX_SCAN_BYTES, read_image
from medclip_cli.corpora.near_duplicates import LEAST_SIDE, hash_miniatures, miniature
from medclip_cli.errors import CorpusError, ScanError
from medclip_cli.private_files import open_private_text
from medclip_cli.records import Reason

# A picture whose brightest and darkest grey differ by less shows nothing; JPEG alone adds a step or two.
BLANK_GREY_RANGE = 4

JOURNAL_VERSION = 3
# A kill loses at most this many findings; flushing each would cost more than it saves.
FLUSH_EVERY = 100


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image that decodes: hashes of its file and of its picture, in hex digits."""

    sha256: str  # 64
    dhash: str  # 16, see `near_duplicates.difference_hashes`
    fine_hash: str  # 128: it tells two chest X-rays apart


def examine_images(paths: Sequence[Path], root: Path | None = None) -> list[ImageFacts | Reason]:
    """Decode image files and fingerprint them, or say why each is left out.

    Args:
        paths: the image files; one picture at a time is in memory.
        root: a link that leads out of this folder (already resolved) is refused.
    """
    decoded = [_decode(path, root) for path in paths]
    # Picture by picture, these few comparisons would cost a quarter of what decoding does.
    hashes = iter(hash_miniatures([one[1] for one in decoded if not isinstance(one, Reason)]))
    return [one if isinstance(one, Reason) else ImageFacts(one[0], *next(hashes)) for one in decoded]


def is_blank(picture: Image.Image) -> bool:
    """Whether every channel of the picture is one flat value, give or take compression noise."""
    extrema = picture.getextrema()
    # One pair of numbers for a grey picture, one a channel for others.
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(float(high) - float(low) < BLANK_GREY_RANGE for low, high in pairs)


def _decode(path: Path, root: Path | None) -> tuple[str, Image.Image] | Reason:
    """Return the SHA-256 of a file's bytes and the miniature of its picture."""
    try:
        status = os.lstat(path)
        is_link = stat.S_ISLNK(status.st_mode)
        # Links are followed; those of a folder are looked up once.
        if root is not None and not (
            Path(os.path.realpath(path)).is_relative_to(root)
            if is_link
            else _folder_lies_in(os.path.dirname(path), root)
        ):
            return Reason("unsafe_path", "a link leads out of the image root")
        status = os.stat(path) if is_link else status
        if not stat.S_ISREG(status.st_mode):
            # Opening a named pipe would wait for a writer for ever, and a device never ends.
            if stat.S_ISDIR(status.st_mode):
                return Reason("missing_image")
            return Reason("unreadable_image", "a pipe or a device, not a file")
        if status.st_size > MAX_SCAN_BYTES:
            return Reason("too_large", f"the file has more than {MAX_SCAN_BYTES:,} bytes")
        content = path.read_bytes()
        small = miniature(read_image(BytesIO(content), least_side=LEAST_SIDE))
        # Averaging cannot widen a range of greys: only what is flat when small is decoded whole.
        if is_blank(small) and is_blank(read_image(BytesIO(content))):
            return Reason("blank_image", "one flat grey")
    except (FileNotFoundError, NotADirectoryError):
        return Reason("missing_image")
    except ScanError as error:
        return Reason(error.code, str(error))
    except (OSError, ValueError) as error:
        return Reason("unreadable_image", getattr(error, "strerror", None) or "not readable")
    return hashlib.sha256(content).hexdigest(), small


@lru_cache(maxsize=4096)
def _folder_lies_in(folder: str, root: Path) -> bool:
    return Path(os.path.realpath(folder)).is_relative_to(root)


class Journal:
    """Findings of an earlier, interrupted run, and those of this one."""

    def __init__(self, root: Path, earlier: dict[str, dict[str, Any]], file: IO[str] | None) -> None:
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
        stamp = self._stamp(image)
        if self._file is None or stamp is None:
            return
        kind = "reason" if isinstance(found, Reason) else "facts"
        values = found if isinstance(found, Reason) else (found.sha256, found.dhash, found.fine_hash)
        self._file.write(json.dumps({"image": image, "stamp": stamp, kind: values}) + "\n")
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
    """Open the journal of an image root, and go on from an earlier one; a path of None keeps none."""
    if path is None:
        yield Journal(root, {}, None)
        return
    earlier = _read(path, root)
    try:
        file = open_private_text(path, append=bool(earlier))
    except OSError as error:
        raise CorpusError(f"cannot write {path} ({error.strerror}): choose another folder") from error
    with file:
        # After a torn last line a new one must start on a line of its own.
        file.write("\n" if earlier else json.dumps({"version": JOURNAL_VERSION, "root": str(root)}) + "\n")
        yield Journal(root, earlier, file)


def _read(path: Path, root: Path) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    with suppress(OSError), path.open(encoding="utf-8", errors="replace") as file:
        if _parsed(file.readline()) != {"version": JOURNAL_VERSION, "root": str(root)}:
            return {}
        for line in file:
            entry = _parsed(line)
            if "image" in entry and "stamp" in entry and ("reason" in entry or "facts" in entry):
                entries[entry["image"]] = entry
    return entries


def _parsed(line: str) -> dict[str, Any]:
    with suppress(ValueError):  # torn, by the end of a run
        entry = json.loads(line)
        if isinstance(entry, dict):
            return entry
    return {}
