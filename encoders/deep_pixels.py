"""Pixels that Pillow would cut down: colours of 16 bits, and TIFF values as their tags mean them.

Pillow keeps the high byte of a colour of 16 bits, which of 12-bit values leaves 16 greys. Read as if the
bytes of a word stood the other way round, it keeps the low byte: the two together are the value.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BITS, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 262, 339
_OTHER_ORDER = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}
_ALPHA_OF_GREY = "LA;16B"
_COLOURS = frozenset({"RGB", "RGBX", "RGBA", "RGBa"})

# Grey TIFFs that Pillow could read and has no line for: white is zero or 32 bits, in either byte order.
for _order, _16, _32 in ((b"II", "I;16", "I;32S"), (b"MM", "I;16B", "I;32BS")):
    for _white in (0, 1):
        for _key, _modes in (
            ((_order, _white, (1,), 1, (16,), ()), (_16, _16)),
            ((_order, _white, (2,), 1, (16,), ()), ("I", f"{_16}S")),
            ((_order, _white, (1,), 1, (32,), ()), ("I", _32)),
            ((_order, _white, (2,), 1, (32,), ()), ("I", _32)),
        ):
            TiffImagePlugin.OPEN_INFO.setdefault(_key, _modes)


def is_deep_colour(image: Image.Image) -> bool:
    """Whether an image that is opened and not yet loaded has colours, or grey and alpha, of 16 bits."""
    raw = _raw_mode(image)
    return raw == _ALPHA_OF_GREY or (raw[:-1].endswith(";16") and raw.split(";")[0] in _COLOURS)


def read_deep_colour(
    image: Image.Image, reopen: Callable[[], Image.Image]
) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None]:
    """Decode what `is_deep_colour` with the help of the same image, opened once more.

    Returns colours ``[h, w, 3]`` or greys ``[h, w]``, and alpha ``[h, w]`` where there is any.
    """
    raw = _raw_mode(image)
    if raw == _ALPHA_OF_GREY:
        words = np.ascontiguousarray(_load(image, "RGBA")).view(">u2").astype(np.uint16)
        return words[..., 0], words[..., 1]
    # Colours multiplied by their alpha lie on black already.
    straight = raw.replace("RGBa", "RGBA")
    values = np.asarray(_load(image, straight).astype(np.uint16) << 8, np.uint16)
    key = image.info.get("transparency")
    with reopen() as again:
        values |= _load(again, straight[:-1] + _OTHER_ORDER[straight[-1]])
    if straight != raw:
        return values[..., :3], None
    if values.shape[-1] == 4:
        return values[..., :3], values[..., 3]
    # One colour of a PNG may stand for what is clear.
    clear = (values == np.array(key, np.uint16)).all(axis=-1) if isinstance(key, tuple) else None
    return values, None if clear is None else np.where(clear, 0, 65_535).astype(np.uint16)


def _raw_mode(image: Image.Image) -> str:
    tiles = getattr(image, "tile", None)
    arguments: Any = tiles[0][3] if tiles else ""
    raw = arguments if isinstance(arguments, str) else arguments[0] if arguments else ""
    return raw if isinstance(raw, str) else ""


def _set_raw_mode(image: Any, raw: str) -> None:  # noqa: ANN401 - only files that Pillow opened have tiles
    for number, tile in enumerate(image.tile):
        arguments = raw if isinstance(tile[3], str) else (raw, *tile[3][1:])
        changed = (*tile[:3], arguments)
        # A named tuple from Pillow 11 on.
        image.tile[number] = tile._make(changed) if hasattr(tile, "_make") else changed


def _load(image: Image.Image, raw: str) -> NDArray[np.uint8]:
    _set_raw_mode(image, raw)
    image.load()
    with suppress(Exception):  # a damaged EXIF block says nothing about the pixels
        ImageOps.exif_transpose(image, in_place=True)
    return np.asarray(image)


def on_black(
    values: NDArray[np.uint16], alpha: NDArray[np.uint16], window: Callable[[NDArray[Any]], NDArray[np.uint8]]
) -> NDArray[np.uint8]:
    """Window the colours or greys that can be seen, and lay them onto black by their alpha."""
    seen = alpha > 0
    if values.ndim == 3:
        alpha, seen = alpha[..., None], seen[..., None]
    if not seen.any():
        return np.zeros(values.shape, np.uint8)
    # What cannot be seen must not move the window.
    lowest = np.min(values, where=seen, initial=65_535)
    top = int(alpha.max())
    # Where colours hold 12 bits, so does their alpha: all ones are opaque.
    top = top if top & (top + 1) == 0 else 65_535
    made = window(np.where(seen, values, lowest)) * (alpha.astype(np.float32) / top)
    return np.asarray(made.round(), dtype=np.uint8)


def grey_of(image: Image.Image) -> tuple[NDArray[Any], bool]:
    """The deep greys ``[h, w]`` of a loaded image, and whether its lowest value is white."""
    values, tags = np.asarray(image), getattr(image, "tag_v2", {})
    if image.mode == "I" and tags.get(_BITS) == (32,) and tags.get(_SAMPLE_FORMAT, (1,)) == (1,):
        # Pillow has no mode for unsigned 32 bits, and shows their upper half as below zero.
        values = values.view(np.uint32)
    return values, tags.get(_PHOTOMETRIC) == 0


def mend_byte_order(image: Image.Image) -> None:
    """Keep Pillow from swapping values that libtiff has swapped already."""
    raw = _raw_mode(image)
    tiles: Any = getattr(image, "tile", None)
    if raw in ("I;16BS", "I;32BS", "F;32BF") and tiles[0][0] == "libtiff" and sys.byteorder == "little":
        _set_raw_mode(image, raw.replace("B", ""))
