"""A DICOM file to an 8-bit image, by the lookup tables of the standard.

Stored values go through the modality LUT or rescale, then the VOI LUT or window, then are turned over for
MONOCHROME1 (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2); without a window the percentiles serve. Of a multi-frame file
one frame is decoded, the middle one by default. Enhanced CT and MR keep these values by frame. No text of
the header leaves here: not even in an error, since any of it may be a patient's.

A table, window or slope that cannot be used does not cost the picture: it is read without, and says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from encoders.dicom_headers import PIXELS, check_decoder, complete, functional_group, padding_of, read_header
from encoders.dicom_tables import Table, numbers, read_table, white_of
from encoders.errors import ScanError
from encoders.images import PIXELS_IN_MEMORY, check_size, ignore_warnings_of, in_strips, window_to_8_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

log = logging.getLogger(__name__)

# A window that leaves fewer grey levels than this shows nothing.
FLAT_GREYS = 4


def read_dicom(stream: BinaryIO, *, frame: int | None = None) -> Image.Image:
    """Decode one frame of a DICOM file, counted from 0; the middle one by default.

    Returns:
        An image of mode ``L`` (monochrome) or ``RGB`` (colour and palette). What of its header could not be
        used is named in ``info["fallbacks"]``, a list that is empty for a good file.

    Raises:
        ScanError: with the code ``unreadable_image``, ``tiny_image``, ``too_large``, ``no_pixel_data`` (a
            report, a plan) or ``missing_decoder``, whose message names what to install.
    """
    ignore_warnings_of(r"pydicom|encoders\.dicom")
    try:
        return _image(read_header(stream), frame)
    except ScanError:
        raise
    # Damaged files make pydicom raise nearly anything, with values of the header in the message.
    except Exception as error:
        raise ScanError("the DICOM data is damaged or cut short: copy or export the file again") from error


def _image(header: Dataset, frame: int | None) -> Image.Image:
    from pydicom.pixels import pixel_array

    if not any(name in header for name in PIXELS) or "Rows" not in header:
        raise ScanError("the DICOM file holds no image", code="no_pixel_data")
    check_size(int(header.Columns), int(header.Rows))
    fallbacks: list[str] = []
    unused_bits = complete(header, fallbacks)
    check_decoder(header)
    frames = max(1, int(header.get("NumberOfFrames") or 1))
    index = frames // 2 if frame is None else frame
    if not 0 <= index < frames:
        raise ScanError(f"there is no frame {index}, the file has {frames}")
    with PIXELS_IN_MEMORY.taken(int(header.Columns), int(header.Rows)):
        stored = pixel_array(header, index=index)
        if unused_bits:
            stored = stored >> unused_bits
        if stored.ndim == 3:
            bits = int(header.BitsStored) - unused_bits
            top = white_of(int(stored.max()), bits) if bits > 8 else (1 << bits) - 1
            pixels = in_strips(lambda strip: _scale(strip, top), stored)
        else:
            pixels = _one_sample(_finite(stored), header, index, fallbacks)
    image = Image.fromarray(pixels)
    image.info["fallbacks"] = fallbacks
    if fallbacks:
        log.debug("not as the standard says: %s", "; ".join(fallbacks))
    return image


def _finite(stored: NDArray[Any]) -> NDArray[Any]:
    """Float pixels with not-a-number as the lowest value, and infinity as the lowest or highest."""
    if stored.dtype.kind != "f" or (usable := np.isfinite(stored)).all():
        return stored
    low, high = (stored[usable].min(), stored[usable].max()) if usable.any() else (0.0, 0.0)
    return np.asarray(np.nan_to_num(stored, nan=low, neginf=low, posinf=high))


def _one_sample(stored: NDArray[Any], header: Dataset, index: int, fallbacks: list[str]) -> NDArray[np.uint8]:
    if header.PhotometricInterpretation == "PALETTE COLOR":
        colours = _palette(stored, header)
        if colours is not None:
            return colours
        fallbacks.append("a palette that cannot be used")
    return _grey(stored, header, index, fallbacks)


def _grey(stored: NDArray[Any], header: Dataset, index: int, fallbacks: list[str]) -> NDArray[np.uint8]:
    padding = padding_of(stored, header)
    rescale, scaled_up = _modality(stored, header, index, fallbacks)
    window = _value_of_interest(stored, rescale, header, index, fallbacks)
    grey = in_strips(lambda strip: window(rescale(strip)), stored) if window is not None else None
    if grey is not None and _made_flat(grey, stored, padding):
        fallbacks.append("a window that makes the picture flat")
        grey = None
    if grey is None:
        # Values scaled up or down have the same percentiles.
        values = stored if scaled_up else rescale(stored)
        if padding is not None and not padding.all():  # it is no tissue and must not move the window
            values = np.where(padding, values[~padding].min(), values)
        grey = window_to_8_bit(values)
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    if padding is not None:
        # What lies outside the scanner's circle stays background, also when the image is inverted.
        grey = np.where(padding, np.uint8(0), grey)
    return grey


def _made_flat(grey: NDArray[np.uint8], stored: NDArray[Any], padding: NDArray[np.bool_] | None) -> bool:
    """Whether next to nothing is left of differences that the stored values have."""
    # A part tells of nearly every picture that it is not flat.
    for step in (8, 1):
        part = grey[::step, ::step]
        if padding is not None:
            part = part[~padding[::step, ::step]]
        if part.size and np.ptp(part) >= FLAT_GREYS:
            return False
    tissue = stored if padding is None else stored[~padding]
    if tissue.size == 0 or tissue.min() == tissue.max():
        return False
    # A picture that is nearly flat itself, noise around one value, is left so.
    spread = float(tissue.max()) - float(tissue.min())
    return part.min() == part.max() or stored.dtype.kind == "f" or spread >= 4 * FLAT_GREYS


def _modality(
    stored: NDArray[Any], header: Dataset, index: int, fallbacks: list[str]
) -> tuple[Callable[[NDArray[Any]], NDArray[Any]], bool]:
    """The modality LUT or rescale (C.11.1), and whether it is a rescale that keeps the order of values."""
    values = functional_group(header, index, "PixelValueTransformationSequence") or header
    if values.get("ModalityLUTSequence"):
        table = _table_of(values.ModalityLUTSequence, -1.0 if stored.dtype.kind == "i" else 0.0, header)
        if table is not None:
            return lambda strip: table.look_up(strip.round(), table.entries), False
        fallbacks.append("a modality table that cannot be used")
    slope, intercept = numbers(values, "RescaleSlope"), numbers(values, "RescaleIntercept")
    if not slope or not intercept:
        return lambda strip: strip, True
    a, b = slope[0], intercept[0]
    if not math.isfinite(a) or a == 0 or not math.isfinite(b):
        fallbacks.append("a rescale slope or intercept that cannot be used")
        a, b = a if math.isfinite(a) and a else 1.0, b if math.isfinite(b) else 0.0
    if (a, b) == (1, 0):
        return lambda strip: strip, True
    return lambda strip: strip.astype(np.float64) * a + b, a > 0


def _table_of(items: Sequence[Dataset], least: float, header: Dataset) -> Table | None:
    """The first table of a sequence that can be used; vendors write empty items."""
    order = "<" if header.original_encoding[1] is not False else ">"
    tables = (read_table(item, "LUT", least=least, byte_order=order) for item in items)
    return next((table for table in tables if table is not None), None)


def _value_of_interest(
    stored: NDArray[Any],
    rescale: Callable[[NDArray[Any]], NDArray[Any]],
    header: Dataset,
    index: int,
    fallbacks: list[str],
) -> Callable[[NDArray[Any]], NDArray[np.uint8]] | None:
    """The VOI LUT or window of the file (C.11.2), or None where it has neither that can be used."""
    if header.get("VOILUTSequence"):
        # The first value mapped is signed where the values are: a rescale may make them so, a table not.
        ends = rescale(np.array([stored.min(), stored.max()], stored.dtype))
        signed = stored.dtype.kind == "i" and ends.dtype.kind != "u"
        table = _table_of(header.VOILUTSequence, -1.0 if signed else float(ends.min()), header)
        if table is not None:
            greys = _scale(table.entries, table.top)
            return lambda values: table.look_up(values.round(), greys)
        fallbacks.append("a VOI table that cannot be used")
    wanted = False
    for source in (functional_group(header, index, "FrameVOILUTSequence"), header):
        if source is None:
            continue
        centres, widths = numbers(source, "WindowCenter"), numbers(source, "WindowWidth")
        for centre, width in zip(centres, widths, strict=False):
            if math.isfinite(centre) and math.isfinite(width) and width > 0:
                function = str(source.get("VOILUTFunction") or "LINEAR").strip().upper()
                if width == 1 and (rescale(stored[::8, ::8]) % 1).any():
                    # A threshold between whole numbers would be all that is left of values from 0 to 1.
                    function = "LINEAR_EXACT" if function == "LINEAR" else function
                return lambda values: apply_window(values, centre, width, function)
            wanted = True
    if wanted:
        fallbacks.append("a window that cannot be used")
    return None


def apply_window(values: NDArray[Any], centre: float, width: float, function: str) -> NDArray[np.uint8]:
    """Map values of any shape, after the modality LUT, onto uint8 0 to 255 by a window of a width above 0.

    `function` is ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID`` (PS3.3 C.11.2.1.2 and C.11.2.1.3).
    """
    values = values.astype(np.float64)
    if function == "SIGMOID":
        scaled = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -500, 500)))
    elif function == "LINEAR_EXACT" or width < 1:
        # LINEAR is for widths of 1 and more: narrower windows are of real numbers (RT images, ADC, SUV).
        scaled = (values - centre) / width + 0.5
    elif width == 1:
        scaled = (values > centre - 0.5).astype(np.float64)
    else:
        scaled = (values - (centre - 0.5)) / (width - 1) + 0.5
    return np.asarray((scaled.clip(0, 1) * 255).round(), dtype=np.uint8)


def _palette(stored: NDArray[Any], header: Dataset) -> NDArray[np.uint8] | None:
    """Colours ``[h, w, 3]`` by the palette (C.7.6.3.1.5, C.7.6.3.1.6); None where it cannot be used."""
    if "RedPaletteColorLookupTableData" not in header:
        return _segmented_palette(stored, header)
    order = "<" if header.original_encoding[1] is not False else ">"
    least = -1.0 if stored.dtype.kind == "i" else 0.0
    tables = [
        read_table(header, f"{colour}PaletteColorLookupTable", least=least, byte_order=order, flat=True)
        for colour in ("Red", "Green", "Blue")
    ]
    first = tables[0]
    if first is None or any(table is None or len(table.entries) != len(first.entries) for table in tables):
        return None
    entries = np.stack([table.entries for table in tables if table is not None], axis=-1)
    if np.array_equal(entries.min(axis=0), entries.max(axis=0)):
        return None
    colours = _scale(entries, white_of(int(entries.max()), first.bits))
    return first.look_up(stored, colours)


def _segmented_palette(stored: NDArray[Any], header: Dataset) -> NDArray[np.uint8] | None:
    from pydicom.pixels import apply_color_lut

    try:
        colours = apply_color_lut(stored, header)[..., :3]
    except Exception:
        return None
    return _scale(colours, white_of(int(colours.max()), 8 * colours.dtype.itemsize))


def _scale(values: NDArray[Any], top: int) -> NDArray[np.uint8]:
    """Map 0 to `top` onto 0 to 255."""
    if top <= 255:
        return np.asarray(values.astype(np.float32) * (255 / max(1, top)), dtype=np.uint8)
    return np.asarray((values / float(top) * 255).round().clip(0, 255), dtype=np.uint8)
