"""Files that are mostly holes, as a shard's are: copied, hashed and packed by what they hold.

A fresh shard of a few megabytes has files of 130 MB by their sizes. Everything here skips empty blocks, and
gives the same result whether a file system kept the holes or filled them with zeros.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import BinaryIO

_BLOCK = 1 << 16
Range = tuple[int, int]


def stable_files(folder: Path) -> list[Path]:
    """Return every file below a folder, in order, without hidden files and folders.

    Opening a shard writes its smallest files anew, under hidden names that are gone a moment later.
    """
    found = []
    for parent, folders, names in os.walk(folder):  # passes over a folder that vanishes meanwhile
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)


def copy_folder(source: Path, target: Path) -> None:
    """Copy a folder and every stable file below it, holes included."""
    target.mkdir(parents=True, exist_ok=True)
    for path in stable_files(source):
        copy = target / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        with path.open("rb", buffering=0) as old, copy.open("wb", buffering=0) as new:
            new.truncate(os.fstat(old.fileno()).st_size)
            for offset, block in full_blocks(old):
                new.seek(offset)
                new.write(block)


def full_blocks(file: FileIO) -> Iterator[tuple[int, bytes]]:
    """Yield offset and content of each block of an open file that is not all zeros."""
    size = os.fstat(file.fileno()).st_size
    after = end = 0
    while end < size:
        try:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
        except OSError:  # nothing but a hole is left
            return
        end = min(os.lseek(file.fileno(), start, os.SEEK_HOLE), size)
        for offset in range(max(after, start - start % _BLOCK), end, _BLOCK):
            file.seek(offset)
            block = file.read(_BLOCK) or b""
            if block.count(0) < len(block):
                yield offset, block
            after = offset + _BLOCK


def content_hash(path: Path) -> str:
    """Return a SHA-256 over a file's size and the offset and content of each block that is not all zeros."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        for offset, block in full_blocks(file):
            digest.update(offset.to_bytes(8, "little"))
            digest.update(block)
        digest.update(os.fstat(file.fileno()).st_size.to_bytes(8, "little"))
    return digest.hexdigest()


def filled_ranges(path: Path) -> list[Range]:
    """Return start and end of each stretch of a file that is not all zeros."""
    ranges: list[Range] = []
    with path.open("rb", buffering=0) as file:
        blocks = [(offset, len(block)) for offset, block in full_blocks(file)]
    for offset, size in blocks:
        if ranges and ranges[-1][1] == offset:
            ranges[-1] = (ranges[-1][0], offset + size)
        else:
            ranges.append((offset, offset + size))
    return ranges


class PackedReader:
    """Reads the stretches of a file one after the other, as if they were all there is."""

    def __init__(self, file: BinaryIO, ranges: list[Range]) -> None:
        self._file, self._left = file, list(ranges)

    def read(self, size: int) -> bytes:
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
