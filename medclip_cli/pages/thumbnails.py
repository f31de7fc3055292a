"""Small pictures of image files, for pages and terminals."""

from __future__ import annotations

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 320  # pixels; sharp on a phone, some 15 kB as JPEG
_QUALITY = 80


def thumbnails(paths: Sequence[str | Path | None], side: int = SIDE) -> list[Image | None]:
    """Shrink image files, several at once; None stands for one that is not there or cannot be read."""
    with ThreadPoolExecutor(min(8, cpu_count() or 1)) as pool:
        return list(pool.map(lambda path: thumbnail(path, side), paths))


def thumbnail(path: str | Path | None, side: int = SIDE) -> Image | None:
    """Shrink one image file; None where there is none, or it cannot be read."""
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


def jpeg(picture: Image | None) -> bytes:
    """Return a picture as JPEG; nothing of None."""
    if picture is None:
        return b""
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
