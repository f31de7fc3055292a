"""What a decoder learns from: the grids a frozen image tower sees, and the captions of neighbours."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from encoders.decoder import look
from encoders.dual import DualEncoder
from encoders.errors import ScanError
from encoders.preprocessing import ImagePreprocessing, load_image
from trainers.augmentation import NO_AUGMENTATION, Augmentation, draw
from trainers.batches import TrainingPair
from trainers.device import Placement
from trainers.objective import to_pixels
from trainers.randomness import derived_seed, generator

BATCH_SIZE = 32
IN_MEMORY_BYTES = 2 * 2**30
# Captions of so many batches are sorted together: enough to save most padding, few enough to stay shuffled.
SORTED_BATCHES = 8
# Neighbours among which those with different captions are looked for, as when a question is asked.
LOOKED_AT = 100
Rows = np.ndarray


@dataclass(frozen=True, slots=True)
class Views:
    """Pictures a decoder sees of each image.

    Attributes:
        count: how many, the image as it is among them.
        augmentation: how far the others are moved.
        seed: of their draws.
    """

    count: int = 1
    augmentation: Augmentation = NO_AUGMENTATION
    seed: int = 0


class GridCache:
    """Each image looked at once for each view, its grid kept in half precision.

    View 0 is the image as it is; its vector is kept too.
    """

    def __init__(
        self,
        pairs: Sequence[TrainingPair],
        encoder: DualEncoder,
        spec: ImagePreprocessing,
        placement: Placement,
        *,
        on_skip: Callable[[str, Path, str], None],
        on_seen: Callable[[int], None] = lambda count: None,
        views: Views | None = None,
    ) -> None:
        """Look at all images; those that cannot be read are reported and left out.

        Args:
            pairs: the images, by row.
            encoder: in evaluation mode, on the device of the placement.
            spec: its preprocessing.
            placement: where it computes.
            on_skip: called with id, path and reason for each image that cannot be read.
            on_seen: called with the number of images of each batch.
            views: further pictures of each image; None for the image alone.
        """
        self._encoder, self._spec, self._placement = encoder, spec, placement
        self._views = views or Views()
        self._grids: np.ndarray | None = None
        self.vectors = np.zeros((len(pairs), encoder.embedding_dim), dtype=np.float32)
        readable = np.zeros(len(pairs), dtype=bool)
        for asked, rows, squares in _decoded(pairs, spec, on_skip):
            if len(rows):
                self._look_at(rows, squares, len(pairs))
                readable[rows] = True
            on_seen(asked)
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
    def _look_at(self, rows: Rows, squares: Tensor, count: int) -> None:
        squares = squares.to(self._placement.device)
        views = self._views
        for view in range(views.count):
            draws = draw(len(rows), generator(views.seed, "augmentation", view, int(rows[0])))
            amounts = views.augmentation if view else NO_AUGMENTATION
            with self._placement.autocast():
                vectors, grid = look(self._encoder, to_pixels(squares, self._spec, draws, amounts))
            if self._grids is None:
                self._grids = _space((views.count, count, *grid.shape[1:]))
            self._grids[view, rows] = grid.float().cpu().numpy()
            if view == 0:
                self.vectors[rows] = vectors.float().cpu().numpy()


def batches_by_length(lengths: np.ndarray, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """Shuffle an epoch into batches of captions of like length: padding costs as much as words.

    Args:
        lengths: of each caption, in letters.
        batch_size: at most.
        seed: of the run.
        epoch: from 0.

    Returns:
        Places in ``lengths``, each once.
    """
    dice = np.random.default_rng(derived_seed(seed, "order", epoch))
    order = dice.permutation(len(lengths))
    batches = []
    for first in range(0, len(order), SORTED_BATCHES * batch_size):
        part = order[first : first + SORTED_BATCHES * batch_size]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += np.split(part, range(batch_size, len(part), batch_size))
    return [batches[place] for place in dice.permutation(len(batches))]


def grid_sides(encoder: DualEncoder, image_size: int) -> tuple[int, int]:
    """Rows and columns of the grid that an encoder sees."""
    device = next(encoder.parameters()).device
    with torch.inference_mode():
        pixels = torch.zeros(1, 3, image_size, image_size, device=device)
        feature_map = encoder.image_tower.features_and_map(pixels)[1]  # type: ignore[operator]
    return int(feature_map.shape[2]), int(feature_map.shape[3])


def nearest_rows(
    vectors: np.ndarray,
    groups: Sequence[str],
    known: np.ndarray,
    known_groups: Sequence[str],
    count: int,
    *,
    known_texts: Sequence[str],
) -> np.ndarray:
    """Which known images are nearest to each image, its own patient, case or article left out.

    Of the images with one caption only the nearest is taken: the slices of a case would say the same again.

    Args:
        vectors: of the images, unit length ``[n, d]``.
        groups: of the images; an empty name belongs to nobody.
        known: vectors of the images that may answer ``[m, d]``.
        known_groups: of those.
        count: how many.
        known_texts: their captions.

    Returns:
        int64 ``[n, count]``, nearest first; -1 where there are no more.
    """
    numbers = {name: place for place, name in enumerate(dict.fromkeys([*groups, *known_groups]))}
    own = np.array([numbers[name] if name else -1 for name in groups])
    theirs = np.array([numbers[name] if name else -2 for name in known_groups])
    wordings = np.unique(np.asarray(known_texts, dtype=object).astype(str), return_inverse=True)[1]
    found = np.full((len(vectors), count), -1, dtype=np.int64)
    for row, similarity in enumerate(_similarities(vectors, known) if count else ()):
        allowed = np.flatnonzero(theirs != own[row])
        distance = -similarity[allowed]
        if len(allowed) > LOOKED_AT:  # sorting all of a large corpus for each of its images would take hours
            near = np.sort(np.argpartition(distance, LOOKED_AT)[:LOOKED_AT])
            allowed, distance = allowed[near], distance[near]
        order = allowed[np.argsort(distance, kind="stable")]
        firsts = np.sort(np.unique(wordings[order], return_index=True)[1])[:count]
        found[row, : len(firsts)] = order[firsts]
    return found


def _similarities(vectors: np.ndarray, known: np.ndarray) -> Iterator[np.ndarray]:
    """The similarities ``[m]`` of each vector to all known ones, multiplied some at a time."""
    for first in range(0, len(vectors), 256):
        yield from vectors[first : first + 256] @ known.T


def _decoded(
    pairs: Sequence[TrainingPair], spec: ImagePreprocessing, on_skip: Callable[[str, Path, str], None]
) -> Iterator[tuple[int, Rows, Tensor]]:
    """Batches: how many were asked for, the readable rows among them, their squares; decoded in threads."""

    def decode(pair: TrainingPair) -> np.ndarray | str:
        try:
            return load_image(pair.image, spec)
        except ScanError as error:
            return str(error)

    with ThreadPoolExecutor(4, thread_name_prefix="decode") as pool:
        for first in range(0, len(pairs), BATCH_SIZE):
            batch = pairs[first : first + BATCH_SIZE]
            rows, squares = [], []
            for row, result in enumerate(pool.map(decode, batch), start=first):
                if isinstance(result, str):
                    on_skip(pairs[row].id, pairs[row].image, result)
                else:
                    rows.append(row)
                    squares.append(result)
            stacked = torch.from_numpy(np.stack(squares)) if rows else torch.empty(0)
            yield len(batch), np.array(rows, dtype=np.int64), stacked


def _space(shape: tuple[int, ...]) -> np.ndarray:
    if 2 * int(np.prod(shape)) <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype=np.float16)
    with tempfile.TemporaryFile(prefix="medclip-grids-") as file:  # the map keeps it alive, nameless
        return np.memmap(file, dtype=np.float16, mode="w+", shape=shape)
