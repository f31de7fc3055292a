"""Looking at every image once: is it there, does it decode, does it show anything, have we seen it."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from PIL import Image

from medclip_cli.cleaning.hashes import LEAST_SIDE, hash_miniatures, miniature
from medclip_cli.cleaning.rules import Reason
from medclip_cli.errors import MedclipError


class ReadScan(Protocol):
    """Turns an open file into a picture; its errors may carry a reason ``code``."""

    def __call__(self, source: BinaryIO, *, least_side: int | None = None) -> Image.Image:
        """Decode a file to its end; a JPEG as small as twice `least_side`, which spares half of the work."""


# A picture whose brightest and darkest grey differ by less shows nothing; JPEG alone adds a step or two.
BLANK_GREY_RANGE = 4

# The whole file is read to be hashed; `encoders.images` has the same limit.
MAX_FILE_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image that decodes.

    Attributes:
        sha256: of the file's bytes, 64 hex digits.
        dhash: difference hash of the picture, 16 hex digits.
        fine_hash: the same at 16 x 16 in both directions, 128 hex digits: it tells two chest X-rays apart.
    """

    sha256: str
    dhash: str
    fine_hash: str


def examine_images(
    read_image: ReadScan, paths: Sequence[Path], root: Path | None = None
) -> list[ImageFacts | Reason]:
    """Decode image files and fingerprint them, or say why each is left out.

    Args:
        read_image: turns an open file into a picture.
        paths: the image files; one picture at a time is in memory.
        root: a link that leads out of this folder (already resolved) is refused.
    """
    looks = [_look(read_image, path, root) for path in paths]
    # Picture by picture, these few comparisons would cost a quarter of what decoding does.
    hashes = iter(hash_miniatures([look.miniature for look in looks if isinstance(look, _Look)]))
    return [look if isinstance(look, Reason) else ImageFacts(look.sha256, *next(hashes)) for look in looks]


def examine_image(read_image: ReadScan, path: Path, root: Path | None = None) -> ImageFacts | Reason:
    """Decode one image file and fingerprint it, or say why it is left out."""
    return examine_images(read_image, [path], root)[0]


def is_blank(picture: Image.Image) -> bool:
    """Whether every channel of the picture is one flat value, give or take compression noise."""
    extrema = picture.getextrema()
    # One pair of numbers for a grey picture, one a channel for others.
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(float(high) - float(low) < BLANK_GREY_RANGE for low, high in pairs)


class _Look(NamedTuple):
    """What one look at a picture gave, before hashing."""

    sha256: str
    miniature: Image.Image


def _look(read_image: ReadScan, path: Path, root: Path | None) -> _Look | Reason:
    try:
        status = os.lstat(path)
        is_link = stat.S_ISLNK(status.st_mode)
        if root is not None and not _lies_in(path, root, is_link):
            return Reason("unsafe_path", "a link leads out of the image root")
        status = os.stat(path) if is_link else status
        if not stat.S_ISREG(status.st_mode):
            return _no_file(status)
        if status.st_size > MAX_FILE_BYTES:
            return Reason("too_large", f"the file has more than {MAX_FILE_BYTES:,} bytes")
        content = path.read_bytes()
        small = miniature(read_image(BytesIO(content), least_side=LEAST_SIDE))
        # Averaging cannot widen a range of greys: only what is flat when small is worth a whole look.
        if is_blank(small) and is_blank(read_image(BytesIO(content))):
            return Reason("blank_image", "one flat grey")
    except (FileNotFoundError, NotADirectoryError):
        return Reason("missing_image")
    except MedclipError as error:
        return Reason(getattr(error, "code", "unreadable_image"), str(error))
    except (OSError, ValueError) as error:
        return Reason("unreadable_image", getattr(error, "strerror", None) or "not readable")
    return _Look(hashlib.sha256(content).hexdigest(), small)


def _no_file(status: os.stat_result) -> Reason:
    # Opening a named pipe would wait for a writer for ever, and a device never ends.
    if stat.S_ISDIR(status.st_mode):
        return Reason("missing_image")
    return Reason("unreadable_image", "a pipe or a device, not a file")


def _lies_in(path: Path, root: Path, is_link: bool) -> bool:
    """Whether a file is inside a folder once all links are followed; the folder's are looked up once."""
    if is_link:
        return Path(os.path.realpath(path)).is_relative_to(root)
    return _folder_lies_in(os.path.dirname(path), root)


@lru_cache(maxsize=4096)
def _folder_lies_in(folder: str, root: Path) -> bool:
    return Path(os.path.realpath(folder)).is_relative_to(root)
