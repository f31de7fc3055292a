"""Do two images show the same? Difference hashes, and what leaks from train into the held-out splits."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclip_cli.errors import ScanError
from medclip_cli.records import CaptionedImage

# A picture that was scaled, brightened or saved again differs from itself by so many bits at most, 95 times
# in 100. Three bits cut the coarse hash into four bands, one of which must be equal; chest X-rays of two
# people are often that near, so the fine hash has the last word (there, two people are 70 bits apart).
NEAR_BITS = 3
NEAR_FINE_BITS = 40
_BAND_BITS = 16
LEAKS_SHOWN = 10

# Eight pixels a cell of the fine hash; with four, one in three pictures saved again is missed.
_REDUCED_SIDE = 128
# A picture may be decoded as small as twice this, and its hashes stay what they are but for a bit or two.
LEAST_SIDE = _REDUCED_SIDE // 2
_SIDE = 17
_COARSE_COLUMNS, _COARSE_ROWS = 9, 8


def difference_hashes(picture: Image.Image) -> tuple[str, str]:
    """Return the coarse (64-bit) and the fine (512-bit) difference hash of a picture, in hex.

    The coarse one says bit by bit, row by row, whether a cell of the 9 x 8 grey miniature is darker than
    its right neighbour. It survives scaling, recompression and brightness (N. Krawetz, "Kind of Like That",
    hackerfactor.com, 2013), and it is alike for many chest X-rays. The fine one says the same of 16 x 16
    cells of a 17 x 17 miniature and their right neighbours, then of the same and those below.
    """
    return hash_miniatures([miniature(picture)])[0]


def miniature(picture: Image.Image) -> Image.Image:
    """Return a picture in 17 x 17 greys, all that its hashes are made of."""
    # Averaging down by a whole number first costs a tenth of one resize of a large picture.
    factor = min(picture.size) // _REDUCED_SIDE
    small = picture.reduce(factor) if factor > 1 else picture
    small = small if small.mode == "L" else small.convert("L")
    return small.resize((_SIDE, _SIDE), Image.Resampling.BOX)


def hash_miniatures(miniatures: Sequence[Image.Image]) -> list[tuple[str, str]]:
    """Return the coarse and the fine hash of many pictures at once, see `difference_hashes`."""
    # [n, 17, 17]
    fine = np.frombuffer(b"".join(small.tobytes() for small in miniatures), np.uint8)
    fine = fine.reshape(len(miniatures), _SIDE, _SIDE)
    # [n, 8, 9]: weighted sums of whole numbers below 2 ** 24, so that equal greys stay equal in float32.
    # Rounded to a grey, since noise would decide between cells that look the same.
    coarse = (_ROWS @ fine.astype(np.float32) @ _COLUMNS / _SIDE**2).round()
    corner = fine[:, :-1, :-1]
    across, down = fine[:, :-1, 1:] > corner, fine[:, 1:, :-1] > corner
    coarse_bits = _packed(coarse[:, :, 1:] > coarse[:, :, :-1])
    fine_bits = _packed(np.concatenate([across, down], axis=1))
    return [(c.tobytes().hex(), f.tobytes().hex()) for c, f in zip(coarse_bits, fine_bits, strict=True)]


def _packed(bits: NDArray[np.bool_]) -> NDArray[np.uint8]:
    return np.packbits(bits.reshape(len(bits), bits.shape[1] * bits.shape[2]), axis=1)


def _shares(cells: int) -> NDArray[np.float32]:
    """Return how much of each of 17 pixels lies in each of so many equal cells, in parts of 1 / `cells`."""
    # In these parts a pixel is `cells` wide and a cell 17.
    pixels, starts = np.arange(_SIDE) * cells, np.arange(cells)[:, None] * _SIDE
    overlap = np.minimum(pixels + cells, starts + _SIDE) - np.maximum(pixels, starts)
    return overlap.clip(0).astype(np.float32)


_ROWS, _COLUMNS = _shares(_COARSE_ROWS), _shares(_COARSE_COLUMNS).T


FineHash = Callable[[CaptionedImage], "bytes | None"]


class FineHashes:
    """The fine hash of a record's image, read on demand.

    Attributes:
        unread: why an image could not be read, by its path; such an image is like nothing.
    """

    def __init__(self, image_path: Callable[[CaptionedImage], Path]) -> None:
        """Look images up where `image_path` says; the hashes of the last 65,536 are kept."""
        self.unread: dict[Path, str] = {}
        self._image_path = image_path
        self._of_file = lru_cache(maxsize=65_536)(self._read)

    def __call__(self, record: CaptionedImage) -> bytes | None:
        return self._of_file(self._image_path(record))

    def _read(self, path: Path) -> bytes | None:
        from encoders.images import read_image

        try:
            return bytes.fromhex(difference_hashes(read_image(path))[1])
        except ScanError as error:
            self.unread[path] = str(error)
            return None


def coarse_hashes(records: Iterable[CaptionedImage]) -> NDArray[np.uint64]:
    """Return the coarse hashes of records; 0 is a picture without any edge, or one that was not decoded."""
    return np.array([int(record.dhash or "0", 16) for record in records], dtype=np.uint64)


def near_rows(
    ours: NDArray[np.uint64], theirs: NDArray[np.uint64], done: Container[int] = ()
) -> Iterator[tuple[int, list[int]]]:
    """Yield a row of ours with those of theirs whose coarse hashes are near; a hash of 0 is like nothing.

    A pair comes once for each of the four bands that are equal; rows of ours that are in `done` are skipped.
    """
    present = np.flatnonzero(theirs)
    for start in range(0, 64 if len(present) else 0, _BAND_BITS):
        mask, shift = np.uint64((1 << _BAND_BITS) - 1), np.uint64(start)
        bands = (theirs[present] >> shift) & mask
        order = np.argsort(bands, kind="stable")
        values, starts = np.unique(bands[order], return_index=True)
        buckets = dict(zip(values.tolist(), np.split(present[order], starts[1:]), strict=True))
        for row, band in enumerate(((ours >> shift) & mask).tolist()):
            bucket = buckets.get(band)
            if bucket is None or row in done or not ours[row]:
                continue
            differing = (theirs[bucket] ^ ours[row]).view(np.uint8).reshape(len(bucket), 8)
            near = bucket[np.unpackbits(differing, axis=1).sum(axis=1) <= NEAR_BITS]
            if len(near):
                yield row, near.tolist()


def same_picture(one: CaptionedImage, other: CaptionedImage, fine_hash: FineHash) -> bool:
    """Whether two images whose coarse hashes are near show the same, by their fine hashes."""
    first, second = fine_hash(one), fine_hash(other)
    if first is None or second is None:
        return False
    return (int.from_bytes(first, "big") ^ int.from_bytes(second, "big")).bit_count() <= NEAR_FINE_BITS


@dataclass(frozen=True, slots=True)
class Leaks:
    """What train and the held-out splits share: groups, and held-out images that stand in train as well.

    Attributes:
        exact_duplicates: by their very bytes.
        near_duplicates: further ones by their picture's difference hash.
        shared_captions: by their caption alone; no leak of images, but it flatters retrieval scores.
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


def find_leaks(records: Sequence[CaptionedImage], fine_hash: FineHash) -> Leaks:
    """Compare the held-out splits with train.

    `fine_hash` gives the 64 bytes of a record's image; None if it was not decoded, and has no near ones.
    """
    train = [r for r in records if r.split == "train"]
    held_out = [r for r in records if r.split != "train"]
    by_content = {r.sha256: r for r in train if r.sha256}
    exact = [(r, by_content[r.sha256]) for r in held_out if r.sha256 in by_content]
    rest = [r for r in held_out if r.sha256 not in by_content]
    found: dict[int, int] = {}
    for i, near in near_rows(coarse_hashes(rest), coarse_hashes(train), done=found):
        match = next((j for j in near if same_picture(rest[i], train[j], fine_hash)), None)
        if match is not None:
            found[i] = match
    alike = [(rest[i], train[j]) for i, j in sorted(found.items())]
    captions = {r.caption for r in train}
    return Leaks(
        groups=len(leaked_groups(records)),
        exact_duplicates=len(exact),
        near_duplicates=len(alike),
        shared_captions=sum(r.caption in captions for r in held_out),
        examples=tuple((held.id, other.id) for held, other in [*exact, *alike][:LEAKS_SHOWN]),
    )


def leaked_groups(records: Iterable[CaptionedImage]) -> frozenset[str]:
    """Return the groups that stand in train and in a held-out split as well."""
    in_train: set[str] = set()
    held_out: set[str] = set()
    for record in records:
        (in_train if record.split == "train" else held_out).add(record.group)
    return frozenset(in_train & held_out)
