"""What every page shares: the templates, the pictures inside them, and how a page gets onto disk.

A page is one file that loads nothing else, and is readable by its owner alone: it shows patients' images.
"""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import date
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from medclip_cli.errors import MedclipError
from medclip_cli.records import DISCLAIMER

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL.Image import Image

Picture = bytes | str | Path | None  # JPEG bytes, the path of an image file, or none
CARD_SIDE = 320  # pixels; sharp on a phone, some 15 kB as JPEG
SCAN_SIDE = 768  # the query image is the largest of a page
_JPEG_QUALITY = 82
_OWNER_ONLY = 0o600
# Control characters, lone surrogates, and the marks that would turn the direction of the text around them.
_INVISIBLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff]")


def render(template: str, **values: object) -> str:
    """Fill one of the templates beside this file; every value is escaped."""
    return environment().get_template(template).render(**values)


def table_html(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as a fragment for a notebook."""
    return str(macros().table_fragment(title, columns, rows))


def macros() -> Any:  # noqa: ANN401 - a module that jinja2 makes
    """Return the parts that pages are put together from, as functions."""
    return environment().get_template("parts.html").module


@cache
def environment() -> Environment:
    """Return the templates; jinja2 is imported by whoever makes a page, and by nobody else."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    loaded = Environment(
        loader=PackageLoader("medclip_cli.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    assert loaded.loader is not None
    loaded.globals["stylesheet"] = Markup(loaded.loader.get_source(loaded, "style.css")[0])  # noqa: S704
    loaded.globals |= {"disclaimer": DISCLAIMER, "today": lambda: date.today().isoformat()}
    loaded.filters["percent"] = "{:.0%}".format
    return loaded


def _visible(value: Any) -> Any:  # noqa: ANN401 - whatever a template writes
    """Show invisible characters, which could change how the rest is read, as their code."""
    if type(value) is not str:  # markup has been escaped already
        return value
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", value)


def thumbnail(path: str | Path | None, side: int = CARD_SIDE) -> Image | None:
    """Read an image file as medclip does and shrink it; None where there is none, or it cannot be read."""
    from encoders.errors import ScanError
    from encoders.images import read_image

    if path is None:
        return None
    try:
        picture = read_image(Path(path))
    except ScanError:
        return None
    picture.thumbnail((side, side))
    return picture


def thumbnails(paths: Sequence[str | Path | None], side: int = CARD_SIDE) -> list[Image | None]:
    """Shrink image files, several at once."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: thumbnail(path, side), paths))


def jpeg(picture: Image | None) -> bytes:
    """Return a picture as JPEG; nothing of None."""
    if picture is None:
        return b""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=_JPEG_QUALITY)
    return file.getvalue()


def picture_uris(pictures: Sequence[Picture], side: int = CARD_SIDE) -> list[str]:
    """Return each picture as an address that needs no file; an empty one where it cannot be shown."""
    paths = [None if isinstance(picture, bytes) else picture for picture in pictures]
    read = thumbnails(paths, side) if any(path is not None for path in paths) else [None] * len(paths)
    files = (
        picture if isinstance(picture, bytes) else jpeg(image)
        for picture, image in zip(pictures, read, strict=True)
    )
    return [data_uri(file, "jpeg") if file else "" for file in files]


def data_uri(data: bytes, kind: str) -> str:
    """Return an image file as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


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
        MedclipError: there is no such folder, or it is a folder itself.
    """
    if path.is_dir() or not path.absolute().parent.is_dir():
        raise MedclipError(f"cannot write {path}: name a file in a folder that exists")
