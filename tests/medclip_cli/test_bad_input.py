"""Bad input gets one clear line, the right exit code, and nothing is lost."""

import shutil
import struct
import zlib

import pytest

BOMB_SIDE = 40_000


def png_header(side):
    """A PNG that claims to be huge, with next to no pixels in it."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def bad_images(demo, tmp_path):
    """One file of each kind of bad image."""
    whole = demo.scan.read_bytes()
    contents = {
        "truncated.png": whole[: len(whole) // 2],
        "empty.png": b"",
        "text.jpg": b"this is no picture",
        "bomb.png": png_header(BOMB_SIDE),
    }
    folder = tmp_path / "bad"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


def one_line(done, code, *words):
    assert done.code == code, done.err
    lines = [line for line in done.err.splitlines() if line.startswith("medclip: ")]
    assert len(lines) == 1, done.err
    for word in words:
        assert word in lines[0], lines[0]


def test_every_bad_image_is_named_and_the_good_one_is_answered(demo, bad_images):
    names = sorted(bad_images.iterdir())
    done = demo.medclip("caption", *names, demo.scan, "--collection", "phantoms", "--json")
    assert done.code == 3
    *failed, answered = done.records
    assert [record["image"] for record in failed] == [str(name) for name in names]
    assert all(record["caption"] is None and record["error"] for record in failed)
    assert answered["caption"]
    for name in names:
        assert str(name) in done.err
    assert "100,000,000 pixels" in failed[0]["error"], "the limit a bomb breaks is told"


def test_clean_counts_bad_images_by_reason(demo, bad_images, tmp_path):
    shutil.copy(demo.scan, bad_images / "good.png")
    for image in list(bad_images.iterdir()):
        image.with_suffix(".txt").write_text("axial CT", encoding="utf-8")
    done = demo.medclip("clean", "folder", bad_images, "--out", tmp_path / "corpus", "--json")
    assert done.code == 0, done.err
    answer = done.answer
    assert answer["read"] == answer["kept"] + sum(answer["rejected"].values()) == 5
    assert answer["kept"] == 1


def test_a_folder_without_images(demo, tmp_path):
    (tmp_path / "empty").mkdir()
    one_line(
        demo.medclip("clean", "folder", tmp_path / "empty", "--out", tmp_path / "c"), 1, "empty", "image"
    )
    one_line(demo.medclip("caption", tmp_path / "empty"), 1, "holds no images")


def test_a_caption_table_with_a_wrong_column(demo, tmp_path):
    done = demo.medclip("clean", "folder", demo.raw, "--caption-column", "text", "--out", tmp_path / "c")
    one_line(done, 1, "'text'", "caption")
    assert not (tmp_path / "c").exists()


def test_an_output_that_exists_is_kept_without_force(demo):
    before = (demo.corpus / "corpus.parquet").read_bytes()
    one_line(demo.medclip("clean", "folder", demo.raw, "--out", demo.corpus), 1, "force")
    assert (demo.corpus / "corpus.parquet").read_bytes() == before
    one_line(demo.medclip("train", "encoders", demo.corpus, "--out", demo.model), 1, "--force")


def test_force_never_replaces_a_folder_of_something_else(demo, tmp_path):
    precious = tmp_path / "precious.txt"
    precious.write_text("keep me", encoding="utf-8")
    for command in (
        ("clean", "folder", demo.raw, "--out", tmp_path, "--force"),
        ("train", "encoders", demo.corpus, "--out", tmp_path, "--from-scratch", "--force"),
        ("demo", "--out", tmp_path, "--force"),
    ):
        assert demo.medclip(*command).code == 1
        assert precious.read_text(encoding="utf-8") == "keep me"


def test_a_place_that_cannot_be_written(demo, tmp_path):
    occupied = tmp_path / "file"
    occupied.touch()
    one_line(demo.medclip("clean", "folder", demo.raw, "--out", occupied / "corpus"), 1, str(occupied))
    done = demo.medclip(
        "index", demo.corpus, "--model", demo.model, "--collection", "x", home=occupied / "home"
    )
    one_line(done, 1, str(occupied))


@pytest.mark.parametrize("name", ["image.onnx", "config.json", "model.safetensors", "tokenizer.json"])
def test_a_model_folder_with_a_missing_file(demo, tmp_path, name):
    copy = tmp_path / "model"
    shutil.copytree(demo.model, copy)
    (copy / name).unlink()
    one_line(demo.medclip("caption", demo.scan, "--collection", "phantoms", "--model", copy), 1, name)


def test_wrong_filters_are_wrong_usage(demo):
    one_line(demo.medclip("search", "x", "--where", "colour=red", "--collection", "phantoms"), 2, "colour")
    one_line(demo.medclip("search", "--collection", "phantoms"), 2, "--image")


def test_an_image_to_search_by_that_cannot_be_read(demo, bad_images):
    done = demo.medclip("search", "--image", bad_images / "empty.png", "--mode", "dense", "--json")
    one_line(done, 1, "empty.png")
    assert done.out == ""


def test_a_broken_settings_file(demo, tmp_path):
    (tmp_path / "medclip").mkdir()
    (tmp_path / "medclip" / "config.toml").write_text("hom = 'x'\n", encoding="utf-8")
    done = demo.medclip("caption", demo.scan, env={"XDG_CONFIG_HOME": str(tmp_path)})
    one_line(done, 1, "'hom'", "did you mean home?")
