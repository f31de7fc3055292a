"""An image file to 8-bit pixels: the one place that opens image files (Pillow and NumPy only).

16-bit PNGs, RGBA screenshots, palette GIFs, CMYK JPEGs, rotated phone photographs, half downloads and text
files named ``.jpg``: each becomes an ``L`` or ``RGB`` image here, or a ``ScanError`` that says why not.
"""

from __future__ import annotations

import os
import re
import stat
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from encoders.deep_pixels import grey_of, is_deep_colour, mend_byte_order, on_black, read_deep_colour
from encoders.dicom_headers import begins_as_dicom
from encoders.errors import ScanError, first_line

# The formats Pillow may decode, whatever a file is named. Not EPS: on those Pillow runs Ghostscript.
FORMATS = ("PNG", "JPEG", "BMP", "DIB", "GIF", "PPM", "TIFF", "WEBP", "JPEG2000")  # JPEG opens MPO, too
READABLE = "PNG, JPEG, TIFF, WebP, BMP, GIF, PGM and DICOM are read"
# How files begin that are often taken for images.
_SIGNATURES = (
    (rb"%PDF", "a PDF document"),
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript (EPS)"),
    (rb"PK[\3\5]", "a ZIP archive"),
    (rb"\x1f\x8b", "gzip-compressed, as NIfTI volumes (.nii.gz) are"),
    (rb"(?s).{344}n[i+][12]\0", "a NIfTI volume"),
    (rb"(?s).{4}ftyp(hei|hev|mif1|msf1)", "a HEIC photograph"),
    (rb"(?s).{4}ftypavi[fs]", "an AVIF image"),
    (rb"(?s).{4}ftyp", "an MP4 video"),
    (rb"(?s)RIFF.{4}AVI", "an AVI video"),
    (rb"NRRD", "an NRRD volume"),
    (rb"\x89HDF", "an HDF5 file"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"8BPS", "a Photoshop file"),
    (rb"(?i)\s*<(!doctype html|html)", "a web page"),
    (rb"(?i)\s*<(\?xml|svg)", "XML or SVG"),
    (rb"version https://git-lfs", "a Git LFS pointer, not the file itself: run git lfs pull"),
)

MAX_SCAN_PIXELS = 100_000_000
MAX_SCAN_BYTES = 1 << 30
MIN_SCAN_SIDE = 16
# The share of darkest and brightest pixels a 16-bit window may cut off: a few hot pixels or a burnt-in
# marker must not squeeze the tissue into a handful of grey levels.
WINDOW_TAIL = 0.001
STRIP_ROWS = 256
SAMPLED_PIXELS = 32_000_000

_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})
_GREY_MODES = frozenset({"1", "L"})
_ALPHA_MODES = frozenset({"LA", "La", "PA", "RGBA", "RGBa"})


def read_image(source: Path | str | BinaryIO, *, least_side: int | None = None) -> Image.Image:
    """Open and fully decode one image.

    Args:
        source: a path, or a binary stream at the start of an image.
        least_side: the caller will shrink the image to this side anyway, so a JPEG may be decoded at a
            half, a quarter or an eighth of its size as long as both sides stay at least twice this; None
            decodes every pixel.

    Returns:
        An image of mode ``L`` (grey) or ``RGB``: upright by its EXIF rotation, transparency flattened onto
        black, more than 8 bits windowed between percentiles, the first frame of an animation.

    Raises:
        ScanError: with the code ``missing_image``, ``unreadable_image``, ``tiny_image`` or ``too_large``.
    """
    ignore_warnings_of(r"PIL\.")
    if not isinstance(source, (str, Path)):
        return _decode(source, least_side)
    try:
        status = os.stat(source)
        # Opening a named pipe would wait for a writer for ever, and a device never ends.
        if not stat.S_ISREG(status.st_mode):
            raise ScanError("not a regular file but a folder, a pipe or a device")
        if status.st_size > MAX_SCAN_BYTES:
            raise ScanError(
                f"{status.st_size:,} bytes is over the limit of {MAX_SCAN_BYTES:,}", code="too_large"
            )
        with Path(source).open("rb") as stream:
            return _decode(stream, least_side)
    # No name of a file holds a NUL.
    except (FileNotFoundError, ValueError):
        raise ScanError("there is no such file", code="missing_image") from None
    except OSError as error:
        raise ScanError(f"the file cannot be read ({error.strerror or error})") from error


def is_dicom(stream: BinaryIO) -> bool:
    """Whether a stream holds DICOM, by its preamble or, without one, by its first tag; it is rewound."""
    head = stream.read(140)
    stream.seek(0)
    return begins_as_dicom(head)


def _decode(stream: BinaryIO, least_side: int | None) -> Image.Image:
    if is_dicom(stream):
        from encoders.dicom import read_dicom

        return read_dicom(stream)
    try:
        # A bomb is judged by check_size, from the header, with a limit that does not depend on Pillow's.
        with Image.open(stream, formats=FORMATS) as image:
            check_size(*image.size)
            if least_side is not None:
                image.draft(None, (2 * least_side, 2 * least_side))
            with PIXELS_IN_MEMORY.taken(*image.size):
                if is_deep_colour(image):
                    return _deep_colour(image, stream)
                mend_byte_order(image)
                image.load()
                with suppress(Exception):  # a damaged EXIF block says nothing about the pixels
                    ImageOps.exif_transpose(image, in_place=True)
                return _to_8_bit(image)
    except ScanError:
        raise
    except UnidentifiedImageError:
        raise ScanError(_why_unidentified(stream)) from None
    except Image.DecompressionBombError:
        raise ScanError(f"it has more than {MAX_SCAN_PIXELS:,} pixels", code="too_large") from None
    # Pillow's plugins raise nearly anything on damaged files: SyntaxError, struct.error, EOFError ...
    except Exception as error:
        said = first_line(error) if str(error).strip() else ""
        raise ScanError(f"the image data is damaged or cut short{f' ({said})' if said else ''}") from error


# So many threads may decode images of this share of the memory, or smaller ones, without asking for it.
SMALL_SHARE = 64


class PixelBudget:
    """Lets threads decode side by side as long as their images together fit in memory."""

    def __init__(self, pixels: int) -> None:
        """Allow so many pixels at a time, or one larger image alone."""
        self._pixels, self._taken = pixels, 0
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, width: int, height: int) -> Iterator[None]:
        """Wait until there is room for an image, and keep it while the block runs."""
        pixels = width * height
        if pixels * SMALL_SHARE <= self._pixels:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()


# On the way to 8 bits a pixel takes up to a dozen bytes.
PIXELS_IN_MEMORY = PixelBudget(MAX_SCAN_PIXELS)


def check_size(width: int, height: int) -> None:
    """Refuse an image by the size its header states, before anything is decoded.

    Raises:
        ScanError: with the code ``too_large`` or ``tiny_image``.
    """
    if width * height > MAX_SCAN_PIXELS:
        raise ScanError(
            f"{width} x {height} pixels is over the limit of {MAX_SCAN_PIXELS:,} pixels", code="too_large"
        )
    if min(width, height) < MIN_SCAN_SIDE:
        raise ScanError(
            f"{width} x {height} pixels is too small: the shorter side needs at least {MIN_SCAN_SIDE} pixels",
            code="tiny_image",
        )


def _deep_colour(image: Image.Image, stream: BinaryIO) -> Image.Image:
    def reopen() -> Image.Image:
        stream.seek(0)
        return Image.open(stream, formats=FORMATS)

    values, alpha = read_deep_colour(image, reopen)
    return Image.fromarray(
        window_to_8_bit(values) if alpha is None else on_black(values, alpha, window_to_8_bit)
    )


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Convert any Pillow mode to ``L`` or ``RGB``."""
    if image.mode in _DEEP_MODES:
        values, white_is_lowest = grey_of(image)
        grey = window_to_8_bit(values)
        # Pillow turns these over at 8 bits, and leaves deeper values as they are.
        return Image.fromarray(255 - grey if white_is_lowest else grey)
    if image.mode in _ALPHA_MODES or "transparency" in image.info:
        return _flatten(image)
    target = "L" if image.mode in _GREY_MODES else "RGB"
    # Most scans are in it already, and a copy of a whole radiograph is not free.
    return image if image.mode == target else image.convert(target)


def _flatten(image: Image.Image) -> Image.Image:
    """Lay an image with transparency onto black, the background of scans; strip by strip, to save memory."""
    width, height = image.size
    flat = Image.new("L" if image.mode in ("L", "1", "LA", "La") else "RGB", image.size)
    for top in range(0, height, STRIP_ROWS):
        bottom = min(top + STRIP_ROWS, height)
        solid = image.crop((0, top, width, bottom)).convert("RGBA")
        canvas = Image.new("RGBA", solid.size, (0, 0, 0, 255))
        flat.paste(Image.alpha_composite(canvas, solid).convert(flat.mode), (0, top))
    return flat


def window_to_8_bit(values: np.ndarray) -> np.ndarray:
    """Map ``[h, w]`` of any number type linearly onto uint8 0 to 255 between low and high percentiles.

    Values outside the window become 0 or 255, not-a-number 0; a constant image becomes 0.
    """
    low, high = _window(values)
    if high <= low:
        return np.zeros(values.shape, dtype=np.uint8)
    # Large numbers of 32 bits differ by less than a float of 32 bits can tell.
    kind = np.dtype("f8" if high - low < 1e-4 * max(abs(low), abs(high)) else "f4")

    def scale(strip: np.ndarray) -> np.ndarray:
        scaled = (strip.astype(kind) - low) * (255.0 / (high - low))
        np.nan_to_num(scaled, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
        return np.asarray(scaled.round().clip(0, 255), dtype=np.uint8)

    return in_strips(scale, values)


def in_strips(convert: Callable[[np.ndarray], np.ndarray], values: np.ndarray) -> np.ndarray:
    """Convert ``[h, ...]`` to uint8 some rows at a time: in between they are several times as large."""
    made = np.empty(values.shape, dtype=np.uint8)
    for start in range(0, len(values), STRIP_ROWS):
        made[start : start + STRIP_ROWS] = convert(values[start : start + STRIP_ROWS])
    return made


def _window(values: np.ndarray) -> tuple[float, float]:
    # A part of a very large image is enough: its percentiles need a sorted copy.
    sample = values.reshape(-1)[:: 1 + values.size // SAMPLED_PIXELS]
    finite = sample[np.isfinite(sample)] if values.dtype.kind == "f" else sample
    if finite.size == 0:
        return 0.0, 0.0
    if values.dtype.itemsize == 2 and values.dtype.kind == "u":
        # Counting 65,536 levels beats sorting the pixels of a full-size radiograph by an order of magnitude.
        cumulated = np.bincount(finite, minlength=65_536).cumsum()
        low, high = np.searchsorted(
            cumulated, (WINDOW_TAIL * finite.size, (1 - WINDOW_TAIL) * finite.size), side="left"
        )
    else:
        low, high = np.quantile(finite, (WINDOW_TAIL, 1 - WINDOW_TAIL))
    if high <= low:
        low, high = finite.min(), finite.max()
    return float(low), float(high)


def _why_unidentified(stream: BinaryIO) -> str:
    try:
        stream.seek(0)
        head = stream.read(512)
    except (OSError, ValueError):
        head = b"?"
    if not head:
        return "the file is empty"
    kind = next((kind for pattern, kind in _SIGNATURES if re.match(pattern, head)), None)
    return f"not an image: {READABLE}" if kind is None else f"not an image but {kind}: {READABLE}"


def ignore_warnings_of(modules: str) -> None:
    """Ignore the warnings of some modules (a regular expression) for the rest of the process.

    Scans are decoded in threads, where ``warnings.catch_warnings`` would swap the filters under another
    thread's feet. What Pillow and pydicom warn of is either harmless here or raised as a ScanError.
    """
    if not any(getattr(entry[3], "pattern", None) == modules for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=modules)
