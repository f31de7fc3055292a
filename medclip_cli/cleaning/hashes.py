"""Difference hashes: a few bits that two copies of one picture share, however each was saved."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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
    # Rounded to a grey, since noise would decide between cells that no eye tells apart.
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
