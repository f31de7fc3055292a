"""Whole images of every kind that archives hold, and things that only look like one; all drawn here."""

import io
import struct
import tempfile
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from tests.encoders.drawn_dicom import write_dicom

SIDE = 40


def picture(mode, side=SIDE):
    """A drawn picture of a Pillow mode."""
    ramp = np.add.outer(np.arange(side), np.arange(side)).astype(np.uint8)
    if mode in ("I;16", "I", "F"):
        kind = {"I;16": np.uint16, "I": np.int32, "F": np.float32}[mode]
        return Image.fromarray((ramp.astype(np.float64) * 150).astype(kind))
    return Image.fromarray(ramp).convert("RGB").convert(mode)


def saved(image, kind, **options):
    """The bytes of a picture in a file format."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def dicom(stored, **elements):
    """The bytes of a DICOM file."""
    with tempfile.TemporaryDirectory() as folder:
        return write_dicom(Path(folder) / "scan.dcm", stored, **elements).read_bytes()


def animated(kind):
    """Three frames."""
    frames = [picture("L").rotate(90 * turn) for turn in range(3)]
    return saved(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def rotated(orientation):
    """A JPEG that says by EXIF how it is to be turned."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(picture("RGB"), "JPEG", exif=exif)


def png(width, height, *, depth=8, colour=0, pixels=b"\0" * 1000, packed=None, extra=b""):
    """A PNG with a header of our choice, and pixels that need not fit it; `packed` ones are deflated."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", packed or zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )


def text_bomb():
    """A PNG whose comment unpacks to 200 MB."""
    data = b"Comment\0\0" + zlib.compress(bytes(200_000_000), 9)
    chunk = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
    return png(SIDE, SIDE, pixels=bytes((SIDE + 1) * SIDE), extra=chunk)


def readable():
    """Images that everybody can look at, by name."""
    grey, colour = picture("L"), picture("RGB")
    images = {f"{mode.replace(';', '')}.png": saved(picture(mode), "PNG") for mode in ("1", "L", "LA", "P")}
    images |= {
        f"{mode.replace(';', '')}.png": saved(picture(mode), "PNG") for mode in ("RGB", "RGBA", "I;16")
    }
    images |= {f"{mode}.tif": saved(picture(mode), "TIFF") for mode in ("L", "RGB", "CMYK", "I", "F", "LAB")}
    images |= {f"{mode}.jpg": saved(picture(mode), "JPEG") for mode in ("L", "RGB", "CMYK", "YCbCr")}
    images |= {f"{kind}.img": saved(colour, kind) for kind in ("BMP", "PPM", "TGA", "ICO", "JPEG2000", "SGI")}
    images |= {f"animated.{kind.lower()}": animated(kind) for kind in ("GIF", "PNG", "WEBP", "TIFF")}
    images |= {f"rotated{number}.jpg": rotated(number) for number in (3, 6, 8)}
    images["clear.png"] = saved(picture("P"), "PNG", transparency=3)
    images["progressive.jpg"] = saved(grey, "JPEG", progressive=True)
    images["packed.tif"] = saved(grey, "TIFF", compression="tiff_lzw")
    images["wrong_name.jpg"] = saved(grey, "PNG")
    images["no_name"] = saved(grey, "PNG")
    images["scan.dcm"] = dicom(np.asarray(grey), WindowCenter=40, WindowWidth=80)
    images["deep.dcm"] = dicom(np.asarray(picture("I;16")), RescaleSlope=2, RescaleIntercept=-1000)
    images["polyglot.png"] = saved(grey, "PNG") + b"PK\x05\x06" + bytes(18) + b"<script>alert(1)</script>"
    return images


def unreadable():
    """Files that are no image, or none that may be decoded, by name."""
    return {
        "empty.png": b"",
        "one_byte.png": b"\x89",
        "text.jpg": b"this is no picture",
        "page.png": b"<!doctype html><title>404</title>",
        "archive.png": b"PK\x03\x04" + bytes(60),
        "bomb.png": png(40_000, 40_000),
        "wide.png": png(2**31 - 1, 1),
        "flat.png": png(0, 0),
        "thin.png": png(3, 3),
        "cut_pixels.png": png(9_000, 9_000, pixels=b""),
        "bomb.bmp": b"BM"
        + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, 90_000, -90_000, 1, 24, *[0] * 6),
        "bomb.gif": b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0) + bytes(20),
        "bomb.ppm": b"P6 99999 99999 255\n" + bytes(100),
        "endless.ppm": b"P6 " + b"9" * 10_000,
        "script.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 90 90\n(/etc/passwd) run\n%%EOF\n",
        "text_bomb.png": text_bomb(),
        "preamble.dcm": bytes(128) + b"DICM",
        "no_pixels.dcm": bytes(128) + b"DICM" + b"\x08\0\x16\0UI\x02\x001\0",
    }
