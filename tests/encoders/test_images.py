"""Every kind of image file an archive holds, drawn here."""

import io
import os
import struct
import threading
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from encoders import images
from encoders.errors import ScanError
from encoders.images import read_image, window_to_8_bit


def gradient(height=40, width=60):
    return np.linspace(0, 255, height * width).reshape(height, width).astype(np.uint8)


def saved(image, path, **options):
    image.save(path, **options)
    return path


def png_header(width, height):
    """A PNG that claims a size and carries next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0"))
        + chunk(b"IEND", b"")
    )


def test_grey_and_colour_pass_unchanged(tmp_path):
    grey = gradient()
    read = read_image(saved(Image.fromarray(grey), tmp_path / "grey.png"))
    assert read.mode == "L"
    np.testing.assert_array_equal(np.asarray(read), grey)

    colour = np.dstack([grey, grey[::-1], grey // 2])
    read = read_image(str(saved(Image.fromarray(colour), tmp_path / "colour.png")))
    assert read.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(read), colour)


def test_a_stream_is_read_like_a_file():
    stream = io.BytesIO()
    Image.fromarray(gradient()).save(stream, "PNG")
    stream.seek(0)
    np.testing.assert_array_equal(np.asarray(read_image(stream)), gradient())


@pytest.mark.parametrize("highest", [65_535, 4_095, 300])
def test_16_bit_is_windowed_not_clipped(tmp_path, highest):
    deep = np.linspace(0, highest, 64 * 64).reshape(64, 64).astype(np.uint16)
    read = np.asarray(read_image(saved(Image.fromarray(deep), tmp_path / "deep.png")))
    assert read.dtype == np.uint8
    # A clipped picture would be white from grey 255 on; a windowed one is a ramp.
    np.testing.assert_allclose(read.reshape(-1), np.linspace(0, 255, 64 * 64), atol=1.5)


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bit_tiff_is_windowed(tmp_path, kind):
    deep = np.linspace(-1000, 3000, 32 * 32).reshape(32, 32).astype(kind)
    read = np.asarray(read_image(saved(Image.fromarray(deep), tmp_path / "deep.tiff")))
    np.testing.assert_allclose(read.reshape(-1), np.linspace(0, 255, 32 * 32), atol=1.5)


def test_a_window_ignores_a_few_hot_pixels():
    deep = np.full((100, 100), 1000, dtype=np.uint16)
    deep[:, 50:] = 2000
    deep[0, 0] = 65_535
    read = window_to_8_bit(deep)
    assert read[50, 0] == 0
    assert read[50, 99] == 255


def test_a_window_of_a_faint_spot_falls_back_to_the_full_range():
    deep = np.zeros((100, 100), dtype=np.uint16)
    deep[0, 0] = 900
    assert window_to_8_bit(deep)[0, 0] == 255


@pytest.mark.parametrize("value", [0, 7, 65_535])
def test_a_constant_16_bit_image_is_black(value):
    assert not window_to_8_bit(np.full((20, 20), value, dtype=np.uint16)).any()


def test_not_a_number_counts_as_darkest():
    deep = np.linspace(0, 1, 400, dtype=np.float32).reshape(20, 20)
    deep[3, 3] = np.nan
    assert window_to_8_bit(deep)[3, 3] == 0
    assert not window_to_8_bit(np.full((20, 20), np.nan, dtype=np.float32)).any()


def test_transparency_is_flattened_onto_black(tmp_path):
    pixels = np.full((20, 20, 4), 200, dtype=np.uint8)
    pixels[:, :10, 3] = 0
    pixels[:, 10:, 3] = 255
    read = read_image(saved(Image.fromarray(pixels), tmp_path / "rgba.png"))
    assert read.mode == "RGB"
    assert np.asarray(read)[0, 0].tolist() == [0, 0, 0]
    assert np.asarray(read)[0, 19].tolist() == [200, 200, 200]

    read = read_image(saved(Image.fromarray(pixels[..., [0, 3]]), tmp_path / "la.png"))
    assert read.mode == "L"
    assert np.asarray(read)[0, [0, 19]].tolist() == [0, 200]


def test_palettes_with_and_without_transparency(tmp_path):
    image = Image.fromarray(np.dstack([gradient(), gradient()[::-1], gradient()])).quantize(32)
    assert read_image(saved(image, tmp_path / "palette.gif")).mode == "RGB"
    # Transparency as bytes makes Pillow warn when it converts; here it must not.
    read = read_image(saved(image, tmp_path / "palette.png", transparency=bytes([0] * 10)))
    assert read.mode == "RGB"
    assert read.size == (60, 40)


def test_one_bit_and_cmyk(tmp_path):
    bilevel = Image.fromarray(gradient() > 100)
    read = read_image(saved(bilevel, tmp_path / "bilevel.png"))
    assert read.mode == "L"
    assert set(np.unique(np.asarray(read))) == {0, 255}

    cmyk = Image.new("CMYK", (20, 20), (0, 255, 255, 0))
    read = read_image(saved(cmyk, tmp_path / "cmyk.jpg"))
    assert read.mode == "RGB"
    red, green, blue = np.asarray(read)[10, 10]
    assert red > 200 and green < 60 and blue < 60


def test_exif_rotation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows are columns
    read = read_image(saved(Image.fromarray(gradient(40, 60)), tmp_path / "turned.jpg", exif=exif))
    assert read.size == (40, 60)


def test_damaged_exif_does_not_cost_the_picture(tmp_path):
    path = saved(Image.fromarray(gradient()), tmp_path / "exif.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
    assert read_image(path).size == (60, 40)


def test_the_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("L", (20, 20), value) for value in (10, 200)]
    path = saved(frames[0], tmp_path / "cine.gif", save_all=True, append_images=frames[1:])
    assert np.asarray(read_image(path).convert("L"))[0, 0] == 10


def test_a_large_jpeg_is_decoded_smaller_when_asked(tmp_path):
    path = saved(Image.fromarray(gradient(1600, 2400)), tmp_path / "large.jpg")
    assert read_image(path).size == (2400, 1600)
    assert read_image(path, least_side=100).size == (300, 200)


def test_a_missing_file(tmp_path):
    with pytest.raises(ScanError, match="no such file") as caught:
        read_image(tmp_path / "nowhere.png")
    assert caught.value.code == "missing_image"


def test_a_folder_is_not_an_image(tmp_path):
    with pytest.raises(ScanError, match="but a folder") as caught:
        read_image(tmp_path)
    assert caught.value.code == "unreadable_image"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"these are only words", "not an image: PNG"),
        (b"%PDF-1.7 ...", "a PDF"),
        (b"PK\3\4...", "ZIP"),
        (b"\x1f\x8b\x08", "gzip.*NIfTI"),
        (bytes(344) + b"n+1\0", "NIfTI"),
        (b"\0\0\0\x18ftypheic....", "HEIC"),
        (b"<!DOCTYPE html>\n", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
    ],
)
def test_files_that_are_no_images(tmp_path, content, reason):
    path = tmp_path / "scan.jpg"
    path.write_bytes(content)
    with pytest.raises(ScanError, match=reason) as caught:
        read_image(path)
    assert caught.value.code == "unreadable_image"


def test_no_file_makes_pillow_run_ghostscript(tmp_path, monkeypatch):
    """Whatever it is named: Pillow would run the program on any file that begins as PostScript does."""
    from PIL import EpsImagePlugin

    def ran(*args, **kwargs):
        raise AssertionError("a program was run")

    path = tmp_path / "scan.png"
    Image.fromarray(gradient()).save(path, format="EPS")
    calls = []
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *args, **kwargs: calls.append(args) or ran())
    monkeypatch.setattr("subprocess.Popen", ran)
    with pytest.raises(ScanError, match="PostScript"):
        read_image(path)
    assert not calls


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "gif", "bmp", "webp", "ppm", "jp2", "dib", "mpo"])
def test_the_formats_that_are_read(tmp_path, suffix):
    assert read_image(saved(Image.fromarray(gradient()), tmp_path / f"scan.{suffix}")).size == (60, 40)


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "gif", "bmp"])
@pytest.mark.parametrize("share", [0.9, 0.5, 0.1])
def test_a_truncated_file_is_refused(tmp_path, suffix, share):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    whole = saved(Image.fromarray(noise), tmp_path / f"whole.{suffix}").read_bytes()
    path = tmp_path / f"cut.{suffix}"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(ScanError) as caught:
        read_image(path)
    assert caught.value.code == "unreadable_image"


def test_an_altered_png_is_refused(tmp_path):
    whole = bytearray(saved(Image.fromarray(gradient()), tmp_path / "scan.png").read_bytes())
    whole[len(whole) // 2] ^= 0xFF
    (tmp_path / "scan.png").write_bytes(bytes(whole))
    with pytest.raises(ScanError, match="damaged or cut short"):
        read_image(tmp_path / "scan.png")


@pytest.mark.parametrize("side", [40_000, 11_000])
def test_a_bomb_is_judged_by_its_header(tmp_path, side):
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(side, side))
    with pytest.raises(ScanError, match="100,000,000 pixels") as caught:
        read_image(path)
    assert caught.value.code == "too_large"


@pytest.mark.parametrize("size", [(1, 1), (400, 15)])
def test_a_tiny_image(tmp_path, size):
    with pytest.raises(ScanError, match="too small") as caught:
        read_image(saved(Image.new("L", size, 90), tmp_path / "tiny.png"))
    assert caught.value.code == "tiny_image"


def test_threads_may_read_at_once_without_a_warning(tmp_path):
    palette = Image.fromarray(gradient()).convert("P")
    path = saved(palette, tmp_path / "palette.png", transparency=bytes([0] * 10))
    with warnings.catch_warnings(record=True) as caught, ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("always")
        sizes = {image.size for image in pool.map(read_image, [path] * 64)}
    assert sizes == {(60, 40)}
    assert caught == []


def test_strips_are_put_together_as_they_were():
    values = np.arange(3 * images.STRIP_ROWS * 5 + 10, dtype=np.int64).reshape(-1, 5) % 251
    halved = images.in_strips(lambda strip: (strip // 2).astype(np.uint8), values)
    assert np.array_equal(halved, values // 2)


def test_transparency_is_flattened_alike_in_every_strip(tmp_path):
    side = images.STRIP_ROWS + 20
    image = Image.new("RGBA", (20, side), (200, 100, 50, 128))
    flat = np.asarray(read_image(saved(image, tmp_path / "clear.png")))
    assert flat.shape == (side, 20, 3)
    assert (flat == flat[0, 0]).all()
    assert np.abs(flat[0, 0].astype(int) - [100, 50, 25]).max() <= 1


def test_a_named_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ScanError, match="a pipe or a device"):
        read_image(tmp_path / "pipe.png")


def test_a_name_with_a_nul_is_no_file():
    with pytest.raises(ScanError, match="no such file") as caught:
        read_image("scan\0.png")
    assert caught.value.code == "missing_image"


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    path = tmp_path / "endless.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_SCAN_BYTES + 1)
    with pytest.raises(ScanError, match="over the limit of 1,073,741,824") as caught:
        read_image(path)
    assert caught.value.code == "too_large"


def test_pictures_wait_for_room_in_memory():
    budget, order, waits = images.PixelBudget(100), [], threading.Event()

    def second():
        waits.set()
        with budget.taken(10, 8):
            order.append("second")

    with ThreadPoolExecutor(1) as pool:
        with budget.taken(20, 10):
            done = pool.submit(second)
            waits.wait()
            order.append("first")
        done.result()
    assert order == ["first", "second"]


def test_small_pictures_do_not_wait_for_each_other():
    budget = images.PixelBudget(100)
    with budget.taken(5, 10), budget.taken(5, 10):
        pass
