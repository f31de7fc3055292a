"""Images that are there more than once: the same bytes, the same picture, or nearly the same vector."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medclip_cli.corpora.near_duplicates import FineHashes, coarse_hashes, near_rows, same_picture
from medclip_cli.records import CaptionedImage
from medclip_cli.vector_index.base import Query, VectorIndex
from medclip_cli.vector_index.queries import Condition

if TYPE_CHECKING:
    from pandas import DataFrame

    from medclip_cli.corpora.corpus_folder import Corpus

Reason = Literal["bytes", "picture", "vector"]
_QUERIES_AT_ONCE = 256
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
    """Records that show the same, directly or by way of one another.

    Attributes:
        ids: of the records; `images` are their paths, relative to the image root, in the same order.
        by: how one knows.
        lowest_score: the lowest cosine among them; 1 where no vectors were compared.
        splits: that they stand in; more than one flatters every score.
        groups: that they belong to; more than one is a patient under two names, or a picture from a book.
    """

    ids: tuple[str, ...]
    by: tuple[Reason, ...]
    lowest_score: float
    splits: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DuplicatesReport:
    """The duplicates of a corpus.

    Attributes:
        groups: the largest first.
        unread: why an image could not be read, by path; copies of it are found by bytes alone.
    """

    corpus: str
    groups: tuple[DuplicateGroup, ...]
    unread: dict[Path, str]

    def to_dict(self) -> dict[str, Any]:
        """Return everything, ready for JSON."""
        return {**asdict(self), "unread": {str(path): reason for path, reason in self.unread.items()}}

    def to_pandas(self) -> DataFrame:
        """Return one row a group."""
        import pandas

        return pandas.DataFrame([asdict(group) for group in self.groups])

    def _repr_html_(self) -> str:
        from medclip_cli.pages import table_html

        rows = [(len(one.ids), ", ".join(one.by), ", ".join(one.ids)) for one in self.groups]
        return table_html(f"Duplicates in {self.corpus}", ("images", "by", "ids"), rows)


def find_duplicates(
    corpus: Corpus, index: VectorIndex | None = None, *, min_score: float = 0.99
) -> DuplicatesReport:
    """Find the images of a corpus that are there more than once.

    Args:
        corpus: whose images are compared, by bytes and by picture.
        index: a collection with the corpus in it, to compare vectors as well.
        min_score: minimum cosine similarity of duplicate vectors.

    Raises:
        CorpusError: the corpus is damaged.
        CollectionError: the collection cannot be read.
    """
    records = {record.id: record for record in corpus.records}
    fine_hashes = FineHashes(corpus.image_path)
    pairs = [
        *same_bytes(corpus.records),
        *near_pictures(corpus.records, lambda one, other: same_picture(one, other, fine_hashes)),
    ]
    if index is not None:
        alike = same_vector(index, corpus.name, min_score)
        pairs += [pair for pair in alike if pair.one in records and pair.other in records]
    return DuplicatesReport(corpus.name, tuple(join_groups(pairs, records)), fine_hashes.unread)


def same_bytes(records: Iterable[CaptionedImage]) -> Iterator[DuplicatePair]:
    """Yield records whose files are the same, byte by byte, each with the first of them."""
    first: dict[str, str] = {}
    for record in records:
        if record.sha256:
            other = first.setdefault(record.sha256, record.id)
            if other != record.id:
                yield DuplicatePair(other, record.id, "bytes")


def near_pictures(
    records: Sequence[CaptionedImage], confirm: Callable[[CaptionedImage, CaptionedImage], bool]
) -> Iterator[DuplicatePair]:
    """Yield records whose pictures are the same, as far as 64-bit difference hashes tell.

    Args:
        records: those without a hash are like nothing.
        confirm: looks closer at a pair; X-rays of two people are often three bits apart.
    """
    hashes = coarse_hashes(records)
    seen: set[tuple[int, int]] = set()
    for i, near in near_rows(hashes, hashes):
        for j in near:
            if i < j and (i, j) not in seen:
                seen.add((i, j))
                if confirm(records[i], records[j]):
                    yield DuplicatePair(records[i].id, records[j].id, "picture")


def same_vector(index: VectorIndex, corpus: str, min_score: float) -> Iterator[DuplicatePair]:
    """Yield records of a corpus whose image vectors in a collection are at least so alike, by cosine."""
    where = (Condition("corpus", "any", (corpus,)),)
    points = (point for point in index.points(vectors=True) if point.payload.get("corpus") == corpus)
    while batch := list(islice(points, _QUERIES_AT_ONCE)):
        queries = [
            Query(image_vector=point.image_vector, top=_NEIGHBOURS, where=where, min_score=min_score)
            for point in batch
        ]
        for point, neighbours in zip(batch, index.query(queries), strict=True):
            own = str(point.payload["id"])
            for neighbour in neighbours:
                if own < neighbour.id:
                    yield DuplicatePair(own, neighbour.id, "vector", neighbour.score)


def join_groups(
    pairs: Sequence[DuplicatePair], records: Mapping[str, CaptionedImage]
) -> list[DuplicateGroup]:
    """Join records that are alike into groups, the largest first."""
    parent: dict[str, str] = {}

    def root(identifier: str) -> str:
        parent.setdefault(identifier, identifier)
        while parent[identifier] != identifier:
            parent[identifier] = parent[parent[identifier]]
            identifier = parent[identifier]
        return identifier

    for pair in pairs:
        parent[root(pair.one)] = root(pair.other)
    by_root: dict[str, list[DuplicatePair]] = defaultdict(list)
    for pair in pairs:
        by_root[root(pair.one)].append(pair)
    groups = []
    for joined in by_root.values():
        ids = sorted({identifier for pair in joined for identifier in (pair.one, pair.other)})
        members = [records[identifier] for identifier in ids]
        groups.append(
            DuplicateGroup(
                ids=tuple(ids),
                by=tuple(sorted({pair.reason for pair in joined})),
                lowest_score=min(pair.score for pair in joined),
                splits=tuple(sorted({record.split for record in members})),
                groups=tuple(sorted({record.group for record in members})),
                images=tuple(record.image for record in members),
            )
        )
    return sorted(groups, key=lambda group: (-len(group.ids), group.ids))
