"""The tables and numbers of a DICOM header, as vendors write them.

What the standard asks (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.11.1, C.11.2) is read as it says. What vendors write
in its place is read as it was meant: a table that fills fewer bits than it says, a first value written
unsigned, numbers with a decimal comma. What cannot be used is None, and the caller goes on without it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

_WORD = 1 << 16


@dataclass(frozen=True)
class Table:
    """A lookup table: values below `first` take its first entry, values past the end its last."""

    first: int
    entries: NDArray[np.uint16]  # [n]
    bits: int  # that it says it fills, at most those of an entry
    top: int  # the entry that is white

    def look_up(self, values: NDArray[Any], entries: NDArray[Any]) -> NDArray[Any]:
        """Map whole numbers of any shape by entries ``[n, ...]``, these or others made of these."""
        wide = (
            values if values.dtype.kind == "f" else values.astype("i4" if values.dtype.itemsize < 4 else "i8")
        )
        return np.asarray(entries[np.clip(wide - self.first, 0, len(entries) - 1).astype(np.intp)])


def numbers(header: Dataset, name: str) -> list[float]:
    """The numbers of an element, not-a-number for a text that is none; empty where it is missing."""
    try:
        value = header.get(name)
    # pydicom refuses "2047,5"; the text as written is still there.
    except Exception:
        value = getattr(header.get_item(name), "value", None)
    if isinstance(value, bytes):
        value = value.decode("latin-1")
    if isinstance(value, str):
        value = value.split("\\")
    if value is None or not (isinstance(value, (list, tuple)) or hasattr(value, "append")):
        value = [value]
    return [_number(one) for one in value if one is not None and str(one).strip(" \0")]


def _number(value: object) -> float:
    text = str(value).strip(" \0")
    # A comma is the decimal point of half the world, and sets thousands apart where there is a point, too.
    text = text.replace(",", "") if "." in text else text.replace(",", ".")
    try:
        return float(text)
    except ValueError:
        return math.nan


def read_table(
    item: Dataset, name: str, *, least: float, byte_order: str, flat: bool = False
) -> Table | None:
    """Read the elements ``{name}Descriptor`` and ``{name}Data``; None where they are missing or empty.

    `least` is the lowest value to be looked up: below 0, the first value mapped is read as signed.
    `byte_order` of words is ``<`` or ``>``. A table of one value is None, too, unless it may be `flat`.
    """
    described = numbers(item, f"{name}Descriptor")
    if len(described) != 3 or not all(math.isfinite(number) for number in described):
        return None
    # A number of entries of 0 is 65,536; 65,536 less may be written in a signed field.
    length, first, bits = int(described[0]) % _WORD or _WORD, int(described[1]), int(described[2])
    entries, width = _entries(item, f"{name}Data", length, byte_order)
    if bits == 8 and width == 16:
        entries = _without_copies(entries)
    if entries.size == 0 or (entries.min() == entries.max() and not flat):
        return None
    if least < 0 and first >= _WORD // 2:
        first -= _WORD
    stated = min(bits, width) if bits > 0 else width
    return Table(first, entries, stated, white_of(int(entries.max()), stated))


def white_of(highest: int, bits: int) -> int:
    """The value that is white among values of so many bits: all ones, or the highest where that is far off.

    A table that says 16 bits and holds 12 would be nearly black, one that says 8 and holds 16 white. What
    says 8 and holds 7 is a dark picture.
    """
    full = (1 << min(bits, 16)) - 1
    return highest if highest > full or (bits > 8 and 2 * highest <= full) else full


def _entries(item: Dataset, name: str, length: int, byte_order: str) -> tuple[NDArray[np.uint16], int]:
    """The entries of a table, at most so many, and how many bits each takes in the file."""
    try:
        value = item.get(name)
        if value is not None and not isinstance(value, bytes):
            # Written as numbers (US), which pydicom has read.
            value = np.atleast_1d(np.asarray(value, np.int64)).astype(f"{byte_order}u2").tobytes()
    # Words of text, or a damaged element.
    except Exception:
        value = None
    if not value:
        return np.empty(0, np.uint16), 16
    value += bytes(len(value) % 2)
    words = np.frombuffer(value, f"{byte_order}u2").astype(np.uint16)
    if len(value) == length + length % 2 > 2:
        # Two 8-bit entries to a word, the first in its low byte (C.7.6.3.1.6).
        return words.astype("<u2").view(np.uint8)[:length].astype(np.uint16), 8
    return words[:length], 16


def _without_copies(entries: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """8-bit entries in words of which the high byte repeats the low one, or alone is filled."""
    low = np.asarray(entries & 0xFF, np.uint16)
    high = np.asarray(entries >> 8, np.uint16)
    return high if high.any() and (np.array_equal(low, high) or not low.any()) else entries
