"""An interrupted cleaning goes on where it stopped."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import BinaryIO
from unittest.mock import patch

import pytest
from PIL import Image

from encoders.images import read_image
from medclip_cli.cleaning.images import journal_path, open_journal
from medclip_cli.cleaning.pipeline import Cleaning, check_images, read_rows
from medclip_cli.errors import CorpusError
from medclip_cli.parallel import CHUNK
from tests.medclip_cli.cleaning.drawn import draw, options, row

IMAGES = CHUNK + 6


class CountingReader:
    """Counts what is decoded, and is interrupted after so many."""

    def __init__(self, stop_after: int = 1000) -> None:
        self.decoded = 0
        self._stop_after = stop_after

    def __call__(self, source: BinaryIO, *, least_side: int | None = None) -> Image.Image:
        if self.decoded == self._stop_after:
            raise KeyboardInterrupt
        self.decoded += 1
        return read_image(source, least_side=least_side)


def clean(tmp_path: Path, reader: CountingReader) -> Cleaning:
    cleaning = read_rows([row(n) for n in range(IMAGES)], options())
    with (
        patch("medclip_cli.cleaning.images.read_image", reader),
        open_journal(tmp_path / "journal", tmp_path) as journal,
    ):
        check_images(cleaning, tmp_path, journal=journal, threads=1)
    return cleaning


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for number in range(IMAGES):
        draw(tmp_path / f"{number}.png", seed=number)
    (tmp_path / "1.png").write_bytes(b"damaged")
    return tmp_path


def test_an_interrupted_run_goes_on(images: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        clean(images, CountingReader(stop_after=CHUNK + 4))
    again = CountingReader()
    resumed = clean(images, again)
    # What was done of the chunk under way is done again.
    assert again.decoded == IMAGES - CHUNK
    fresh_journal = images / "journal"
    fresh_journal.unlink()
    fresh = clean(images, CountingReader())
    assert resumed.records == fresh.records
    assert resumed.rejected == fresh.rejected
    assert resumed.reasons() == {"unreadable_image": 1}


def test_changed_files_are_looked_at_again(images: Path) -> None:
    clean(images, CountingReader())
    draw(images / "1.png", seed=9)
    os.utime(images / "2.png", (1, 1))
    again = CountingReader()
    assert clean(images, again).rejected == []
    assert again.decoded == 2


def test_a_torn_last_line_is_looked_at_again(images: Path) -> None:
    clean(images, CountingReader())
    journal = images / "journal"
    journal.write_bytes(journal.read_bytes()[:-20])
    again = CountingReader()
    assert len(clean(images, again).records) == IMAGES - 1
    assert again.decoded == 1
    third = CountingReader()
    clean(images, third)
    assert third.decoded == 0


@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe\x00", b"[]\n", b'{"version": 0}\n', b'{"version": 3, "root": "/x"}\n']
)
def test_a_journal_of_something_else_is_begun_anew(images: Path, content: bytes) -> None:
    (images / "journal").write_bytes(content)
    reader = CountingReader()
    clean(images, reader)
    assert reader.decoded == IMAGES


def test_missing_images_are_not_remembered(images: Path) -> None:
    (images / "0.png").unlink()
    assert clean(images, CountingReader()).reasons() == {"missing_image": 1, "unreadable_image": 1}
    draw(images / "0.png", seed=0)
    assert clean(images, CountingReader()).reasons() == {"unreadable_image": 1}


def test_a_place_that_cannot_be_written(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("medclip_cli.private_files.os.open", refuse)
    with (
        pytest.raises(CorpusError, match=r"cannot write .*Read-only file system"),
        open_journal(images / "journal", images),
    ):
        pass


def test_the_journal_lies_beside_the_corpus(tmp_path: Path) -> None:
    assert journal_path(tmp_path / "corpus") == tmp_path / ".corpus.cleaning.jsonl"
