"""What a DICOM file must say before its pixels can be decoded, found or guessed where vendors left it out.

No preamble, no meta header, no transfer syntax, no SamplesPerPixel, names in lower case: the bytes tell.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from encoders.dicom_tables import numbers
from encoders.errors import ScanError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
PREAMBLE = 128
INSTALL = "pip install 'medclip-cli[dicom]'"
RLE = "1.2.840.10008.1.2.5"
# Names that this version of pydicom may not know yet (PS3.6 table A-1).
_SYNTAXES = {
    "1.2.840.10008.1.2.4.110": "JPEG XL Lossless",
    "1.2.840.10008.1.2.4.111": "JPEG XL JPEG Recompression",
    "1.2.840.10008.1.2.4.112": "JPEG XL",
    "1.2.840.10008.1.2.8.1": "Deflated Image Frame Compression",
}
# How a compressed frame begins, or has it in its head, and the syntax that is read by it.
_CODESTREAMS = (
    (rb"\xff\x4f\xff\x51", "1.2.840.10008.1.2.4.91"),  # JPEG 2000
    (rb"\xff\xd8.*?\xff\xf7", "1.2.840.10008.1.2.4.81"),  # JPEG-LS
    (rb"\xff\xd8.*?\xff\xc3", "1.2.840.10008.1.2.4.57"),  # JPEG Lossless
    (rb"\xff\xd8.*?\xff\xc1", "1.2.840.10008.1.2.4.51"),  # JPEG Extended
    (rb"\xff\xd8", "1.2.840.10008.1.2.4.50"),  # JPEG Baseline
    (rb"[\1-\x0f]\0\0\0\x40\0\0\0", RLE),
)
_HEAD = 4096
# PS3.3 C.7.6.3.1.2, by their letters and digits alone.
_PHOTOMETRIC = {
    re.sub(r"\W|_", "", name): name
    for name in (
        *("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422"),
        *("YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT", "ARGB", "CMYK", "HSV"),
    )
}


def begins_as_dicom(head: bytes) -> bool:
    """Whether 140 bytes from the start of a file are DICOM's, without the preamble or its letters, too."""
    at_zeros = not any(head[:PREAMBLE]) and _begins_as_elements(head[PREAMBLE:])
    return head[PREAMBLE : PREAMBLE + 4] == b"DICM" or _begins_as_elements(head) or at_zeros


def _begins_as_elements(head: bytes) -> bool:
    if head[:2] in (b"\2\0", b"\x08\0"):
        return head[3:4] == b"\0"
    # Big endian is always explicit: two letters follow the tag.
    return (
        head[:2] in (b"\0\2", b"\0\x08")
        and head[2:3] == b"\0"
        and re.match(rb"[A-Z]{2}", head[4:6]) is not None
    )


def read_header(stream: BinaryIO) -> Dataset:
    """Read a file, with the transfer syntax that its bytes show where it names none."""
    from pydicom import dcmread
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    head = stream.read(PREAMBLE + 12)
    stream.seek(0)
    if head[PREAMBLE : PREAMBLE + 4] != b"DICM" and not _begins_as_elements(head):
        stream = io.BytesIO(stream.read()[PREAMBLE:])
    header = dcmread(stream, force=True)
    if getattr(header, "file_meta", None) is None:
        header.file_meta = FileMetaDataset()
    if not header.file_meta.get("TransferSyntaxUID"):
        # pydicom guesses by the first element; pixels of undefined length are compressed ones (PS3.5 A.4).
        implicit, little = header.original_encoding
        syntax = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
        header.file_meta.TransferSyntaxUID = syntax if little else ExplicitVRBigEndian
        if "PixelData" in header and header["PixelData"].is_undefined_length:
            header.file_meta.TransferSyntaxUID = _compression(header.PixelData)
    return header


def _compression(encapsulated: bytes) -> str:
    from pydicom.encaps import get_frame

    frame = get_frame(encapsulated, 0, number_of_frames=1)[:_HEAD]
    known = (syntax for pattern, syntax in _CODESTREAMS if re.match(pattern, frame, re.DOTALL))
    found = next(known, None)
    if found is None:
        raise ScanError("the DICOM file names no transfer syntax, and its compressed pixels tell none")
    return found


def check_decoder(header: Dataset) -> None:
    """Name a missing decoder in one line, where pydicom takes ten: a `ScanError`, ``missing_decoder``."""
    from pydicom.pixels import get_decoder
    from pydicom.uid import JPEG2000TransferSyntaxes, JPEGBaseline8Bit, JPEGExtended12Bit

    syntax = header.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise ScanError(
            f"{_name_of(syntax)} cannot be decoded, even after {INSTALL}: save the file uncompressed",
            code="missing_decoder",
        ) from None
    if not syntax.is_compressed or (decoder.is_available and set(decoder.available_plugins) != {"pillow"}):
        return
    # Pillow alone decodes 8 bits of JPEG, and more than 8 of JPEG 2000 in grey.
    deep = max(int(header.get("BitsStored") or 8), _precision(header)) > 8
    colour = int(header.SamplesPerPixel) > 1
    unable = syntax in (JPEGBaseline8Bit, JPEGExtended12Bit) or (
        syntax in JPEG2000TransferSyntaxes and colour
    )
    if not decoder.is_available or (deep and unable):
        bits = " of more than 8 bits" if decoder.is_available else ""
        raise ScanError(f"{syntax.name}{bits} needs another decoder: {INSTALL}", code="missing_decoder")


def _name_of(syntax: str) -> str:
    name = _SYNTAXES.get(syntax) or getattr(syntax, "name", syntax)
    # A syntax of a vendor's own, as text that can be nothing but a number.
    if name != syntax:
        return f"{name} ({syntax})"
    return f"the transfer syntax {syntax}" if re.fullmatch(r"[0-9.]{1,64}", syntax) else "the transfer syntax"


def _precision(header: Dataset) -> int:
    """The bits of a JPEG frame as its own header says, 0 where it is none."""
    start = bytes(header.PixelData[: 16 * _HEAD]) if "PixelData" in header else b""
    found = re.search(rb"\xff[\xc0\xc1]\0.([\x08\x0c\x10])", start, re.DOTALL)
    return found[1][0] if found else 0


def complete(header: Dataset, fallbacks: list[str]) -> int:
    """Fill in what pydicom asks for and the header lacks (C.7.6.3.1), and name it in `fallbacks`.

    Returns how many bits lie unused below the stored ones: 4 where HighBit is 15 and 12 bits are stored.
    """
    name = str(header.get("PhotometricInterpretation") or "")
    known = _PHOTOMETRIC.get(re.sub(r"\W|_", "", name.upper()))
    samples = header.get("SamplesPerPixel")
    if not samples:
        grey = known is None or known.startswith(("MONOCHROME", "PALETTE"))
        samples = header.SamplesPerPixel = 1 if grey else 3
        fallbacks.append("no number of samples")
    known = known or ("MONOCHROME2" if samples == 1 else "RGB")
    if name != known:
        header.PhotometricInterpretation = known
        fallbacks.append("a photometric interpretation not as the standard writes it")
    if samples > 1 and header.get("PlanarConfiguration") is None:
        header.PlanarConfiguration = 0
    if not 1 <= int(header.get("BitsStored") or 0) <= int(header.BitsAllocated):
        header.BitsStored = header.BitsAllocated
    if header.get("PixelRepresentation") is None:
        header.PixelRepresentation = 0
    return _move_high_bit(header, fallbacks)


def _move_high_bit(header: Dataset, fallbacks: list[str]) -> int:
    high = header.get("HighBit")
    unused = 0 if high is None else int(high) + 1 - int(header.BitsStored)
    if unused <= 0 or int(high) >= int(header.BitsAllocated) or "PixelData" not in header:
        return 0
    # What codecs give is aligned already; RLE stores the bytes as they are.
    if header["PixelData"].is_undefined_length and header.file_meta.TransferSyntaxUID != RLE:
        return 0
    header.BitsStored = int(high) + 1
    fallbacks.append("a HighBit above BitsStored - 1")
    return unused


def padding_of(stored: NDArray[Any], header: Dataset) -> NDArray[np.bool_] | None:
    """Where the stored values ``[h, w]`` are padding (C.7.5.1.1.2), or None where nothing is."""
    if stored.dtype.kind == "f":
        names = ("FloatPixelPadding", "DoubleFloatPixelPadding")
        kind = next((name for name in names if numbers(header, f"{name}Value")), names[0])
    else:
        kind = "PixelPadding"
    values = [*numbers(header, f"{kind}Value")[:1], *numbers(header, f"{kind}RangeLimit")[:1]]
    if not numbers(header, f"{kind}Value") or not np.isfinite(values).all():
        return None
    if stored.dtype.kind != "f":
        values = [_as_stored(int(value), stored.dtype, int(header.BitsStored)) for value in values]
    low, high = min(values), max(values)
    return np.asarray((stored >= low) & (stored <= high))


def _as_stored(value: int, kind: np.dtype[Any], bits_stored: int) -> int:
    """Read a value of the other sign as the pixels are: 63536 is -2000 for signed pixels of 16 bits."""
    for bits in (8 * kind.itemsize, bits_stored):
        lowest = -(1 << (bits - 1)) if kind.kind == "i" else 0
        if not lowest <= value < lowest + (1 << bits):
            value = (value - lowest) % (1 << bits) + lowest
    return value


def functional_group(header: Dataset, index: int, name: str) -> Dataset | None:
    """A functional group of one frame of an enhanced file, else of all frames."""
    per_frame = header.get("PerFrameFunctionalGroupsSequence") or []
    shared = header.get("SharedFunctionalGroupsSequence") or []
    for group in (*per_frame[index : index + 1], *shared[:1]):
        if group.get(name):
            return group[name].value[0]
    return None
