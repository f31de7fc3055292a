"""Baselines: answers that need no model, which a model must beat; per query, an index into the pool.

The upper bound is the other way round: it is given the fields of the query and draws among the pool's
captions that share them, so it says how far the fields alone would carry a perfect classifier of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Fields = tuple[str | None, ...]


def random_baseline(queries: int, pool: int, rng: np.random.Generator) -> Ints:
    """[queries] a candidate drawn at random for each query."""
    return rng.integers(pool, size=queries)


def most_frequent_baseline(queries: int, captions: Sequence[str]) -> Ints:
    """[queries] the caption the pool holds most often (the first of equals), whatever the query.

    >>> most_frequent_baseline(2, ["left", "right", "right"]).tolist()
    [1, 1]
    """
    commonest = Counter(captions).most_common(1)[0][0]
    return np.full(queries, captions.index(commonest), dtype=np.int64)


def pixel_nearest_baseline(queries: npt.NDArray[np.number], pool: npt.NDArray[np.number]) -> Ints:
    """[q] the candidate whose grey thumbnail correlates best with the query's.

    Args:
        queries: [q, side, side] grey thumbnails.
        pool: [p, side, side] grey thumbnails.
    """
    return np.asarray(np.argmax(unit_thumbnails(queries) @ unit_thumbnails(pool).T, axis=1))


def unit_thumbnails(thumbnails: npt.NDArray[np.number]) -> Floats:
    """[n, side * side] float32: thumbnails without their mean, at unit length (an even grey stays zero)."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    length = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.maximum(length, 1e-6))


def same_fields(queries: Sequence[Fields], pool: Sequence[Fields], rng: np.random.Generator) -> Ints:
    """[q] a candidate drawn among those with the query's fields (modality, view, region).

    Where none has all of them the last field is dropped, then the one before it: put the most telling first.

    >>> pool = [("CT", "Axial"), ("CT", "Coronal"), ("MR", "Axial")]
    >>> same_fields([("CT", "Coronal"), ("MR", "Sagittal")], pool, np.random.default_rng(0)).tolist()
    [1, 2]
    """
    members: defaultdict[Fields, list[int]] = defaultdict(list)
    for index, fields in enumerate(pool):
        for known in range(len(fields) + 1):
            members[fields[:known]].append(index)
    drawn = (rng.choice(_sharing(fields, members)) for fields in queries)
    return np.fromiter(drawn, dtype=np.int64, count=len(queries))


def _sharing(fields: Fields, members: dict[Fields, list[int]]) -> list[int]:
    prefixes = (fields[:known] for known in range(len(fields), -1, -1))
    return next(members[prefix] for prefix in prefixes if prefix in members)
