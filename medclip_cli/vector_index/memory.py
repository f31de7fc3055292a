"""A collection whose points are in memory, compared with every question: what a simple store needs.

`stores` tells how another package offers a store. Its part is to load points and to save them; these two
classes do the rest. 100,000 points of 256 numbers are compared in milliseconds; their words are not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from types import TracebackType
from typing import Any

import numpy as np

from medclip_cli.errors import UsageError
from medclip_cli.records import Neighbour
from medclip_cli.vector_index.base import (
    CollectionInfo,
    CollectionSpec,
    CorpusSource,
    OnStage,
    Point,
    Query,
    StoredPoint,
)
from medclip_cli.vector_index.manifest import now
from medclip_cli.vector_index.payload import payload_of
from medclip_cli.vector_index.ranking import ranked

Save = Callable[[CollectionInfo, Sequence[StoredPoint]], None]


class ExactIndex(AbstractContextManager["ExactIndex"]):
    """A `VectorIndex` of points in memory; every vector is compared, so that its answers are exact."""

    def __init__(self, info: CollectionInfo, points: Sequence[StoredPoint]) -> None:
        """Keep the points.

        Args:
            info: of the collection.
            points: all of them, with their vectors.
        """
        self._info = info
        self._points = sorted(points, key=lambda point: point.point_id)
        self._vectors = {
            "image": np.array([point.image_vector for point in self._points], np.float32),
            "caption": np.array([point.caption_vector for point in self._points], np.float32),
        }

    @property
    def info(self) -> CollectionInfo:
        """What is known of the collection."""
        return self._info

    def query(self, queries: Sequence[Query]) -> list[list[Neighbour]]:
        """Answer each question with its neighbours, best first; several vectors are compared by their mean.

        Raises:
            UsageError: a question that vectors cannot answer.
            CollectionError: vectors of another length were given.
        """
        return [ranked(query, self._scored(query)) for query in queries]

    def _scored(self, query: Query) -> Iterator[tuple[float, Mapping[str, Any]]]:
        self._info.check_query(query)
        if not query.compared_vectors:
            raise UsageError("this store compares vectors, not words: use --mode dense or hybrid")
        if not self._points:
            return
        rankings = [self._vectors[name] @ vector for vector, name in query.compared_vectors]
        for point, score in zip(self._points, np.mean(rankings, axis=0), strict=True):
            if may_answer(query, point.payload, float(score)):
                yield float(score), point.payload

    def points(self, *, vectors: bool = False) -> Iterator[StoredPoint]:
        """Yield every point in the order of the ids."""
        nothing = np.empty(0, np.float32)
        for point in self._points:
            yield point if vectors else replace(point, image_vector=nothing, caption_vector=nothing)

    def find_damage(self) -> str | None:
        """Return None: what could be loaded is in memory."""
        return None

    def close(self) -> None:
        """Let go of nothing: there is only memory."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


class ExactWriter(AbstractContextManager["ExactWriter"]):
    """An `IndexWriter` that gathers points in memory and hands all of them over when they are committed."""

    resumed = False

    def __init__(
        self, name: str, spec: CollectionSpec, live: ExactIndex | None, save: Save, *, rebuild: bool = False
    ) -> None:
        """Begin with what there is.

        Args:
            name: of the collection.
            spec: the model it is for.
            live: the collection as it is, if there is one.
            save: keeps a collection whole or not at all.
            rebuild: begin with nothing.

        Raises:
            CollectionError: another model made the collection, and `rebuild` is not set.
        """
        if live is not None and not rebuild:
            live.info.check_model(spec.fingerprint, spec.model_name)
        kept = live if live is not None and not rebuild else None
        self.live = live.info if live is not None else None
        self._name, self._spec, self._save = name, spec, save
        self._corpora = dict(kept.info.corpora) if kept else {}
        self._points = {point.point_id: point for point in kept.points(vectors=True)} if kept else {}

    def digests(self, corpus: str) -> dict[str, str]:
        """Return the content digest of every point of a corpus that is already there, by point id."""
        stored = self._points.values()
        return {one.point_id: one.payload["digest"] for one in stored if one.payload["corpus"] == corpus}

    def add_corpus(self, name: str, source: CorpusSource) -> None:
        """Remember where records came from."""
        self._corpora[name] = source

    def reserve(self, points: int) -> None:
        """Expect so many new points; memory is found when they come."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Take points, replacing those with the same id.

        Raises:
            CollectionError: the vectors have another length.
        """
        self._spec.check_points(points)
        for point in points:
            payload = payload_of(point.record, point.corpus, point.digest)
            stored = StoredPoint(point.point_id, payload, point.image_vector, point.caption_vector)
            self._points[point.point_id] = stored

    def delete(self, point_ids: Iterable[str]) -> None:
        """Remove points."""
        for point_id in point_ids:
            self._points.pop(point_id, None)

    def commit(self, on_stage: OnStage | None = None) -> CollectionInfo:
        """Save the collection and return what is known of it."""
        info = CollectionInfo(
            name=self._name,
            engine="exact",
            points=len(self._points),
            dim=self._spec.dim,
            fingerprint=self._spec.fingerprint,
            model_name=self._spec.model_name,
            model_path=self._spec.model_path,
            corpora=self._corpora,
            created=self.live.created if self.live else now(),
            updated=now(),
            generation=self.live.generation + 1 if self.live else 1,
            average_words=self._spec.average_words,
        )
        self._save(info, list(self._points.values()))
        return info

    def close(self) -> None:
        """Forget what was not committed."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def may_answer(query: Query, payload: Mapping[str, Any], score: float) -> bool:
    """Whether a point with this payload and score is among those that may answer a question."""
    if query.min_score is not None and score < query.min_score:
        return False
    if payload.get("group") in query.exclude_groups:
        return False
    return all(condition.holds(payload) for condition in query.where)
