"""The inputs of a command: image files, folders, patterns, lists on stdin, an image or words on stdin."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import BinaryIO

from encoders.names import IMAGE_SUFFIXES
from medclip_cli.errors import MedclipError, UsageError

STDIN = "-"
_CHUNK = 1 << 16


def named_images(
    arguments: Iterable[str], files_from: str | None, nul_separated: bool, from_stdin: bool
) -> Iterable[Path | BinaryIO]:
    """Return the images that are named, or the one on stdin.

    Raises:
        UsageError: the image on stdin and others, too; or none.
    """
    if not from_stdin:
        return expand_images(arguments, files_from, nul_separated=nul_separated)
    if arguments or files_from or nul_separated:
        raise UsageError("--stdin-image is the only image: name no other, or leave it out")
    return [stdin_image()]


def expand_images(
    arguments: Iterable[str], files_from: str | None = None, *, nul_separated: bool = False
) -> Iterator[Path]:
    """Return the image paths that are meant, in the order they were named, as they become known.

    Args:
        arguments: files; folders, for the images in them and below; patterns the shell left alone; ``-`` for
            paths on stdin, which are read lazily, so that a slow `find` and we overlap.
        files_from: a file of paths, or ``-``.
        nul_separated: paths in lists end with a NUL instead of a line feed, as `find -print0` writes them.

    Raises:
        UsageError: nothing is named, or ``-`` is given while nothing is piped into stdin.
        MedclipError: a folder or a pattern without a single image, or a list that cannot be read.
    """
    lists = [STDIN] if files_from is None and nul_separated and not arguments else []
    named = [*arguments, *lists]
    if not named and files_from is None:
        raise UsageError("no image is named: give image files, a folder, or '-' to read paths from stdin")
    return _expanded(named, files_from, b"\0" if nul_separated else b"\n")


def _expanded(named: Iterable[str], files_from: str | None, separator: bytes) -> Iterator[Path]:
    for argument in named:
        if argument == STDIN:
            yield from _listed(_stdin(), separator)
        else:
            yield from _named(argument)
    if files_from == STDIN:
        yield from _listed(_stdin(), separator)
    elif files_from is not None:
        try:
            with open(files_from, "rb") as file:
                yield from _listed(file, separator)
        except OSError as error:
            raise MedclipError(f"cannot read the list {files_from}: {error.strerror}") from error


def stdin_image() -> BinaryIO:
    """Return the image piped into stdin.

    Raises:
        UsageError: stdin is a terminal.
    """
    return io.BytesIO(_stdin().read())


def stdin_lines() -> Iterator[str]:
    """Yield the lines of stdin that are not blank, as they come; bytes that are not UTF-8 as lone surrogates.

    Raises:
        UsageError: stdin is a terminal.
    """
    return _texts(_stdin("give the words"))


def text_lines(file: str) -> Iterator[str]:
    """Yield the lines of a text file, or of stdin (``-``), that are not blank.

    Raises:
        UsageError: stdin is a terminal.
        OSError: the file cannot be read.
    """
    if file == STDIN:
        yield from stdin_lines()
        return
    with open(file, "rb") as opened:
        yield from _texts(opened)


def _texts(stream: Iterable[bytes]) -> Iterator[str]:
    lines = (line.strip() for line in stream)
    return (line.decode("utf-8", "surrogateescape") for line in lines if line)


def _stdin(instead: str = "name the images") -> BinaryIO:
    if sys.stdin is None or sys.stdin.isatty():
        raise UsageError(f"stdin is read, but nothing is piped into it: {instead} instead")
    return sys.stdin.buffer


def _named(argument: str) -> Iterator[Path]:
    path = Path(argument)
    if path.is_dir():
        found = [path / name for name in _images_below(path)]
        missing = "holds no images"
    elif has_magic(argument) and not os.path.lexists(argument):
        found = [Path(match) for match in sorted(glob(argument, recursive=True))]
        missing = "matches no file"
    else:
        yield path
        return
    if not found:
        raise MedclipError(f"{argument} {missing}: check the path")
    yield from found


def _images_below(folder: Path) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(root, name), folder)
        for root, _, names in os.walk(folder)
        for name in names
        if Path(name).suffix.lower() in IMAGE_SUFFIXES
    )


def _listed(stream: BinaryIO, separator: bytes) -> Iterator[Path]:
    """Yield the paths of a list; file names need not be UTF-8."""
    if separator == b"\n":
        yield from (Path(os.fsdecode(line)) for line in map(_without_line_end, stream) if line)
        return
    rest = b""
    while chunk := stream.read(_CHUNK):
        *whole, rest = (rest + chunk).split(separator)
        yield from (Path(os.fsdecode(name)) for name in whole if name)
    if rest:
        yield Path(os.fsdecode(rest))


def _without_line_end(line: bytes) -> bytes:
    return line.rstrip(b"\r\n")
