"""Fingerprints, flat pictures, and threads that keep the order."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from medclip_cli.cleaning.images import (
    CHUNK,
    WAITING_PER_THREAD,
    ImageFacts,
    difference_hashes,
    examine_image,
    in_order,
    is_blank,
)
from medclip_cli.cleaning.rules import Reason
from tests.medclip_cli.cleaning.drawn import draw, read_drawn_scan


def bits_apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_facts_of_a_good_image(tmp_path: Path) -> None:
    path = draw(tmp_path / "scan.png", size=(64, 48))
    facts = examine_image(read_drawn_scan, path)
    assert isinstance(facts, ImageFacts)
    assert (facts.width, facts.height) == (64, 48)
    assert facts.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_coarse_hash_bit_by_bit() -> None:
    grey = np.arange(72, dtype=np.uint8).reshape(8, 9)
    grey[0] = [0, 9, 0, 9, 0, 9, 0, 9, 0]
    coarse, fine = difference_hashes(Image.fromarray(grey))
    assert coarse == "aa" + "ff" * 7
    assert len(fine) == 128


def test_the_fine_hash_looks_across_and_down() -> None:
    ramp = np.tile(np.arange(272, dtype=np.uint16), (272, 1)).clip(0, 255).astype(np.uint8)
    across, down = (difference_hashes(Image.fromarray(array))[1] for array in (ramp, ramp.T))
    assert across == "ff" * 32 + "00" * 32
    assert down == "00" * 32 + "ff" * 32


def test_the_hashes_survive_scaling_recompression_and_brightness(tmp_path: Path) -> None:
    picture = Image.open(draw(tmp_path / "scan.png", size=(640, 480)))
    picture.resize((320, 240)).save(tmp_path / "small.jpg", quality=80)
    small, brighter = Image.open(tmp_path / "small.jpg"), ImageEnhance.Brightness(picture).enhance(0.8)
    other = Image.open(draw(tmp_path / "other.png", seed=1))
    coarse, fine = difference_hashes(picture)
    for same in (small, brighter):
        assert bits_apart(coarse, difference_hashes(same)[0]) <= 3
        assert bits_apart(fine, difference_hashes(same)[1]) <= 40
    assert bits_apart(coarse, difference_hashes(other)[0]) > 10
    assert bits_apart(fine, difference_hashes(other)[1]) > 100


def test_blank_pictures(tmp_path: Path) -> None:
    assert is_blank(Image.new("L", (32, 32), 128))
    assert is_blank(Image.new("RGB", (32, 32), (10, 200, 30)))
    mark = Image.new("L", (32, 32))
    mark.putpixel((5, 5), 255)
    assert not is_blank(mark)
    Image.new("L", (32, 32), 7).save(tmp_path / "flat.png")
    assert examine_image(read_drawn_scan, tmp_path / "flat.png") == Reason("blank_image", "one flat grey")


def test_results_come_in_order_and_few_wait() -> None:
    second_chunk_begun = threading.Event()
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    def work(item: int) -> int:
        if item == 0:
            second_chunk_begun.wait(10)  # the first chunk is the last to finish
        elif item == CHUNK:
            second_chunk_begun.set()
        return item * item

    results = in_order(work, items(), threads=2)
    assert next(results) == 0
    assert len(asked) <= CHUNK * WAITING_PER_THREAD * 2
    assert list(results) == [n * n for n in range(1, 1000)]


def test_an_exception_comes_after_the_results_before_it() -> None:
    def work(item: int) -> int:
        if item == CHUNK + 3:
            raise KeyError(item)
        return item

    results = in_order(work, range(100), threads=2)
    assert [next(results) for _ in range(CHUNK + 3)] == list(range(CHUNK + 3))
    with pytest.raises(KeyError):
        next(results)


def test_stopping_early_leaves_no_thread() -> None:
    results = in_order(lambda item: item, range(1000), threads=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("examine")]
