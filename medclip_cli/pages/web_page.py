"""What the HTML pages share: one file that needs nothing else, light and dark, for its owner's eyes.

Captions and pictures of patients stand in these pages.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from pathlib import Path
from typing import TextIO

from medclip_cli.errors import MedclipError

_OWNER_ONLY = 0o600


@contextmanager
def open_page(path: Path) -> Iterator[TextIO]:
    """Open a page that is put in its place whole, readable by its owner alone, when the block ends well.

    Raises:
        MedclipError: it cannot be written there.
    """
    check_page(path)
    is_device = path.exists() and not path.is_file()  # /dev/stdout: to be written to, never to be replaced
    staged = path if is_device else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _OWNER_ONLY)
    except OSError as error:
        raise MedclipError(f"cannot write {path} ({error.strerror}): choose another file") from error
    try:
        # A file name that is not UTF-8 must not lose the page.
        with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            yield file
        if not is_device:
            staged.replace(path)
    finally:
        if not is_device:
            staged.unlink(missing_ok=True)


def write_page(path: Path, text: str) -> None:
    """Put a whole page in its place, readable by its owner alone.

    Raises:
        MedclipError: it cannot be written there.
    """
    with open_page(path) as file:
        file.write(text)


def check_page(path: Path) -> None:
    """Make sure that a page could be written; better known before the work than after.

    Raises:
        MedclipError: there is no such folder, or a folder stands there.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise MedclipError(f"cannot write {path}: name a file in a folder that exists")


def head(title: str, style: str) -> str:
    """Return how a page begins, up to its body."""
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head><body>"
    )


def foot() -> str:
    """Return how a page ends."""
    return "</body></html>\n"


def picture(jpeg: bytes, what: str) -> str:
    """Return a picture that lies in the page itself, or nothing where there is none."""
    return f'<img alt="{escape(what)}" loading="lazy" src="{data_uri(jpeg, "jpeg")}">' if jpeg else ""


def data_uri(data: bytes, kind: str) -> str:
    """Return an image as an address that needs no file."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
