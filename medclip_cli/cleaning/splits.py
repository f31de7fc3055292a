"""Splits that never cut a group, the same for the same seed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from medclip_cli.records import CaptionedImage

# An official split that leaves the validation part to the user (ChestX-ray14's train_val_list.txt).
TRAIN_VAL = "train_val"
HELD_OUT = {"test": 0.1, "val": 0.1}


def assign_splits(
    records: Sequence[CaptionedImage], *, seed: int, held_out: Mapping[str, float] = HELD_OUT
) -> list[CaptionedImage]:
    """Give a split to every record that has none, whole groups at a time.

    A record without a split follows its group when the group has an official one. The other groups are put
    in an order that depends on the seed and the group's name alone, and dealt out until each held-out split
    has its share of the images; so a corpus that grows keeps most of its held-out groups.

    Args:
        records: with an official split, ``train_val`` (divided into train and val), or an empty split.
        seed: of the order of groups.
        held_out: share of the images by split; the rest is for training.
    """
    official = {r.group: r.split for r in records if r.split not in ("", TRAIN_VAL)}
    free = Counter(r.group for r in records if r.split == "" and r.group not in official)
    shared = Counter(r.group for r in records if r.split == TRAIN_VAL)
    dealt = deal_groups(free, seed=seed, held_out=held_out)
    halves = deal_groups(shared, seed=seed, held_out={"val": held_out.get("val", 0.0)})
    splits = (
        halves[r.group] if r.split == TRAIN_VAL else r.split or official.get(r.group) or dealt[r.group]
        for r in records
    )
    return [r if r.split == s else replace(r, split=s) for r, s in zip(records, splits, strict=True)]


def deal_groups(sizes: Mapping[str, int], *, seed: int, held_out: Mapping[str, float]) -> dict[str, str]:
    """Return the split of each group, given its size and each split's share of the images.

    Every held-out split has a group while at least one is left for training.
    """
    waiting = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    total = sum(sizes.values())
    dealt: dict[str, str] = {}
    for split, share in held_out.items():
        have = 0
        while share > 0 and len(waiting) > 1 and have < share * total:
            group = waiting.pop()
            dealt[group] = split
            have += sizes[group]
    dealt.update(dict.fromkeys(waiting, "train"))
    return dealt
