"""Images that are there more than once: the same bytes, the same picture, or nearly the same vector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medclip_cli.records import CaptionedImage
from medclip_cli.vector_index.base import Query, VectorIndex
from medclip_cli.vector_index.queries import Condition

Reason = Literal["bytes", "picture", "vector"]
NEAR_BITS = 3  # of 64; a picture that was scaled or saved again differs from itself by so many at most
_BAND_BITS = 16  # three changed bits leave one band of four as it was
_QUESTIONS = 256
_NEIGHBOURS = 20


@dataclass(frozen=True, slots=True)
class DuplicatePair:
    """Two records that show the same, and how one knows; `score` is the cosine of vectors, else 1."""

    one: str
    other: str
    reason: Reason
    score: float = 1.0


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Records that show the same, directly or by way of one another."""

    ids: tuple[str, ...]
    reasons: tuple[Reason, ...]
    lowest_score: float


def same_bytes(records: Iterable[CaptionedImage]) -> Iterator[DuplicatePair]:
    """Yield records whose files are the same, byte by byte, each with the first of them."""
    first: dict[str, str] = {}
    for record in records:
        if record.sha256:
            other = first.setdefault(record.sha256, record.id)
            if other != record.id:
                yield DuplicatePair(other, record.id, "bytes")


def same_picture(
    records: Sequence[CaptionedImage], confirm: Callable[[CaptionedImage, CaptionedImage], bool]
) -> Iterator[DuplicatePair]:
    """Yield records whose pictures are the same, as far as 64-bit difference hashes tell.

    Args:
        records: those without a hash are like nothing.
        confirm: looks closer at a pair; X-rays of two people are often three bits apart.
    """
    hashes = np.array([int(record.dhash or "0", 16) for record in records], dtype=np.uint64)
    seen: set[tuple[int, int]] = set()
    for start in range(0, 64, _BAND_BITS):
        for rows in _buckets(hashes, start):
            for i, j in combinations(rows, 2):
                if (i, j) not in seen and int(hashes[i] ^ hashes[j]).bit_count() <= NEAR_BITS:
                    seen.add((i, j))
                    if confirm(records[i], records[j]):
                        yield DuplicatePair(records[i].id, records[j].id, "picture")


def _buckets(hashes: NDArray[np.uint64], start: int) -> Iterator[list[int]]:
    """Yield the rows that share the value of one band of their hashes."""
    rows: dict[int, list[int]] = defaultdict(list)
    for row, value in enumerate(hashes.tolist()):
        if value:
            rows[(value >> start) & ((1 << _BAND_BITS) - 1)].append(row)
    yield from (bucket for bucket in rows.values() if len(bucket) > 1)


def same_vector(index: VectorIndex, corpus: str, min_score: float) -> Iterator[DuplicatePair]:
    """Yield records of a corpus whose image vectors in a collection are at least so alike, by cosine."""
    where = (Condition("corpus", "any", (corpus,)),)
    points = (point for point in index.points(vectors=True) if point.payload.get("corpus") == corpus)
    while batch := list(islice(points, _QUESTIONS)):
        questions = [
            Query(image_vector=point.image_vector, top=_NEIGHBOURS, where=where, min_score=min_score)
            for point in batch
        ]
        for point, neighbours in zip(batch, index.query(questions), strict=True):
            own = str(point.payload["id"])
            for neighbour in neighbours:
                if own < neighbour.id:
                    yield DuplicatePair(own, neighbour.id, "vector", neighbour.score)


def group_alike(likenesses: Iterable[DuplicatePair]) -> list[DuplicateGroup]:
    """Join records that are alike into groups, the largest first."""
    parent: dict[str, str] = {}

    def root(identifier: str) -> str:
        parent.setdefault(identifier, identifier)
        while parent[identifier] != identifier:
            parent[identifier] = parent[parent[identifier]]
            identifier = parent[identifier]
        return identifier

    found = list(likenesses)
    for likeness in found:
        parent[root(likeness.one)] = root(likeness.other)
    members: dict[str, set[str]] = defaultdict(set)
    reasons: dict[str, set[Reason]] = defaultdict(set)
    scores: dict[str, float] = defaultdict(lambda: 1.0)
    for likeness in found:
        key = root(likeness.one)
        members[key] |= {likeness.one, likeness.other}
        reasons[key].add(likeness.reason)
        scores[key] = min(scores[key], likeness.score)
    groups = [
        DuplicateGroup(tuple(sorted(ids)), tuple(sorted(reasons[key])), scores[key])
        for key, ids in members.items()
    ]
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids))
