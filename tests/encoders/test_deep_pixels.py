"""Images of more than 8 bits that Pillow would cut down, wrap around or leave inverted."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from encoders.images import read_image, window_to_8_bit

SIDE = 48
RAMP = np.linspace(0, 1, SIDE * SIDE).reshape(SIDE, SIDE)
STRAIGHT = RAMP * 255


def png(path: Path, samples: np.ndarray, key: tuple[int, ...] = ()) -> Path:
    """Write ``[h, w, 2]`` (grey and alpha), ``[h, w, 3]`` or ``[h, w, 4]`` of 16 bits."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width, count = samples.shape
    lines = samples.astype(">u2").tobytes()
    # Each line is the difference to the line above, as most writers have it.
    step = len(lines) // height
    rows = np.frombuffer(lines, np.uint8).reshape(height, step)
    filtered = np.diff(rows, axis=0, prepend=np.zeros((1, step), np.uint8))
    data = b"".join(b"\2" + row.tobytes() for row in filtered)
    header = struct.pack(">IIBBBBB", width, height, 16, {2: 4, 3: 2, 4: 6}[count], 0, 0, 0)
    clear = chunk(b"tRNS", struct.pack(">3H", *key)) if key else b""
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + clear
        + chunk(b"IDAT", zlib.compress(data))
        + chunk(b"IEND", b"")
    )
    return path


def tiff(path: Path, samples: np.ndarray, order: str = "<", **tags: int) -> Path:
    """Write ``[h, w]`` or ``[h, w, n]`` of any type; tags by number, as ``t262=0``."""
    height, width = samples.shape[:2]
    count = samples.shape[2] if samples.ndim == 3 else 1
    compression = tags.pop("compression", 1)
    data = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    data = zlib.compress(data) if compression == 8 else data
    entries: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (8 * samples.dtype.itemsize,) * count,
        259: (compression,),
        262: (2 if count > 1 else 1,),
        273: (8,),
        277: (count,),
        278: (height,),
        279: (len(data),),
        339: ({"u": 1, "i": 2, "f": 3}[samples.dtype.kind],) * count,
    }
    entries.update({int(name[1:]): (value,) for name, value in tags.items()})
    data += bytes(len(data) % 2)
    directory, later = b"", b""
    after = 8 + len(data) + 2 + 12 * len(entries) + 4
    for tag, values in sorted(entries.items()):
        kind, letter = (4, "I") if tag in (273, 279) else (3, "H")
        packed = struct.pack(f"{order}{len(values)}{letter}", *values)
        if len(packed) > 4:
            packed, later = struct.pack(f"{order}I", after + len(later)), later + packed
        directory += struct.pack(f"{order}HHI", tag, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack(f"{order}H", len(entries)) + directory + bytes(4) + later)
    return path


def read(path: Path) -> np.ndarray:
    return np.asarray(read_image(path)).astype(float)


@pytest.mark.parametrize("top", [255, 4095, 65_535])
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "LA"])
def test_16_bit_png_is_windowed_as_grey_is(tmp_path: Path, kind: str, top: int) -> None:
    values = (RAMP * top).astype(np.uint16)
    opaque = np.full_like(values, top)
    layers = {"RGB": [values] * 3, "RGBA": [*[values] * 3, opaque], "LA": [values, opaque]}[kind]
    picture = read_image(png(tmp_path / "a.png", np.stack(layers, axis=-1)))
    assert picture.mode == ("L" if kind == "LA" else "RGB")
    grey = np.asarray(picture).reshape(SIDE, SIDE, -1).astype(float)
    assert np.abs(grey - STRAIGHT[..., None]).max() <= 2


def test_one_window_for_all_colours(tmp_path: Path) -> None:
    values = (RAMP * 4095).astype(np.uint16)
    picture = read(png(tmp_path / "a.png", np.stack([values, values // 2, values * 0], axis=-1)))
    assert np.abs(picture[..., 1] - STRAIGHT / 2).max() <= 2
    assert picture[..., 2].max() == 0


def test_what_cannot_be_seen_is_black_and_moves_no_window(tmp_path: Path) -> None:
    values = (RAMP * 4095).astype(np.uint16)
    alpha = np.full_like(values, 65_535)
    values[:8], alpha[:8] = 60_000, 0
    values[8:16], alpha[8:16] = 4095, 32_768
    grey = read(png(tmp_path / "a.png", np.stack([values, alpha], axis=-1)))
    assert grey[:8].max() == 0
    assert np.abs(grey[8:16] - 127).max() <= 1
    assert grey[-1, -1] == 255
    colour = np.stack([values, values, values], axis=-1)
    keyed = read(png(tmp_path / "b.png", colour, key=(60_000,) * 3))
    assert keyed[:8].max() == 0
    assert keyed[-1, -1].min() == 255
    hidden = png(tmp_path / "c.png", np.stack([values, values * 0], axis=-1))
    assert read(hidden).max() == 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("top", [4095, 65_535])
@pytest.mark.parametrize("extra", [None, 0, 1, 2])
def test_16_bit_colour_tiff(
    tmp_path: Path, order: str, compression: int, top: int, extra: int | None
) -> None:
    values = (RAMP * top).astype(np.uint16)
    layers = [values] * 3 if extra is None else [*[values] * 3, np.full_like(values, top)]
    tags = {} if extra is None else {"t338": extra}
    path = tiff(tmp_path / "a.tif", np.stack(layers, -1), order, compression=compression, **tags)
    picture = read_image(path)
    assert picture.mode == "RGB"
    assert np.abs(np.asarray(picture).astype(float) - STRAIGHT[..., None]).max() <= 2


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2", "u4", "i4", "f4"])
def test_grey_tiff(tmp_path: Path, order: str, compression: int, white_is_zero: bool, kind: str) -> None:
    low, high = {"u1": (0, 255), "u2": (0, 4095), "u4": (0, 2**32 - 1), "f4": (-1, 1)}.get(kind, (-900, 3000))
    values = (low + (high - low) * RAMP).astype(kind)
    path = tiff(tmp_path / "a.tif", values, order, compression=compression, t262=int(not white_is_zero))
    grey = 255 - read(path) if white_is_zero else read(path)
    assert np.abs(grey - STRAIGHT).max() <= 2


def test_a_deep_picture_is_turned_upright(tmp_path: Path) -> None:
    values = np.stack([(RAMP[:32] * 4095).astype(np.uint16)] * 3, -1)
    plain = read(tiff(tmp_path / "a.tif", values))
    turned = read(tiff(tmp_path / "b.tif", values, t274=6))
    assert np.array_equal(turned, np.rot90(plain, -1))


def test_large_numbers_are_told_apart() -> None:
    values = (4_000_000_000 + RAMP * 100).astype(np.uint32)
    assert len(np.unique(window_to_8_bit(values))) >= 99
    assert len(np.unique(window_to_8_bit(1e9 + RAMP))) > 250


def test_a_deep_picture_cut_short_is_damaged(tmp_path: Path) -> None:
    from encoders.errors import ScanError

    whole = png(
        tmp_path / "a.png", np.random.default_rng(0).integers(0, 65_535, (64, 64, 3)).astype(np.uint16)
    )
    (tmp_path / "b.png").write_bytes(whole.read_bytes()[:5000])
    with pytest.raises(ScanError, match="damaged or cut short") as error:
        read_image(tmp_path / "b.png")
    assert "Error" not in str(error.value)


def test_8_bit_colour_is_left_as_it_is(tmp_path: Path) -> None:
    dark = np.random.default_rng(0).integers(0, 60, (32, 32, 3), dtype=np.uint8)
    for name in ("a.png", "a.tif"):
        Image.fromarray(dark).save(tmp_path / name)
        assert np.array_equal(read(tmp_path / name), dark)
