"""What a frozen image tower makes of the images a decoder learns from: a grid of features for each view."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.decoder import encode_grid
from encoders.dual import DualEncoder
from encoders.errors import ScanError
from encoders.preprocessing import ImagePreprocessing, load_image
from trainers.augmentation import NO_AUGMENTATION, Augmentation, draw, to_pixels
from trainers.data import Rows, TrainingPair, empty_array
from trainers.device import Placement
from trainers.randomness import generator

BATCH_SIZE = 32
IN_MEMORY_BYTES = 2 * 2**30


@dataclass(frozen=True, slots=True)
class Views:
    """Versions of each image that a decoder sees."""

    count: int = 1  # how many, the image as it is among them
    augmentation: Augmentation = NO_AUGMENTATION  # strength of the others' augmentation
    seed: int = 0  # of their draws


class GridCache:
    """The grid of each image and view, computed once and kept in half precision.

    View 0 is the image as it is; its vector is kept too.

    Attributes:
        rows: of the images that can be read.
        vectors: of view 0, unit length [n, d].
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        encoder: DualEncoder,
        spec: ImagePreprocessing,
        placement: Placement,
        *,
        on_skip: Callable[[str, Path, str], None],
        on_features: Callable[[int], None] = lambda count: None,
        views: Views | None = None,
    ) -> None:
        """Run the image tower over all images; those that cannot be read are reported and left out.

        Args:
            pairs: the images, by row.
            encoder: in evaluation mode, on the device of the placement.
            spec: its preprocessing.
            placement: where it computes.
            on_skip: called with id, path and reason for each image that cannot be read.
            on_features: called with the number of images of each batch.
            views: further versions of each image; None for the image alone.
        """
        self._encoder, self._spec, self._placement = encoder, spec, placement
        self._views = views or Views()
        self._grids: np.ndarray | None = None
        self.vectors = np.zeros((len(pairs), encoder.embedding_dim), dtype=np.float32)
        readable = np.zeros(len(pairs), dtype=bool)
        for count, rows, images in _decoded(pairs, spec, on_skip):
            if len(rows):
                self._extract(rows, images, len(pairs))
                readable[rows] = True
            on_features(count)
        self.rows: Rows = np.flatnonzero(readable)

    @property
    def shape(self) -> tuple[int, int]:
        """Cells and channels of a grid."""
        if self._grids is None:
            return 0, 0
        return self._grids.shape[2], self._grids.shape[3]

    def grids(self, rows: Rows, view: int = 0) -> Tensor:
        """Grids of readable rows, float32 ``[b, g, c]``, on the CPU."""
        assert self._grids is not None
        return torch.from_numpy(self._grids[view][rows].astype(np.float32))

    @torch.inference_mode()
    def _extract(self, rows: Rows, images: Tensor, count: int) -> None:
        images = images.to(self._placement.device)
        views = self._views
        for view in range(views.count):
            draws = draw(len(rows), generator(views.seed, "augmentation", view, int(rows[0])))
            augmentation = views.augmentation if view else NO_AUGMENTATION
            with self._placement.autocast():
                vectors, grid = encode_grid(self._encoder, to_pixels(images, self._spec, draws, augmentation))
            if self._grids is None:
                shape = (views.count, count, *grid.shape[1:])
                self._grids = empty_array(shape, np.float16, IN_MEMORY_BYTES)
            self._grids[view, rows] = grid.float().cpu().numpy()
            if view == 0:
                self.vectors[rows] = vectors.float().cpu().numpy()


def grid_sides(encoder: DualEncoder, image_size: int) -> tuple[int, int]:
    """Rows and columns of an encoder's grid."""
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, image_size, image_size, device=device)
        feature_map = encoder.image_tower.features_and_map(pixels)[1]  # type: ignore[operator]
    return int(feature_map.shape[2]), int(feature_map.shape[3])


def _decoded(
    pairs: Sequence[TrainingPair], spec: ImagePreprocessing, on_skip: Callable[[str, Path, str], None]
) -> Iterator[tuple[int, Rows, Tensor]]:
    """Batches: how many images it has, the readable rows among them, those images; decoded in threads."""

    def decode(pair: TrainingPair) -> np.ndarray | str:
        try:
            return load_image(pair.image, spec)
        except ScanError as error:
            return str(error)

    with ThreadPoolExecutor(4, thread_name_prefix="decode") as pool:
        for first in range(0, len(pairs), BATCH_SIZE):
            batch = pairs[first : first + BATCH_SIZE]
            rows, images = [], []
            for row, result in enumerate(pool.map(decode, batch), start=first):
                if isinstance(result, str):
                    on_skip(pairs[row].id, pairs[row].image, result)
                else:
                    rows.append(row)
                    images.append(result)
            stacked = torch.from_numpy(np.stack(images)) if rows else torch.empty(0)
            yield len(batch), np.array(rows, dtype=np.int64), stacked
