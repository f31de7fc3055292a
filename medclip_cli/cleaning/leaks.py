"""Does a held-out image stand in train as well? Groups, identical files, and near-identical pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclip_cli.cleaning.splits import leaked_groups
from medclip_cli.records import CaptionedImage

# A picture that was scaled, brightened or saved again differs from itself by so many bits at most, 95 times
# in 100. Three bits cut the coarse hash into four bands, one of which must be equal; chest X-rays of two
# people are often that near, so the fine hash has the last word (there, two people are 70 bits apart).
NEAR_BITS = 3
NEAR_FINE_BITS = 40
_BANDS = ((0, 16), (16, 16), (32, 16), (48, 16))
EXAMPLES = 10

Pair = tuple[CaptionedImage, CaptionedImage]
FineHash = Callable[[CaptionedImage], "bytes | None"]


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


def find_leaks(records: Sequence[CaptionedImage], fine_hash: FineHash) -> Leaks:
    """Compare the held-out splits with train.

    Args:
        records: with their splits.
        fine_hash: gives the fine hash of a record's image, 64 bytes; None if it was not looked at, and then
            it has no near duplicates.
    """
    train = [r for r in records if r.split == "train"]
    held_out = [r for r in records if r.split != "train"]
    exact = list(_exact(train, held_out))
    known = {held.id for held, _ in exact}
    rest = [r for r in held_out if r.id not in known]
    near = near_pairs(rest, train, fine_hash)
    captions = {r.caption for r in train}
    return Leaks(
        groups=len(leaked_groups(records)),
        exact_duplicates=len(exact),
        near_duplicates=len(near),
        shared_captions=sum(r.caption in captions for r in held_out),
        examples=tuple((held.id, other.id) for held, other in [*exact, *near][:EXAMPLES]),
    )


def _exact(train: Sequence[CaptionedImage], held_out: Sequence[CaptionedImage]) -> Iterator[Pair]:
    by_content = {r.sha256: r for r in train if r.sha256}
    for record in held_out:
        if record.sha256 in by_content:
            yield record, by_content[record.sha256]


def near_pairs(
    ours: Sequence[CaptionedImage], theirs: Sequence[CaptionedImage], fine_hash: FineHash
) -> list[Pair]:
    """Pair each of our images with the first of theirs that shows the same picture, if there is one."""
    found: dict[int, int] = {}
    our_hashes, their_hashes = _hashes(ours), _hashes(theirs)
    for start, width in _BANDS:
        mask, shift = np.uint64((1 << width) - 1), np.uint64(start)
        buckets = _by_value((their_hashes >> shift) & mask, their_hashes)
        for i, band in enumerate(((our_hashes >> shift) & mask).tolist()):
            candidates = buckets.get(band)
            if i in found or candidates is None or not our_hashes[i]:
                continue
            near = candidates[_bits(their_hashes[candidates] ^ our_hashes[i]) <= NEAR_BITS]
            match = next((j for j in near.tolist() if _same_picture(ours[i], theirs[j], fine_hash)), None)
            if match is not None:
                found[i] = match
    return [(ours[i], theirs[j]) for i, j in sorted(found.items())]


def _same_picture(one: CaptionedImage, other: CaptionedImage, fine_hash: FineHash) -> bool:
    first, second = fine_hash(one), fine_hash(other)
    if first is None or second is None:
        return False
    return (int.from_bytes(first, "big") ^ int.from_bytes(second, "big")).bit_count() <= NEAR_FINE_BITS


def _hashes(records: Sequence[CaptionedImage]) -> NDArray[np.uint64]:
    # A hash of zero is a picture without any edge, or one that was not looked at: it is like nothing else.
    return np.array([int(r.dhash or "0", 16) for r in records], dtype=np.uint64)


def _by_value(bands: NDArray[np.uint64], hashes: NDArray[np.uint64]) -> dict[int, NDArray[np.int64]]:
    """Return the rows of each band value; pictures without a hash are in none."""
    rows = np.flatnonzero(hashes)
    rows = rows[np.argsort(bands[rows], kind="stable")]
    values, starts = np.unique(bands[rows], return_index=True)
    return dict(zip(values.tolist(), np.split(rows, starts[1:]), strict=True)) if len(rows) else {}


def _bits(values: NDArray[np.uint64]) -> NDArray[np.int64]:
    eighths = np.unpackbits(values.view(np.uint8).reshape(len(values), 8), axis=1)
    return np.asarray(eighths.sum(axis=1), dtype=np.int64)
