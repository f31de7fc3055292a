"""Does a held-out image stand in train as well? Groups, identical files, and near-identical pictures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip_cli.cleaning.splits import leaked_groups
from medclip_cli.records import CaptionedImage

# Difference hashes of one picture saved twice differ by no more bits than this; those of two pictures of one
# study often differ by three to six. Two bits cut the hash into three bands, one of which must be equal.
NEAR_BITS = 2
_BANDS = ((0, 22), (22, 21), (43, 21))
EXAMPLES = 10


@dataclass(frozen=True, slots=True)
class Leaks:
    """What train and the held-out splits share.

    Attributes:
        groups: groups that stand in train and in a held-out split.
        exact_duplicates: held-out images whose very bytes stand in train.
        near_duplicates: further held-out images whose picture stands in train, by difference hash.
        shared_captions: held-out images whose caption stands in train; no leak of images, but it flatters
            retrieval scores.
        examples: some pairs (held-out id, train id) of the duplicates.
    """

    groups: int
    exact_duplicates: int
    near_duplicates: int
    shared_captions: int
    examples: tuple[tuple[str, str], ...] = ()

    @property
    def any(self) -> bool:
        """Whether anything leaks; shared captions do not count."""
        return bool(self.groups or self.exact_duplicates or self.near_duplicates)

    def as_dict(self) -> dict[str, Any]:
        """Return the counts for ``report.json``."""
        return asdict(self)


def find_leaks(records: Sequence[CaptionedImage]) -> Leaks:
    """Compare the held-out splits with train."""
    train = [r for r in records if r.split == "train"]
    held_out = [r for r in records if r.split != "train"]
    exact = list(_exact(train, held_out))
    known = {held.id for held, _ in exact}
    near = list(_near(train, [r for r in held_out if r.id not in known]))
    captions = {r.caption for r in train}
    return Leaks(
        groups=len(leaked_groups(records)),
        exact_duplicates=len(exact),
        near_duplicates=len(near),
        shared_captions=sum(r.caption in captions for r in held_out),
        examples=tuple((held.id, other.id) for held, other in (exact + near)[:EXAMPLES]),
    )


_Pair = tuple[CaptionedImage, CaptionedImage]


def _exact(train: Sequence[CaptionedImage], held_out: Sequence[CaptionedImage]) -> Iterator[_Pair]:
    by_content = {r.sha256: r for r in train if r.sha256}
    for record in held_out:
        if record.sha256 in by_content:
            yield record, by_content[record.sha256]


def _near(train: Sequence[CaptionedImage], held_out: Sequence[CaptionedImage]) -> Iterator[_Pair]:
    """Pair each held-out image with a train image at most `NEAR_BITS` bits away, if there is one."""
    ours, theirs = _hashes(held_out), _hashes(train)
    found: dict[int, int] = {}
    for start, width in _BANDS:
        mask, shift = np.uint64((1 << width) - 1), np.uint64(start)
        buckets = _by_value((theirs >> shift) & mask, theirs)
        for i, band in enumerate(((ours >> shift) & mask).tolist()):
            candidates = buckets.get(band)
            if i in found or candidates is None or not ours[i]:
                continue
            distance = _bits(theirs[candidates] ^ ours[i])
            best = int(distance.argmin())
            if distance[best] <= NEAR_BITS:
                found[i] = int(candidates[best])
    for i, j in sorted(found.items()):
        yield held_out[i], train[j]


def _hashes(records: Sequence[CaptionedImage]) -> NDArray[np.uint64]:
    # A hash of zero is a picture without any edge, or one that was not looked at: it is like nothing else.
    return np.array([int(r.dhash or "0", 16) for r in records], dtype=np.uint64)


def _by_value(bands: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> dict[int, NDArray[np.int64]]:
    buckets: defaultdict[int, list[int]] = defaultdict(list)
    # One picture of each hash is enough: there may be thousands of the same.
    _, firsts = np.unique(hashes, return_index=True)
    for i in firsts[hashes[firsts] != 0].tolist():
        buckets[int(bands[i])].append(i)
    return {band: np.array(rows) for band, rows in buckets.items()}


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    eighths = np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1)
    return np.asarray(eighths.sum(axis=1), dtype=np.int64)
