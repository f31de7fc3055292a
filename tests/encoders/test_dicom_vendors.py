"""DICOM as vendors write it: one table of conditions, each beside the same picture in a good file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from encoders.dicom import apply_window
from encoders.dicom_headers import begins_as_dicom
from encoders.dicom_tables import read_table
from encoders.errors import ScanError
from encoders.images import read_image
from tests.encoders.drawn_dicom import as_written, item, save, write_dicom

RAMP = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
SIGNED = RAMP.astype(np.int16) - 2048
STRAIGHT = np.linspace(0, 255, RAMP.size).reshape(RAMP.shape)
WINDOW = {"WindowCenter": "2048", "WindowWidth": "4096"}
STEPS = np.arange(4096, dtype=np.uint16)


def read(path: Path) -> np.ndarray:
    return np.asarray(read_image(path)).astype(float)


def table(entries: np.ndarray, first: int, bits: int, kind: str = "OW") -> pydicom.Dataset:
    """A table of words, or of numbers with the kind US."""
    made = item()
    made.add_new("LUTDescriptor", "US", [len(entries) % 65_536, first, bits])
    data = entries.tobytes() if kind == "OW" else entries.tolist()
    made.add_new("LUTData", kind, data)
    return made


EMPTY = item()
EMPTY.add_new("LUTDescriptor", "US", None)
EMPTY.add_new("LUTData", "OW", None)
CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "a width under 1": (
        RAMP,
        {"RescaleSlope": "0.0001", "RescaleIntercept": "0", "WindowCenter": "0.205", "WindowWidth": "0.41"},
    ),
    "a width of 1 for values from 0 to 1": (
        RAMP,
        {"RescaleSlope": "0.0002442", "RescaleIntercept": "0", "WindowCenter": "0.5", "WindowWidth": "1"},
    ),
    "a window that is no number": (RAMP, {"WindowCenter": "NaN", "WindowWidth": "NaN"}),
    "an infinite width": (RAMP, {"WindowCenter": "0", "WindowWidth": "inf"}),
    "a window in words": (RAMP, {"WindowCenter": "auto", "WindowWidth": "auto"}),
    "a window with decimal commas": (RAMP, {"WindowCenter": "2047,5", "WindowWidth": "4095,0"}),
    "the second window is the first that can be used": (
        RAMP,
        {"WindowCenter": "NaN\\2048", "WindowWidth": "0\\4096"},
    ),
    "a window far above the picture": (RAMP, {"WindowCenter": "50000", "WindowWidth": "100"}),
    "a slope with a decimal comma": (
        RAMP,
        {"RescaleSlope": "1,0", "RescaleIntercept": "-1024,0", "WindowCenter": "1024", "WindowWidth": "4096"},
    ),
    "a slope of 0": (RAMP, {"RescaleSlope": "0", "RescaleIntercept": "0", **WINDOW}),
    "a slope in words": (RAMP, {"RescaleSlope": "none", "RescaleIntercept": "0"}),
    "an infinite slope": (RAMP, {"RescaleSlope": "inf", "RescaleIntercept": "0"}),
    "a VOI table of 16 bits that holds 12": (RAMP, {"VOILUTSequence": [table(STEPS, 0, 16)]}),
    "a VOI table of 16 bits that holds 8": (RAMP, {"VOILUTSequence": [table(STEPS // 16, 0, 16)]}),
    "a VOI table of 8 bits that holds 16": (RAMP, {"VOILUTSequence": [table(STEPS * 16, 0, 8)]}),
    "a VOI table of 8 bits in words": (RAMP, {"VOILUTSequence": [table(STEPS // 16, 0, 8)]}),
    "a VOI table of 8 bits in bytes": (
        RAMP,
        {"VOILUTSequence": [table((STEPS // 16).astype(np.uint8), 0, 8)]},
    ),
    "an empty VOI table": (RAMP, {"VOILUTSequence": [EMPTY], **WINDOW}),
    "an empty VOI table before another": (RAMP, {"VOILUTSequence": [EMPTY, table(STEPS, 0, 12)]}),
    "a VOI table of one value": (RAMP, {"VOILUTSequence": [table(STEPS * 0 + 9, 0, 12)]}),
    "a first value written unsigned": (SIGNED, {"VOILUTSequence": [table(STEPS, 63_488, 12)]}),
    "a first value written unsigned after a rescale": (
        RAMP,
        {
            "RescaleSlope": "1",
            "RescaleIntercept": "-1024",
            "VOILUTSequence": [table(STEPS, 64_512, 12, "US")],
        },
    ),
    "an empty modality table": (RAMP, {"ModalityLUTSequence": [EMPTY], **WINDOW}),
    "a modality table of 8 bits twice in a word": (
        RAMP,
        {
            "ModalityLUTSequence": [table(STEPS // 16 * 257, 0, 8, "US")],
            "WindowCenter": "128",
            "WindowWidth": "256",
        },
    ),
    "a modality table of 8 bits in words": (
        RAMP,
        {"ModalityLUTSequence": [table(STEPS // 16, 0, 8)], "WindowCenter": "128", "WindowWidth": "256"},
    ),
    "a modality table whose first value is unsigned": (
        SIGNED,
        {"ModalityLUTSequence": [table(STEPS, 63_488, 16, "US")], **WINDOW},
    ),
    "a modality table for signed pixels, then a VOI table of the upper half": (
        SIGNED,
        {
            "ModalityLUTSequence": [table(STEPS + 40_000, 63_488, 16, "US")],
            "VOILUTSequence": [table(STEPS, 40_000, 12, "US")],
        },
    ),
    "signed pixels that are all positive": (
        RAMP.astype(np.int16),
        {"VOILUTSequence": [table(np.append(STEPS[:2048] * 0, STEPS), 63_488, 12)]},
    ),
    "HighBit 15 of 12": (RAMP * 16, {"BitsStored": 12, "HighBit": 15, **WINDOW}),
    "HighBit 13 of 12, with something below": (RAMP * 4 + 3, {"BitsStored": 12, "HighBit": 13, **WINDOW}),
    "HighBit 15 of 12, signed": (
        SIGNED * 16,
        {"BitsStored": 12, "HighBit": 15, "WindowCenter": "0", "WindowWidth": "4096"},
    ),
    "a photometric interpretation in lower case": (RAMP, {"PhotometricInterpretation": "monochrome2"}),
    "no SamplesPerPixel": (RAMP, {"SamplesPerPixel": None, **WINDOW}),
    "neither samples nor photometric interpretation": (
        RAMP,
        {"SamplesPerPixel": None, "PhotometricInterpretation": None, **WINDOW},
    ),
    "no BitsStored and no PixelRepresentation": (
        RAMP,
        {"BitsStored": None, "HighBit": None, "PixelRepresentation": None, **WINDOW},
    ),
    "more bits stored than allocated": (
        RAMP,
        {"BitsStored": 20, "HighBit": 19, "WindowCenter": "2048", "WindowWidth": "4096"},
    ),
    "no bits stored": (RAMP, {"BitsStored": 0, "HighBit": 11, "WindowCenter": "2048", "WindowWidth": "4096"}),
    "a palette that is not there": (RAMP, {"PhotometricInterpretation": "PALETTE COLOR"}),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_the_picture_is_that_of_a_good_file(tmp_path: Path, case: str, syntax: str) -> None:
    stored, elements = CASES[case]
    grey = read(as_written(tmp_path / "a", stored, syntax, **elements))
    # Tables of 8 bits make steps of 16 values; percentiles cut a thousandth.
    assert np.abs(grey - STRAIGHT).max() <= 2
    turned = {**elements, "PhotometricInterpretation": "MONOCHROME1"}
    if "PALETTE" not in str(elements.get("PhotometricInterpretation")):
        assert np.abs(255 - read(as_written(tmp_path / "b", stored, syntax, **turned)) - STRAIGHT).max() <= 2


def test_what_could_not_be_used_is_named(tmp_path: Path) -> None:
    good = read_image(as_written(tmp_path / "good", RAMP, **WINDOW))
    assert good.info["fallbacks"] == []
    bad = {"WindowCenter": "NaN", "WindowWidth": "1", "RescaleSlope": "0", "RescaleIntercept": "0"}
    poor = read_image(as_written(tmp_path / "poor", RAMP, VOILUTSequence=[EMPTY], **bad))
    assert poor.info["fallbacks"] == [
        "a rescale slope or intercept that cannot be used",
        "a VOI table that cannot be used",
        "a window that cannot be used",
    ]


@pytest.mark.parametrize(
    ("values", "centre", "width", "expected"),
    [
        # PS3.3 C.11.2.1.2.1: up to c - 0.5 it is black, above it white.
        ([9, 9.5, 9.6, 11], 10, 1, [0, 0, 255, 255]),
        ([0, 0.1, 0.2], 0.1, 0.2, [0, 128, 255]),
        ([-5, 0.1, 5], 0.1, 1e-6, [0, 128, 255]),
    ],
)
def test_narrow_windows(values: list[float], centre: float, width: float, expected: list[int]) -> None:
    assert apply_window(np.array(values), centre, width, "LINEAR").tolist() == expected


@pytest.mark.parametrize("value", [-2000, 63_536])
def test_padding_of_either_sign(tmp_path: Path, value: int) -> None:
    stored = SIGNED // 2
    stored[:8] = -2000
    grey = read(as_written(tmp_path / "a", stored, PixelPaddingValue=("SS" if value < 0 else "US", value)))
    assert grey[:8].max() == 0
    assert abs(grey[36, 0] - 128) <= 2


def test_noise_is_not_blown_up_and_a_flat_picture_stays_flat(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(2048, 2054, RAMP.shape, dtype=np.uint16)
    assert np.ptp(read(as_written(tmp_path / "a", noise, WindowCenter="2048", WindowWidth="1000"))) < 4
    assert np.ptp(read(as_written(tmp_path / "b", noise * 0 + 5, **WINDOW))) == 0


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("kind", ["words", "8 bits in words", "bytes", "12 bits in words"])
def test_palettes(tmp_path: Path, syntax: str, kind: str) -> None:
    stored = np.tile(np.arange(64, dtype=np.uint8) * 4, (64, 1))
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    red = np.arange(256, dtype=np.uint16)
    words = {
        "words": red * 257,
        "8 bits in words": red,
        "12 bits in words": red * 16,
        # Two entries to a word, the first in its low byte.
        "bytes": red[0::2] + 256 * red[1::2],
    }[kind].astype(f"{order}u2")
    elements: dict[str, Any] = {"PhotometricInterpretation": "palette color"}
    for colour in ("Red", "Green", "Blue"):
        elements[f"{colour}PaletteColorLookupTableDescriptor"] = ("US", [256, 0, 16])
        elements[f"{colour}PaletteColorLookupTableData"] = (
            "OW",
            (words if colour == "Red" else words * 0).tobytes(),
        )
    picture = np.asarray(read_image(as_written(tmp_path / "a", stored, syntax, **elements)))
    assert np.abs(picture[..., 0].astype(int) - stored).max() <= 1
    assert picture[..., 1:].max() == 0


@pytest.mark.parametrize("name", ["FloatPixelData", "DoubleFloatPixelData"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": "0.5", "WindowWidth": "1"}])
def test_float_pixels(tmp_path: Path, name: str, window: dict[str, str]) -> None:
    kind = np.float32 if name == "FloatPixelData" else np.float64
    values = (STRAIGHT / 255).astype(kind)
    values[0, 0] = np.nan
    path = as_written(tmp_path / "a", RAMP, PixelData=None, BitsAllocated=8 * values.itemsize, **window)
    header = pydicom.dcmread(path)
    setattr(header, name, values.tobytes())
    assert np.abs(read(save(header, tmp_path / "b")) - STRAIGHT).max() <= 1


def _without(content: bytes, parts: str) -> bytes:
    """A file without its preamble, its letters DICM, or its meta header."""
    length = int.from_bytes(content[140:144], "little")
    data = content[144 + length :]
    return {
        "preamble": content[132:],
        "preamble and meta header": data,
        "DICM": content[:128] + content[132:],
        "DICM and meta header": content[:128] + data,
        "meta header": content[:132] + data,
    }[parts]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize(
    "parts", ["preamble", "preamble and meta header", "DICM", "DICM and meta header", "meta header"]
)
def test_files_without_their_beginning(tmp_path: Path, syntax: str, parts: str) -> None:
    content = as_written(tmp_path / "a", RAMP, syntax, **WINDOW).read_bytes()
    grey = np.asarray(read_image(io.BytesIO(_without(content, parts))))
    assert np.array_equal(grey, read(tmp_path / "a"))


@pytest.mark.parametrize(
    "head", [b"II*\0\x08\0\0\0", b"\0\0\x01\0", b"\0\x08\0\0\0\0\0\0", b"BM" + bytes(9), b""]
)
def test_what_is_no_dicom(head: bytes) -> None:
    assert not begins_as_dicom(head)


@pytest.mark.parametrize(
    ("syntax", "bits", "words"),
    [
        ("1.2.840.10008.1.2.4.110", 12, r"JPEG XL Lossless"),
        ("1.2.840.10008.1.2.8.1", 12, r"Deflated Image Frame Compression"),
        ("1.2.840.10008.1.2.4.100", 8, r"MPEG2"),
        ("1.3.46.670589.33.1.4.1", 12, r"the transfer syntax 1\.3\.46"),
        ("1.2.840.10008.1.2.4.51", 12, r"JPEG Extended .* of more than 8 bits needs another decoder"),
    ],
)
def test_a_decoder_that_is_missing(tmp_path: Path, syntax: str, bits: int, words: str) -> None:
    if syntax.endswith(".51"):
        pytest.importorskip("PIL")
        try:
            import pylibjpeg  # noqa: F401
        except ImportError:
            pass
        else:
            pytest.skip("the dicom extra decodes it")
    header = pydicom.dcmread(write_dicom(tmp_path / "a", RAMP))
    header.PixelData = pydicom.encaps.encapsulate([b"\xff\xd8\xff\xd9" * 10])
    header["PixelData"].is_undefined_length = True
    header.BitsStored, header.HighBit = bits, bits - 1
    header.file_meta.TransferSyntaxUID = syntax
    pydicom.dcmwrite(tmp_path / "b", header, implicit_vr=False, little_endian=True, force_encoding=True)
    with pytest.raises(ScanError, match=rf"^{words}.*pip install 'medclip-cli\[dicom\]'") as error:
        read_image(tmp_path / "b")
    assert error.value.code == "missing_decoder"


def test_compressed_pixels_without_a_syntax(tmp_path: Path) -> None:
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray((RAMP // 16).astype(np.uint8)).save(encoded, "JPEG", quality=100)
    header = pydicom.dcmread(write_dicom(tmp_path / "a", (RAMP // 16).astype(np.uint8)))
    header.PixelData = pydicom.encaps.encapsulate([encoded.getvalue()])
    header["PixelData"].is_undefined_length = True
    del header.file_meta.TransferSyntaxUID
    pydicom.dcmwrite(tmp_path / "b", header, implicit_vr=False, little_endian=True, force_encoding=True)
    assert np.abs(read(tmp_path / "b") - STRAIGHT).max() <= 4


def test_damage_names_no_class(tmp_path: Path) -> None:
    content = as_written(tmp_path / "a", RAMP, **WINDOW).read_bytes()
    for cut in (10, 3000, len(content) - 400):
        with pytest.raises(ScanError) as error:
            read_image(io.BytesIO(content[:-cut]))
        assert "Error" not in str(error.value)


def test_a_table_without_a_use_is_none() -> None:
    for poor in (EMPTY, item(), table(STEPS * 0, 0, 16), item(LUTDescriptor=[4, 0, 16], LUTData=b"")):
        assert read_table(poor, "LUT", least=0, byte_order="<") is None
