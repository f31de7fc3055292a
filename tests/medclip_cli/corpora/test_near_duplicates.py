"""Fingerprints of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from medclip_cli.corpora.near_duplicates import difference_hashes, hash_miniatures, miniature
from tests.medclip_cli.cleaning.drawn import draw


def bits_apart(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_the_coarse_hash_bit_by_bit() -> None:
    # Eight rows of nine cells, each 17 x 17 equal pixels, so that every cell's mean is its own grey.
    grey = np.tile(np.arange(0, 90, 10, dtype=np.uint8), (8, 1))
    grey[0] = [0, 90, 0, 90, 0, 90, 0, 90, 0]
    coarse, fine = difference_hashes(Image.fromarray(grey.repeat(17, 0).repeat(17, 1)))
    assert coarse == "aa" + "ff" * 7
    assert len(fine) == 128


def test_pictures_hashed_together_are_hashed_as_alone() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (5, 200, 300), dtype=np.uint8)
    pictures = [Image.fromarray(one) for one in noise]
    together = hash_miniatures([miniature(picture) for picture in pictures])
    assert together == [difference_hashes(picture) for picture in pictures]
    assert len(set(together)) == 5
    assert hash_miniatures([]) == []


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
