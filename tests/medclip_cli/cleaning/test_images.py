"""What one look at an image tells."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from PIL import Image

from medclip_cli.cleaning import images
from medclip_cli.cleaning.images import ImageFacts, examine_images, is_blank
from medclip_cli.corpora.near_duplicates import difference_hashes
from medclip_cli.records import Reason
from tests.medclip_cli.cleaning.drawn import draw


def examine_image(path: Path) -> ImageFacts | Reason:
    return examine_images([path])[0]


def test_facts_of_a_good_image(tmp_path: Path) -> None:
    path = draw(tmp_path / "scan.png", size=(64, 48))
    facts = examine_image(path)
    assert isinstance(facts, ImageFacts)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_images_examined_together_are_as_alone(tmp_path: Path) -> None:
    paths = [draw(tmp_path / f"{seed}.png", seed) for seed in range(3)]
    paths.insert(1, tmp_path / "gone.png")
    together = examine_images(paths)
    assert together == [examine_image(path) for path in paths]
    assert together[1] == Reason("missing_image")
    assert examine_images([]) == []


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    reason = Reason("unreadable_image", "a pipe or a device, not a file")
    assert examine_image(tmp_path / "pipe.png") == reason
    assert examine_image(tmp_path) == Reason("missing_image")


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_SCAN_BYTES", 10)
    reason = Reason("too_large", "the file has more than 10 bytes")
    assert examine_image(draw(tmp_path / "scan.png")) == reason


def test_a_jpeg_read_small_hashes_as_the_whole_does(tmp_path: Path) -> None:
    path = tmp_path / "scan.jpg"
    Image.open(draw(tmp_path / "scan.png", size=(640, 520))).save(path, quality=90)
    facts = examine_image(path)
    coarse, fine = difference_hashes(Image.open(path))
    assert isinstance(facts, ImageFacts)
    assert (int(facts.dhash, 16) ^ int(coarse, 16)).bit_count() <= 3
    assert (int(facts.fine_hash, 16) ^ int(fine, 16)).bit_count() <= 40


def test_a_jpeg_cut_short_is_found_though_it_is_read_small(tmp_path: Path) -> None:
    path = tmp_path / "scan.jpg"
    Image.open(draw(tmp_path / "scan.png", size=(640, 520))).save(path, quality=90)
    path.write_bytes(path.read_bytes()[:-200])
    reason = examine_image(path)
    assert isinstance(reason, Reason)
    assert reason.code == "unreadable_image"


def test_one_bright_pixel_of_a_jpeg_is_no_blank_picture(tmp_path: Path) -> None:
    mark = Image.new("L", (1024, 1024))
    mark.putpixel((500, 500), 255)
    mark.save(tmp_path / "mark.jpg", quality=95)
    assert isinstance(examine_image(tmp_path / "mark.jpg"), ImageFacts)


def test_blank_pictures(tmp_path: Path) -> None:
    assert is_blank(Image.new("L", (32, 32), 128))
    assert is_blank(Image.new("RGB", (32, 32), (10, 200, 30)))
    mark = Image.new("L", (32, 32))
    mark.putpixel((5, 5), 255)
    assert not is_blank(mark)
    Image.new("L", (32, 32), 7).save(tmp_path / "flat.png")
    assert examine_image(tmp_path / "flat.png") == Reason("blank_image", "one flat grey")
