"""Splits never cut a group; leaks across them are found."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclip_cli.cleaning.splits import TRAIN_VAL, assign_splits, deal_groups
from medclip_cli.corpora import near_duplicates
from medclip_cli.corpora.near_duplicates import find_leaks, leaked_groups
from medclip_cli.records import CaptionedImage
from tests.medclip_cli.corpora.drawn import record


def same_fine_hash(record: CaptionedImage) -> bytes:
    return bytes(64)


SHARES = {"test": 0.1, "val": 0.1}


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(["", TRAIN_VAL])), min_size=3), st.integers())
def test_no_group_is_cut_and_training_never_ends_up_empty(rows: list[tuple[int, str]], seed: int) -> None:
    records = [record(n, group=f"g{g}{split}", split=split) for n, (g, split) in enumerate(rows)]
    split = assign_splits(records, seed=seed)
    by_group = defaultdict(set)
    for one in split:
        by_group[one.group].add(one.split)
    assert all(len(splits) == 1 for splits in by_group.values())
    assert "train" in {one.split for one in split}
    assert split == assign_splits(records, seed=seed)


def test_shares_are_of_images() -> None:
    dealt = deal_groups({f"g{n}": 1 + n % 3 for n in range(300)}, seed=1, held_out=SHARES)
    images = {name: sum(1 + n % 3 for n in range(300) if dealt[f"g{n}"] == name) for name in ("val", "test")}
    assert all(60 <= count <= 63 for count in images.values())


def test_the_seed_matters_and_a_new_group_moves_few_others() -> None:
    sizes = {f"g{n}": 1 for n in range(200)}
    one, other = (deal_groups(sizes, seed=seed, held_out=SHARES) for seed in (1, 2))
    assert one != other
    grown = deal_groups({**sizes, "new": 1}, seed=1, held_out=SHARES)
    assert sum(one[group] != grown[group] for group in sizes) <= 4


def test_a_row_follows_the_official_split_of_its_group() -> None:
    records = [record(0, group="a", split="test"), record(1, group="a", split="")]
    assert [r.split for r in assign_splits(records, seed=0)] == ["test", "test"]


def test_train_val_lists_are_divided_by_group_and_never_into_test() -> None:
    records = [record(n, group=f"g{n // 2}", split=TRAIN_VAL) for n in range(100)]
    assert {r.split for r in assign_splits(records, seed=0)} == {"train", "val"}


def test_leaked_groups() -> None:
    records = [record(0, group="a"), record(1, group="a", split="val"), record(2, group="b", split="test")]
    assert leaked_groups(records) == {"a"}


def test_leaks_by_group_content_and_picture() -> None:
    train = [
        record(0, sha256="aa", dhash="00ff00ff00ff00ff", group="shared"),
        record(1, sha256="bb", dhash="f0f0f0f0f0f0f0f0"),
        record(2, sha256="ee", dhash="0000000000000000"),
    ]
    held_out = [
        record(3, split="val", sha256="aa", dhash="00ff00ff00ff00ff", group="shared"),
        record(4, split="test", sha256="cc", dhash="f0f0f0f0f0f0f0f3", caption=train[0].caption),
        record(5, split="test", sha256="dd", dhash="f0f0f0f0f0f00f0f"),
        record(6, split="test", sha256="ff", dhash="0000000000000000"),
    ]
    leaks = find_leaks([*train, *held_out], same_fine_hash)
    assert (leaks.groups, leaks.exact_duplicates, leaks.near_duplicates, leaks.shared_captions) == (
        1,
        1,
        1,
        1,
    )
    assert leaks.examples == (("drawn/3", "drawn/0"), ("drawn/4", "drawn/1"))
    assert leaks.any


def test_nothing_leaks_between_different_images_or_unchecked_ones() -> None:
    records = [record(0), record(1, split="val"), record(2, split="test", dhash="0123456789abcdef")]
    assert not find_leaks(records, same_fine_hash).any


@pytest.mark.parametrize(
    ("flipped", "near"),
    [(0, 1), (near_duplicates.NEAR_FINE_BITS, 1), (near_duplicates.NEAR_FINE_BITS + 1, 0), (None, 0)],
)
def test_the_fine_hash_has_the_last_word(flipped: int | None, near: int) -> None:
    records = [record(0, dhash="ff" * 8), record(1, split="val", dhash="ff" * 8)]
    fine = {"drawn/0": bytes(64)}
    if flipped is not None:
        fine["drawn/1"] = ((1 << flipped) - 1).to_bytes(64, "big")
    assert find_leaks(records, lambda record: fine.get(record.id)).near_duplicates == near


@given(st.integers(0, 2**64 - 1), st.sets(st.integers(0, 63), max_size=5))
def test_near_duplicates_agree_with_counting_bits(one: int, flipped: set[int]) -> None:
    other = one
    for bit in flipped:
        other ^= 1 << bit
    records = [record(0, dhash=f"{one:016x}"), record(1, dhash=f"{other:016x}", split="val")]
    expected = len(flipped) <= near_duplicates.NEAR_BITS and one != 0 and other != 0
    assert find_leaks(records, same_fine_hash).near_duplicates == expected
