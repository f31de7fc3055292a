"""The port of the vector index: what a collection holds, what can be asked of it, what it promises.

Two engines stand behind it, `edge` (embedded, no server) and `server` (qdrant-client), and one suite of
contract tests runs over both. The rules they share:

* A point's id is made of the corpus name and the record id, so that indexing twice changes nothing.
* Vectors ``image`` and ``caption`` have unit length and are compared by cosine; ``words`` is a sparse BM25
  vector of the caption, weighted by inverse document frequency when it is asked.
* A collection belongs to one model, known by its fingerprint. Another model is refused.
* Readers see a whole collection, the old one or the new one, and never wait for a writer.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Protocol, TypeVar

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.records import CaptionedImage, Neighbour
from medclip_cli.vector_index.queries import Condition as Condition
from medclip_cli.vector_index.queries import Query as Query
from medclip_cli.vector_index.queries import Vector as Vector
from medclip_cli.vector_index.queries import parse_condition as parse_condition

OnStage = Callable[[str], None]
FORMAT_VERSION = 1
HOW_TO_MEND = "rebuild it with medclip index --rebuild, or bring back a copy with medclip collections import"
_Self = TypeVar("_Self")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://github.com/medclip/medclip/points")


def point_id(corpus: str, record_id: str) -> str:
    """Return the id of a record's point: UUIDv5 of the corpus name and the record id."""
    return str(uuid.uuid5(_NAMESPACE, f"{corpus}\n{record_id}"))


@dataclass(frozen=True, slots=True)
class Point:
    """One record of a corpus with its vectors, ready to be stored."""

    record: CaptionedImage
    corpus: str
    image_vector: Vector  # [dim], unit length, as the caption's
    caption_vector: Vector
    digest: str  # of all that must lead to new vectors or a new payload; see `payload.content_digest`

    @property
    def point_id(self) -> str:
        return point_id(self.corpus, self.record.id)


@dataclass(frozen=True, slots=True)
class CorpusSource:
    """The folder that the records of one corpus came from."""

    path: str
    image_root: str  # what the image paths of its records are relative to
    splits: tuple[str, ...] = ()  # those that were indexed

    @property
    def shown(self) -> str:
        splits = f" ({', '.join(self.splits)})" if self.splits else ""
        return f"{self.path}{splits}, images in {self.image_root}"


@dataclass(frozen=True, slots=True)
class CollectionSpec:
    """The model that a new collection is made for; an existing one must agree with it."""

    dim: int
    fingerprint: str
    model_name: str
    model_path: str  # absolute, so that asking need not name the model
    average_words: float = 20.0  # mean caption length in BM25 tokens, for its length normalisation

    def check_points(self, points: Iterable[Point]) -> None:
        """Raise a `CollectionError` that names the first record whose vectors have another length."""
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
        engine: ``edge`` or ``server``.
        points: how many records it holds.
        fingerprint: of the model that made its vectors.
        model_path: the model folder, as it was when the collection was made.
        corpora: by corpus name.
        created: UTC, ISO 8601, as `updated`.
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

    @property
    def model_folder(self) -> Path:
        """Where the model was; absolute, so that what a stranger wrote is never taken for a name on a hub."""
        return Path(self.model_path).absolute()

    def summary(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "points": self.points,
            "dim": self.dim,
            "model": self.model_name,
            "fingerprint": self.fingerprint,
            "corpora": list(self.corpora),
            "bytes": self.size_bytes,
            "updated": self.updated,
        }

    def check_model(self, fingerprint: str, model_name: str) -> None:
        """Refuse vectors of another model: they would be compared without any meaning.

        Raises:
            CollectionError: naming both models and both fingerprints.
        """
        if fingerprint != self.fingerprint:
            raise CollectionError(
                f"collection {self.name!r} was made with model {self.model_name!r} ({self.fingerprint}), not "
                f"with {model_name!r} ({fingerprint}): use the model {self.model_path}, or index with rebuild"
            )

    def check_query(self, query: Query) -> None:
        """Refuse a query that this collection cannot answer.

        Raises:
            UsageError: it is not one.
            CollectionError: its vectors cannot be compared with the stored ones; names both lengths.
        """
        query.check()
        for vector, _ in query.compared_vectors:
            if vector.shape != (self.dim,):
                raise CollectionError(
                    f"collection {self.name!r} holds vectors of {self.dim} numbers, not of shape "
                    f"{vector.shape}: use the model {self.model_path}"
                )


def next_generation_info(
    name: str,
    engine: str,
    spec: CollectionSpec,
    *,
    live: CollectionInfo | None,
    base: CollectionInfo | None,
    generation: int,
) -> CollectionInfo:
    """Describe a generation that is being built, but for what only its points can tell.

    `base` is `live`, the collection as readers see it, where the generation began as its copy.
    """
    return CollectionInfo(
        name=name,
        engine=engine,
        points=0,
        dim=spec.dim,
        fingerprint=spec.fingerprint,
        model_name=spec.model_name,
        model_path=spec.model_path,
        created=live.created if live else now(),
        generation=generation,
        average_words=base.average_words if base else spec.average_words,
        weights=base.weights if base else (1.0, 1.0),
    )


@dataclass(frozen=True, slots=True)
class StoredPoint:
    """A point as it is stored."""

    point_id: str
    payload: Mapping[str, Any]  # see `payload.payload_of`
    image_vector: Vector  # [dim]; empty when vectors were not asked for, as the caption's
    caption_vector: Vector


def check_name(name: str) -> str:
    """Return the name if it can be a folder and a collection of a server; else raise a `UsageError`."""
    if not _NAME.fullmatch(name):
        rule = "use letters, digits, dots, dashes, underscores; begin with a letter or a digit"
        raise UsageError(f"{name!r} is not a valid collection name: {rule}")
    return name


def now() -> str:
    """Return the time as UTC, ISO 8601, to the second."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def info_to_json(info: CollectionInfo) -> dict[str, Any]:
    return {"format_version": FORMAT_VERSION, **asdict(info)}


def info_from_json(name: str, data: Mapping[str, Any]) -> CollectionInfo:
    """Read a description back.

    Raises:
        CollectionError: written by a newer version, or damaged.
    """
    version = data.get("format_version")
    if isinstance(version, int) and version > FORMAT_VERSION:
        raise CollectionError(
            f"collection {name!r} has format {version}, newer than format {FORMAT_VERSION} of this medclip: "
            "update medclip"
        )
    try:
        values = {key: value for key, value in data.items() if key != "format_version"}
        corpora = {
            corpus: CorpusSource(source["path"], source["image_root"], tuple(source["splits"]))
            for corpus, source in values["corpora"].items()
        }
        dense, words = values.get("weights", (1.0, 1.0))
        info = CollectionInfo(**{**values, "corpora": corpora, "name": name, "weights": (dense, words)})
        # By hand, since every question reads a description: pydantic would take longer than the question.
        whole: tuple[int, ...] = (info.points, info.dim, info.generation, info.size_bytes)
        counts = [count for values in info.fields.values() for count in values.values()]
        sources = [text for source in info.corpora.values() for text in (source.path, source.image_root)]
        texts = (info.engine, info.fingerprint, info.model_name, info.model_path, info.created, info.updated)
        if (
            not all(isinstance(number, int) for number in (*whole, *counts))
            or not all(isinstance(text, str) for text in (*texts, *sources))
            or not all(isinstance(number, (int, float)) for number in (info.average_words, *info.weights))
            or min(whole) < 0  # a generation's number is the name of its folder
        ):
            raise TypeError("a value of another kind")
        return info
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(name, "collection.json") from error


def damaged(name: str, what: object) -> CollectionError:
    """Return the error of a collection of which something is damaged."""
    return CollectionError(f"collection {name!r} is damaged ({what}): {HOW_TO_MEND}")


class Closing(Protocol):
    """Something that a ``with`` block closes."""

    def close(self) -> None: ...

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class VectorIndex(Closing, Protocol):
    """A collection opened for asking."""

    @property
    def info(self) -> CollectionInfo: ...

    def query(self, queries: Sequence[Query]) -> list[list[Neighbour]]:
        """Answer each query with its neighbours, best first.

        Raises:
            UsageError: a query that cannot be answered.
            CollectionError: the collection cannot be read, or vectors of another length were given.
        """

    def points(self, *, vectors: bool = False) -> Iterator[StoredPoint]:
        """Yield every point in the order of the ids, a few thousand in memory at a time."""

    def find_damage(self) -> str | None:
        """Read every byte that the engine keeps and say what is damaged, or None."""


class IndexWriter(Closing, Protocol):
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
            CollectionError: the vectors have another length, or the disk is full.
        """

    def delete(self, point_ids: Iterable[str]) -> None:
        """Remove points."""

    def commit(self, on_stage: OnStage | None = None) -> CollectionInfo:
        """Finish the new generation and make it live in one step."""

    def close(self) -> None:
        """Stop without a commit: what was written is kept for the next run to go on with."""
