"""DICOM: each table of the standard against a hand-worked value, and the files pydicom carries."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom.uid import MPEG2MPML, JPEG2000Lossless

from encoders import images
from encoders.dicom import apply_window, read_dicom
from encoders.dicom_headers import check_decoder
from encoders.errors import ScanError
from encoders.images import read_image
from tests.encoders.drawn_dicom import header_of, item, save, write_dicom

RAMP = np.arange(0, 1024, dtype=np.uint16).reshape(32, 32)
WHEEL_FILES = Path(pydicom.data.__file__).parent / "test_files"


def grey(path: Path, **options: int) -> np.ndarray:
    with path.open("rb") as stream:
        picture = read_dicom(stream, **options)
    assert picture.mode == "L"
    return np.asarray(picture)


def test_rescale_then_window(tmp_path: Path) -> None:
    path = write_dicom(
        tmp_path / "ct", RAMP, RescaleSlope=2, RescaleIntercept=-1000, WindowCenter=0, WindowWidth=400
    )
    hounsfield = RAMP.astype(float) * 2 - 1000
    expected = ((hounsfield + 0.5) / 399 + 0.5).clip(0, 1) * 255
    assert np.abs(grey(path) - expected).max() <= 0.51
    assert grey(path)[hounsfield <= -200].max() == 0
    assert grey(path)[hounsfield >= 200].min() == 255


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        # PS3.3 C.11.2.1.2.1, its own example: centre 2048, width 4096.
        ("LINEAR", [0, 0, 127, 255]),
        ("LINEAR_EXACT", [0, 0, 128, 255]),
        ("SIGMOID", [0, 30, 128, 225]),
    ],
)
def test_window_functions(function: str, expected: list[int]) -> None:
    values = np.array([-10_000, 0, 2047.5 if function == "LINEAR" else 2048, 4096])
    assert apply_window(values, 2048, 4096, function).tolist() == pytest.approx(expected, abs=1)


def test_a_window_of_one_is_a_threshold() -> None:
    assert apply_window(np.array([9, 10, 11]), 10, 1, "LINEAR").tolist() == [0, 255, 255]


def test_the_first_of_several_windows_counts(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "ct", RAMP, WindowCenter=["100", "900"], WindowWidth=["10", "20"])
    assert grey(path)[RAMP > 110].min() == 255


@pytest.mark.parametrize("window", [{}, {"WindowCenter": 5}, {"WindowCenter": 5, "WindowWidth": 0}])
def test_without_a_window_the_percentiles_serve(tmp_path: Path, window: dict[str, int]) -> None:
    path = write_dicom(tmp_path / "mr", RAMP + 30_000, **window)
    assert (grey(path).min(), grey(path).max()) == (0, 255)
    assert abs(int(grey(path)[16, 0]) - 128) <= 2


def test_monochrome1_is_turned_over_after_the_window(tmp_path: Path) -> None:
    window = {"WindowCenter": 512, "WindowWidth": 512}
    one = write_dicom(tmp_path / "1", RAMP, PhotometricInterpretation="MONOCHROME1", **window)
    two = write_dicom(tmp_path / "2", RAMP, **window)
    assert np.array_equal(grey(one), 255 - grey(two))


def test_modality_lut(tmp_path: Path) -> None:
    table = item(
        LUTDescriptor=[1024, 0, 16],
        LUTData=np.arange(1023, -1, -1, dtype=np.uint16).tobytes(),
        ModalityLUTType="US",
    )
    path = write_dicom(tmp_path / "x", RAMP, ModalityLUTSequence=[table])
    assert grey(path)[0, 0] == 255
    assert grey(path)[-1, -1] == 0


def test_voi_lut_scaled_by_its_own_depth(tmp_path: Path) -> None:
    steps = (np.arange(1024, dtype=np.uint16) * 8).clip(0, 4095)
    table = item(LUTDescriptor=[1024, 0, 12], LUTData=steps.tobytes())
    path = write_dicom(tmp_path / "x", RAMP, VOILUTSequence=[table], WindowCenter=1, WindowWidth=1)
    assert np.abs(grey(path) - (RAMP.astype(float) * 8).clip(0, 4095) / 4095 * 255).max() <= 0.51


def test_padding_is_background_and_moves_no_window(tmp_path: Path) -> None:
    stored = RAMP.astype(np.int16)
    stored[:4] = -2000
    plain = write_dicom(tmp_path / "a", stored, PixelPaddingValue=-2000)
    assert grey(plain)[:4].max() == 0
    assert abs(int(grey(plain)[18, 0]) - 128) <= 2
    turned = write_dicom(
        tmp_path / "b", stored, PixelPaddingValue=-2000, PhotometricInterpretation="MONOCHROME1"
    )
    assert grey(turned)[:4].max() == 0
    assert grey(turned)[4, 0] == 255
    stored[0] = -1990
    ranged = write_dicom(tmp_path / "c", stored, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1990)
    assert abs(int(grey(ranged)[18, 0]) - 128) <= 2


def test_nothing_but_padding(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a", np.full((32, 32), -2000, np.int16), PixelPaddingValue=-2000)
    assert grey(path).max() == 0


def test_the_middle_frame_unless_told(tmp_path: Path) -> None:
    frames = np.stack([np.full((32, 32), n, np.uint8) for n in (0, 100, 200)])
    path = write_dicom(tmp_path / "us", frames, WindowCenter=128, WindowWidth=256)
    assert grey(path).max() == pytest.approx(100, abs=1)
    assert grey(path, frame=2).min() == pytest.approx(200, abs=1)
    with pytest.raises(ScanError, match="there is no frame 3, the file has 3"):
        grey(path, frame=3)


def test_enhanced_files_keep_values_by_frame(tmp_path: Path) -> None:
    frames = np.stack([RAMP, RAMP])
    window = [
        item(FrameVOILUTSequence=[item(WindowCenter=centre, WindowWidth=10)]) for centre in ("100", "900")
    ]
    shared = item(PixelValueTransformationSequence=[item(RescaleSlope="1", RescaleIntercept="-50")])
    path = write_dicom(
        tmp_path / "enhanced",
        frames,
        PerFrameFunctionalGroupsSequence=window,
        SharedFunctionalGroupsSequence=[shared],
    )
    assert grey(path, frame=0)[RAMP > 160].min() == 255
    assert grey(path, frame=1)[RAMP < 940].max() == 0


def test_colour_of_8_and_16_bits(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path = write_dicom(tmp_path / "rgb", colours)
    assert np.array_equal(np.asarray(read_image(path)), colours)
    deep = write_dicom(tmp_path / "deep", colours.astype(np.uint16) * 257)
    assert np.array_equal(np.asarray(read_image(deep)), colours)


def test_palette(tmp_path: Path) -> None:
    stored = np.tile(np.arange(32, dtype=np.uint8), (32, 1))
    table = (np.arange(256, dtype=np.uint16) * 257).tobytes()
    zeros = bytes(len(table))
    path = write_dicom(
        tmp_path / "palette",
        stored,
        PhotometricInterpretation="PALETTE COLOR",
        RedPaletteColorLookupTableDescriptor=[256, 0, 16],
        GreenPaletteColorLookupTableDescriptor=[256, 0, 16],
        BluePaletteColorLookupTableDescriptor=[256, 0, 16],
        RedPaletteColorLookupTableData=table,
        GreenPaletteColorLookupTableData=zeros,
        BluePaletteColorLookupTableData=zeros,
    )
    picture = np.asarray(read_image(path))
    assert np.array_equal(picture[..., 0], stored)
    assert picture[..., 1:].max() == 0


def test_size_is_judged_from_the_header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ScanError, match="too small") as tiny:
        read_image(write_dicom(tmp_path / "tiny", np.zeros((8, 8), np.uint8)))
    monkeypatch.setattr(images, "MAX_SCAN_PIXELS", 1000)
    with pytest.raises(ScanError, match="is over the limit") as large:
        read_image(write_dicom(tmp_path / "large", RAMP))
    assert (tiny.value.code, large.value.code) == ("tiny_image", "too_large")


def test_reports_and_plans_hold_no_picture(tmp_path: Path) -> None:
    with pytest.raises(ScanError, match="the DICOM file holds no image") as error:
        read_image(save(header_of(Modality="SR"), tmp_path / "report"))
    assert error.value.code == "no_pixel_data"


def test_a_missing_decoder_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pydicom.pixels.decoders import base

    header = pydicom.dcmread(write_dicom(tmp_path / "a", RAMP))
    header.file_meta.TransferSyntaxUID = JPEG2000Lossless
    monkeypatch.setattr(base.Decoder, "is_available", property(lambda self: False))
    with pytest.raises(
        ScanError, match=r"JPEG 2000 .* needs another decoder: pip install 'medclip-cli\[dicom\]'"
    ):
        check_decoder(header)
    header.file_meta.TransferSyntaxUID = MPEG2MPML
    with pytest.raises(ScanError, match=r"MPEG2.*cannot be decoded, even after pip install") as error:
        check_decoder(header)
    assert error.value.code == "missing_decoder"


def test_damage_names_no_value_of_the_header(tmp_path: Path) -> None:
    content = write_dicom(tmp_path / "a", RAMP, PatientName="Roe^Jane").read_bytes()
    with pytest.raises(
        ScanError, match=r"^the DICOM data is damaged or cut short: copy or export the file again$"
    ) as error:
        read_image(io.BytesIO(content[:-500]))
    assert "Roe" not in str(error.value)
    assert error.value.code == "unreadable_image"


def test_a_file_without_a_preamble(tmp_path: Path) -> None:
    content = write_dicom(tmp_path / "a", RAMP, WindowCenter=512, WindowWidth=1024).read_bytes()
    assert np.array_equal(np.asarray(read_image(io.BytesIO(content[132:]))), grey(tmp_path / "a"))


@pytest.mark.parametrize(
    ("name", "mode", "size"),
    [
        ("CT_small.dcm", "L", (128, 128)),
        ("MR_small_bigendian.dcm", "L", (64, 64)),
        ("MR_small_RLE.dcm", "L", (64, 64)),
        ("image_dfl.dcm", "L", (512, 512)),
        ("examples_palette.dcm", "RGB", (800, 350)),
        ("SC_rgb_rle_16bit_2frame.dcm", "RGB", (100, 100)),
        ("SC_ybr_full_422_uncompressed.dcm", "RGB", (100, 100)),
    ],
)
def test_files_that_pydicom_carries(name: str, mode: str, size: tuple[int, int]) -> None:
    picture = read_image(WHEEL_FILES / name)
    assert (picture.mode, picture.size) == (mode, size)
    assert np.ptp(np.asarray(picture)) > 100


def test_one_scan_in_seven_encodings_is_one_picture() -> None:
    names = ("", "_RLE", "_bigendian", "_expb", "_implicit", "_padded")
    pictures = [np.asarray(read_image(WHEEL_FILES / f"MR_small{name}.dcm")) for name in names]
    assert all(np.array_equal(pictures[0], other) for other in pictures[1:])


@pytest.mark.parametrize("name", ["MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_lossless_compression_changes_nothing(name: str) -> None:
    pytest.importorskip("pylibjpeg", reason="the dicom extra is not installed")
    plain = np.asarray(read_image(WHEEL_FILES / "MR_small.dcm"))
    assert np.array_equal(np.asarray(read_image(WHEEL_FILES / name)), plain)
