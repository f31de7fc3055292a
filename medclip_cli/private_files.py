"""Files and folders for their owner's eyes: captions, ids and paths of patients stand in them."""

from __future__ import annotations

import os
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

OWNER_ONLY = 0o600
OWNER_ONLY_FOLDER = 0o700


def open_private_text(path: Path, *, append: bool = False, newline: str | None = None) -> TextIO:
    r"""Open a UTF-8 text file for writing that nobody but its owner can read, whatever the umask.

    Lone surrogates, as of a file name that is not UTF-8, are written as ``\u`` escapes.

    Raises:
        OSError: it cannot be written.
    """
    binary = open(_open(path, append=append), "ab" if append else "wb")
    return TextIOWrapper(binary, encoding="utf-8", errors="backslashreplace", newline=newline)


def open_private_bytes(path: Path) -> BinaryIO:
    """Open a file for writing that nobody but its owner can read, whatever the umask.

    Raises:
        OSError: it cannot be written.
    """
    return open(_open(path, append=False), "wb")


def make_private_folder(path: Path) -> None:
    """Make a folder that nobody but its owner can enter; one that exists keeps the rights it was given.

    Raises:
        OSError: it cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(OWNER_ONLY_FOLDER, exist_ok=True)


def _open(path: Path, *, append: bool) -> int:
    how = os.O_APPEND if append else os.O_TRUNC
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | how, OWNER_ONLY)
    try:
        # A file that was there before keeps its rights unless they are taken.
        os.fchmod(descriptor, OWNER_ONLY)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
