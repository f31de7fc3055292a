"""Image files decoded once: uint8 squares in memory, or in one memory-mapped file when they are many."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.errors import ScanError
from encoders.preprocessing import ImagePreprocessing, load_image

IN_MEMORY_BYTES = 4 * 2**30
Skipped = Callable[[int, str], None]


class SquareCache:
    """The training images as the model's squares, each decoded when it is first asked for.

    From the second epoch on an image costs one copy of its bytes. An image that cannot be read is reported
    once and left out from then on; no other image takes its place.
    """

    def __init__(
        self,
        files: Sequence[Path],
        spec: ImagePreprocessing,
        *,
        on_skip: Skipped,
        in_memory_bytes: int = IN_MEMORY_BYTES,
        threads: int | None = None,
    ) -> None:
        """Prepare the space; nothing is read yet.

        Args:
            files: the image files, by row.
            spec: the model's preprocessing.
            on_skip: called once for each image that cannot be read, with its row and the reason.
            in_memory_bytes: a larger cache is a temporary file that the system pages in and out.
            threads: that decode; by default one for each core, at most eight.
        """
        self._files = list(files)
        self._spec = spec
        self._on_skip = on_skip
        self._squares = _space((len(self._files), spec.size, spec.size, 3), in_memory_bytes)
        self._known = np.zeros(len(self._files), dtype=bool)
        self._readable = np.ones(len(self._files), dtype=bool)
        self._pool = ThreadPoolExecutor(threads or min(8, os.cpu_count() or 1), thread_name_prefix="decode")

    @property
    def skipped(self) -> int:
        """Images that turned out unreadable so far."""
        return int((~self._readable).sum())

    def readable(self, rows: np.ndarray) -> np.ndarray:
        """Those of ``rows`` whose images can be read, in their order; decodes what was not decoded yet."""
        new = rows[~self._known[rows]]
        for row, problem in zip(new, self._pool.map(self._decode, new), strict=True):
            self._known[row] = True
            if problem is not None:
                self._readable[row] = False
                self._on_skip(int(row), problem)
        kept: np.ndarray = rows[self._readable[rows]]
        return kept

    def images(self, rows: np.ndarray) -> Tensor:
        """The squares of rows that ``readable`` returned: a copy, uint8 ``[b, size, size, 3]``."""
        return torch.from_numpy(self._squares[rows])

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _decode(self, row: int) -> str | None:
        try:
            self._squares[row] = load_image(self._files[row], self._spec)
        except ScanError as error:
            return str(error)
        return None


def _space(shape: tuple[int, ...], in_memory_bytes: int) -> np.ndarray:
    if int(np.prod(shape)) <= in_memory_bytes:
        return np.empty(shape, dtype=np.uint8)
    with tempfile.TemporaryFile(prefix="medclip-squares-") as file:  # the map keeps it alive, nameless
        return np.memmap(file, dtype=np.uint8, mode="w+", shape=shape)
