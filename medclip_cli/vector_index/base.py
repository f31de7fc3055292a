"""The port of the vector index: what a collection holds, what one may ask of it, what it promises.

Two engines stand behind it, `edge` (embedded, no server) and `server` (qdrant-client), and one suite of
contract tests runs over both. The rules they share:

* A point's id is made of the corpus name and the record id, so that indexing twice changes nothing.
* Vectors ``image`` and ``caption`` have unit length and are compared by cosine; ``words`` is a sparse BM25
  vector of the caption, weighted by inverse document frequency when it is asked.
* A collection belongs to one model, known by its fingerprint. Another model is refused.
* Readers see a whole collection, the old one or the new one, and never wait for a writer.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

from medclip_cli.errors import CollectionError
from medclip_cli.records import CaptionedImage, Neighbour
from medclip_cli.vector_index.conditions import Condition, parse_condition
from medclip_cli.vector_index.queries import Query, Vector

__all__ = [
    "CollectionInfo",
    "CollectionSpec",
    "Condition",
    "CorpusSource",
    "IndexWriter",
    "Point",
    "Query",
    "StoredPoint",
    "Vector",
    "VectorIndex",
    "parse_condition",
    "point_id",
]

OnStage = Callable[[str], None]

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/medclip/medclip/points")


def point_id(corpus: str, record_id: str) -> str:
    """Return the id of a record's point: UUIDv5 of the corpus name and the record id."""
    return str(uuid.uuid5(_NAMESPACE, f"{corpus}\n{record_id}"))


@dataclass(frozen=True, slots=True)
class Point:
    """One record with its vectors, ready to be stored.

    Attributes:
        record: what is known of the image.
        corpus: name of the corpus it came from.
        image_vector: ``[dim]``, unit length.
        caption_vector: ``[dim]``, unit length.
        digest: of everything that a change of must lead to new vectors or a new payload; see
            `payload.content_digest`.
    """

    record: CaptionedImage
    corpus: str
    image_vector: Vector
    caption_vector: Vector
    digest: str

    @property
    def point_id(self) -> str:
        """The id under which it is stored."""
        return point_id(self.corpus, self.record.id)


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """Where the records of one corpus came from.

    Attributes:
        path: the corpus folder.
        image_root: what the image paths of its records are relative to.
        splits: the splits that were indexed.
    """

    path: str
    image_root: str
    splits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """What a new collection is made for; an existing one must agree with it.

    Attributes:
        dim: length of the vectors.
        fingerprint: of the model that makes them.
        model_name: shown to people.
        model_path: absolute, so that asking needs no ``--model``.
        average_words: mean caption length in BM25 tokens, the scale of its length normalisation.
    """

    dim: int
    fingerprint: str
    model_name: str
    model_path: str
    average_words: float = 20.0

    def check_points(self, points: Iterable[Point]) -> None:
        """Refuse points whose vectors have another length.

        Raises:
            CollectionError: naming the first such record.
        """
        for point in points:
            for vector in (point.image_vector, point.caption_vector):
                if vector.shape != (self.dim,):
                    raise CollectionError(
                        f"{point.record.id}: a vector of shape {vector.shape} does not fit a collection of "
                        f"dimension {self.dim}"
                    )


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """What is known of a collection without reading its points.

    Attributes:
        name: of the collection.
        engine: ``edge`` or ``server``.
        points: how many records it holds.
        dim: length of its vectors.
        fingerprint: of the model that made them.
        model_name: of that model.
        model_path: the model folder, as it was when the collection was made.
        corpora: by corpus name.
        created: UTC, ISO 8601.
        updated: UTC, ISO 8601.
        generation: counts the index runs that changed something.
        size_bytes: on disk; 0 when a server does not tell.
        average_words: see `CollectionSpec`.
        fields: values and their counts by filterable field; fields with very many values are left out.
        weights: of the dense and the words ranking in hybrid search, as learnt on a held-out split.
    """

    name: str
    engine: str
    points: int
    dim: int
    fingerprint: str
    model_name: str
    model_path: str
    corpora: Mapping[str, CorpusSource] = field(default_factory=dict)
    created: str = ""
    updated: str = ""
    generation: int = 0
    size_bytes: int = 0
    average_words: float = 20.0
    fields: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    weights: tuple[float, float] = (1.0, 1.0)

    def check_model(self, fingerprint: str, model_name: str) -> None:
        """Refuse vectors of another model: they would be compared without any meaning.

        Raises:
            CollectionError: naming both models and both fingerprints.
        """
        if fingerprint != self.fingerprint:
            raise CollectionError(
                f"collection {self.name!r} was made with model {self.model_name!r} ({self.fingerprint}), not "
                f"with {model_name!r} ({fingerprint}): use --model {self.model_path}, or index with --rebuild"
            )

    def check_query(self, query: Query) -> None:
        """Refuse a question that this collection cannot answer.

        Raises:
            UsageError: it is not one.
            CollectionError: its vectors cannot be compared with the stored ones; names both lengths.
        """
        query.check()
        for vector, _ in query.compared_vectors:
            if vector.shape != (self.dim,):
                raise CollectionError(
                    f"collection {self.name!r} holds vectors of {self.dim} numbers, not of shape "
                    f"{vector.shape}: use --model {self.model_path}"
                )


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it is stored.

    Attributes:
        point_id: its id.
        payload: see `payload.payload_of`.
        image_vector: ``[dim]``; empty when vectors were not asked for.
        caption_vector: ``[dim]``; empty when vectors were not asked for.
    """

    point_id: str
    payload: Mapping[str, Any]
    image_vector: Vector
    caption_vector: Vector


class VectorIndex(Protocol):
    """A collection opened for asking."""

    @property
    def info(self) -> CollectionInfo:
        """What is known of the collection."""

    def query(self, queries: Sequence[Query]) -> list[list[Neighbour]]:
        """Answer each question with its neighbours, best first.

        Raises:
            UsageError: a question that cannot be answered.
            CollectionError: the collection cannot be read, or vectors of another length were given.
        """

    def points(self, *, vectors: bool = False) -> Iterator[StoredPoint]:
        """Yield every point in the order of the ids, a few thousand in memory at a time."""

    def find_damage(self) -> str | None:
        """Read every byte that the engine keeps and say what is damaged, or None."""

    def close(self) -> None:
        """Let go of the collection."""

    def __enter__(self) -> VectorIndex:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


class IndexWriter(Protocol):
    """A collection opened for one index run. Nothing is seen by readers before `commit`."""

    @property
    def live(self) -> CollectionInfo | None:
        """The collection as readers see it, if there is one."""

    @property
    def resumed(self) -> bool:
        """Whether the run goes on where an interrupted one stopped."""

    def digests(self, corpus: str) -> dict[str, str]:
        """Return the content digest of every point of a corpus that is already there, by point id."""

    def add_corpus(self, name: str, source: CorpusSource) -> None:
        """Remember where records came from."""

    def reserve(self, points: int) -> None:
        """Check that there is room for so many new points.

        Raises:
            CollectionError: saying how much is needed.
        """

    def upsert(self, points: Sequence[Point]) -> None:
        """Store points, replacing those with the same id.

        Raises:
            CollectionError: the vectors have another length, or the place is full.
        """

    def delete(self, point_ids: Iterable[str]) -> None:
        """Remove points."""

    def commit(self, on_stage: OnStage | None = None) -> CollectionInfo:
        """Finish the new generation and put it in place of the live one at once."""

    def close(self) -> None:
        """Stop without a commit: what was written is kept for the next run to go on with."""

    def __enter__(self) -> IndexWriter:
        """Return itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
