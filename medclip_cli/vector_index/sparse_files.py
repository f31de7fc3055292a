"""Files that are mostly holes, as a shard's are: copied, hashed and packed by what they hold.

A fresh shard of a few megabytes has files of 130 MB by their sizes. Everything here skips empty blocks, and
gives the same result whether a file system kept the holes or filled them with zeros.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 16
Range = tuple[int, int]


def standing_paths(folder: Path) -> Iterator[Path]:
    """Yield what is below a folder, in order, without hidden files.

    Whoever opens a shard writes its smallest files anew, under hidden names that are gone a moment later.
    """
    for path in sorted(folder.rglob("*")):
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            yield path


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder and everything below it that stands, holes included."""
    for path in standing_paths(source):
        copy = target / path.relative_to(source)
        if path.is_dir():
            copy.mkdir(parents=True, exist_ok=True)
        else:
            copy.parent.mkdir(parents=True, exist_ok=True)
            _copy(path, copy)


def _copy(source: Path, target: Path) -> None:
    with target.open("wb", buffering=0) as file:
        file.truncate(source.stat().st_size)
        for offset, block in full_blocks(source):
            file.seek(offset)
            file.write(block)


def full_blocks(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of each block of a file that is not all zeros."""
    with path.open("rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        after = 0
        for start, end in _data_ranges(file.fileno(), size):
            for offset in range(max(after, start - start % _BLOCK), end, _BLOCK):
                file.seek(offset)
                block = file.read(_BLOCK)
                if block.count(0) < len(block):
                    yield offset, block
                after = offset + _BLOCK


def _data_ranges(descriptor: int, size: int) -> Iterator[Range]:
    if not hasattr(os, "SEEK_DATA"):  # pragma: no cover - Windows
        yield (0, size)
        return
    end = 0
    while end < size:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield (start, min(end, size))


def content_hash(path: Path) -> str:
    """Return a SHA-256 over a file's size and the offset and content of each block that is not all zeros."""
    digest = hashlib.sha256()
    for offset, block in full_blocks(path):
        digest.update(offset.to_bytes(8, "little"))
        digest.update(block)
    digest.update(path.stat().st_size.to_bytes(8, "little"))
    return digest.hexdigest()


def filled_ranges(path: Path) -> list[Range]:
    """Return start and end of each stretch of a file that is not all zeros."""
    ranges: list[Range] = []
    for offset, block in full_blocks(path):
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + len(block))
        else:
            ranges.append((offset, offset + len(block)))
    return ranges


class PackedReader:
    """Reads the stretches of a file one after the other, as if they were all there is."""

    def __init__(self, file: BinaryIO, ranges: list[Range]) -> None:
        """Read these stretches of an open file."""
        self._file, self._left = file, list(ranges)

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes; fewer only at the end."""
        pieces = []
        while size and self._left:
            start, end = self._left.pop(0)
            self._file.seek(start)
            piece = self._file.read(min(size, end - start))
            pieces.append(piece)
            size -= len(piece)
            if piece and start + len(piece) < end:
                self._left.insert(0, (start + len(piece), end))
        return b"".join(pieces)


def unpack(packed: BinaryIO, path: Path, size: int, ranges: list[Range]) -> None:
    """Write a file of `size` bytes whose stretches come one after the other.

    Raises:
        ValueError: the stretches do not fit the size, or their bytes run out.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:
        file.truncate(size)
        for start, end in ranges:
            if not 0 <= start < end <= size:
                raise ValueError("stretches that do not fit the file")
            file.seek(start)
            while start < end:
                content = packed.read(min(_BLOCK, end - start))
                if not content:
                    raise ValueError("too few bytes")
                start += file.write(content)
