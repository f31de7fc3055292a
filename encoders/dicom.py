"""A DICOM file to an 8-bit image, by the lookup tables of the standard.

Stored values go through the modality LUT or rescale, then the VOI LUT or window, then are turned over for
MONOCHROME1 (PS3.3 C.11.1, C.11.2, C.7.6.3.1.2); without a window the percentiles serve. Of a multi-frame file
one frame is decoded, the middle one by default. Enhanced CT and MR keep these values by frame. No text of
the header leaves here: not even in an error, since any of it may be a patient's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from PIL import Image

from encoders.errors import ScanError
from encoders.images import PIXELS_IN_MEMORY, check_size, in_strips, window_to_8_bit

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_NOISY_MODULES = r"pydicom|encoders\.dicom"


def read_dicom(stream: BinaryIO, *, frame: int | None = None) -> Image.Image:
    """Decode one frame of a DICOM file, counted from 0; the middle one by default.

    Returns:
        An image of mode ``L`` (monochrome) or ``RGB`` (colour and palette).

    Raises:
        ScanError: with the code ``unreadable_image``, ``tiny_image``, ``too_large``, ``no_pixel_data`` (a
            report, a plan) or ``missing_decoder``, whose message names what to install.
    """
    from pydicom import dcmread

    _quiet_pydicom()
    try:
        header = dcmread(stream, force=True)
        return _image(header, frame)
    except ScanError:
        raise
    # Damaged files make pydicom raise nearly anything, with values of the header in the message.
    except Exception as error:
        raise ScanError(f"the DICOM data is damaged or cut short ({type(error).__name__})") from error


def _image(header: Dataset, frame: int | None) -> Image.Image:
    from pydicom.pixels import pixel_array

    if "PixelData" not in header or "Rows" not in header:
        raise ScanError("the DICOM file holds no image", code="no_pixel_data")
    check_size(int(header.Columns), int(header.Rows))
    _check_decoder(header)
    frames = max(1, int(header.get("NumberOfFrames") or 1))
    index = frames // 2 if frame is None else frame
    if not 0 <= index < frames:
        raise ScanError(f"there is no frame {index}, the file has {frames}")
    with PIXELS_IN_MEMORY.taken(int(header.Columns), int(header.Rows)):
        stored = pixel_array(header, index=index)
        if stored.ndim == 3:
            bits = int(header.BitsStored)
            return Image.fromarray(in_strips(lambda strip: _scale(strip, bits), stored))
        if header.PhotometricInterpretation == "PALETTE COLOR":
            return Image.fromarray(_palette(stored, header))
        return Image.fromarray(_grey(stored, header, index))


def _check_decoder(header: Dataset) -> None:
    """Name a missing decoder in one line, where pydicom takes ten."""
    from pydicom.pixels import get_decoder

    syntax = header.file_meta.TransferSyntaxUID if "TransferSyntaxUID" in header.file_meta else None
    if syntax is None or not syntax.is_compressed:
        return
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        raise ScanError(f"pydicom cannot decode {syntax.name}", code="missing_decoder") from None
    if not available:
        raise ScanError(
            f"{syntax.name} needs another decoder: pip install 'medclip-cli[dicom]'", code="missing_decoder"
        )


def _grey(stored: NDArray[Any], header: Dataset, index: int) -> NDArray[np.uint8]:
    padding = _padding(stored, header)
    window = _value_of_interest(header, index)
    if window is not None:
        grey = in_strips(lambda strip: window(_rescale(strip, header, index)), stored)
    else:
        # Values scaled up or down have the same percentiles.
        scaled_up = _linear(header, index)[0] > 0
        values = stored if scaled_up else _rescale(stored, header, index)
        if padding is not None and not padding.all():  # it is no tissue and must not move the window
            values = np.where(padding, values[~padding].min(), values)
        grey = window_to_8_bit(values)
    if header.PhotometricInterpretation == "MONOCHROME1":
        grey = 255 - grey
    if padding is not None:
        # What lies outside the scanner's circle stays background, also when the image is inverted.
        grey = np.where(padding, np.uint8(0), grey)
    return grey


def _rescale(stored: NDArray[Any], header: Dataset, index: int) -> NDArray[Any]:
    from pydicom.pixels import apply_modality_lut

    slope, intercept = _linear(header, index)
    if math.isnan(slope):
        # The table's own byte order is the file's, which only the whole header knows.
        return np.asarray(apply_modality_lut(stored, header))
    return stored if (slope, intercept) == (1, 0) else stored.astype(np.float64) * slope + intercept


def _linear(header: Dataset, index: int) -> tuple[float, float]:
    """Slope and intercept of the modality transform; not-a-number where it is a table."""
    values = _functional_group(header, index, "PixelValueTransformationSequence") or header
    if values.get("ModalityLUTSequence"):
        return math.nan, math.nan
    slope, intercept = values.get("RescaleSlope"), values.get("RescaleIntercept")
    return (1, 0) if slope is None or intercept is None else (float(slope), float(intercept))


def _value_of_interest(header: Dataset, index: int) -> Callable[[NDArray[Any]], NDArray[np.uint8]] | None:
    """The VOI LUT or window of the file, or None where it has neither."""
    from pydicom.pixels import apply_voi

    if header.get("VOILUTSequence"):
        bits = int(header.VOILUTSequence[0].LUTDescriptor[2])
        return lambda values: _scale(apply_voi(values.round().astype(np.int64), header), bits)
    window = _functional_group(header, index, "FrameVOILUTSequence") or header
    centre, width = _first(window.get("WindowCenter")), _first(window.get("WindowWidth"))
    if centre is None or width is None or width <= 0:
        return None
    function = str(window.get("VOILUTFunction") or "LINEAR")
    return lambda values: apply_window(values, centre, width, function)


def apply_window(values: NDArray[Any], centre: float, width: float, function: str) -> NDArray[np.uint8]:
    """Map values of any shape, after the modality LUT, onto uint8 0 to 255 by a window of a width above 0.

    `function` is ``LINEAR``, ``LINEAR_EXACT`` or ``SIGMOID`` (PS3.3 C.11.2.1.2 and C.11.2.1.3).
    """
    values = values.astype(np.float64)
    if function == "SIGMOID":
        scaled = 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -500, 500)))
    elif function == "LINEAR_EXACT":
        scaled = (values - centre) / width + 0.5
    else:
        # A width of one is a threshold.
        scaled = (values - (centre - 0.5)) / max(width - 1, 1e-9) + 0.5
    return np.asarray((scaled.clip(0, 1) * 255).round(), dtype=np.uint8)


def _padding(stored: NDArray[Any], header: Dataset) -> NDArray[np.bool_] | None:
    value = header.get("PixelPaddingValue")
    if value is None:
        return None
    limit = header.get("PixelPaddingRangeLimit", value)
    low, high = sorted((int(value), int(limit)))
    return np.asarray((stored >= low) & (stored <= high))


def _palette(stored: NDArray[Any], header: Dataset) -> NDArray[np.uint8]:
    from pydicom.pixels import apply_color_lut

    colours = apply_color_lut(stored, header)[..., :3]
    return _scale(colours, 8 * colours.dtype.itemsize)


def _scale(values: NDArray[Any], bits: int) -> NDArray[np.uint8]:
    if bits <= 8:
        return np.asarray(values.astype(np.float32) * (255 / (2**bits - 1)), dtype=np.uint8)
    return np.asarray((values / (2.0**bits - 1) * 255).round().clip(0, 255), dtype=np.uint8)


def _functional_group(header: Dataset, index: int, name: str) -> Dataset | None:
    """A functional group of one frame of an enhanced file, else of all frames."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for group in (*per_frame[index : index + 1], *shared[:1]):
        if group.get(name):
            return group[name].value[0]
    return None


def _first(value: Any) -> float | None:  # noqa: ANN401 - pydicom gives a number, a text, a list of them, or None
    values = value if isinstance(value, (list, tuple)) or hasattr(value, "append") else [value]
    return float(values[0]) if values and values[0] not in (None, "") else None


def _quiet_pydicom() -> None:
    """Ignore pydicom's warnings for the rest of the process, as `encoders.images` does Pillow's."""
    if not any(getattr(entry[3], "pattern", None) == _NOISY_MODULES for entry in warnings.filters):
        warnings.filterwarnings("ignore", module=_NOISY_MODULES)
