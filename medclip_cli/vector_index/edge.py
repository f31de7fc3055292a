"""The embedded engine: Qdrant Edge in this process, no server.

Many processes read one collection at once, while another builds its next generation; see `generations`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from medclip_cli.errors import CollectionError
from medclip_cli.records import Neighbour
from medclip_cli.vector_index import generations, locks, words
from medclip_cli.vector_index.base import CollectionInfo, Query, StoredPoint
from medclip_cli.vector_index.manifest import HOW_TO_MEND
from medclip_cli.vector_index.ranking import ranked

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard

VECTORS = ("image", "caption")
_Result = TypeVar("_Result")


def open_collection(home: Path, name: str, *, lock_timeout_seconds: float = 10.0) -> EdgeIndex:
    """Open a collection for asking.

    Args:
        home: the folder of medclip's data.
        name: of the collection.
        lock_timeout_seconds: seconds to wait for a generation that is being replaced just now.

    Raises:
        CollectionError: there is none of this name, it is damaged, of a newer format, or stays locked.
    """

    def attempt() -> EdgeIndex:
        info = generations.live_collection(home, name)
        folder = generations.collection_folder(home, name)
        hold = generations.hold_generation(folder, info.generation)
        generation = generations.generation_folder(folder, info.generation)
        try:
            return EdgeIndex(info, generation, load_shard(name, generation), hold)
        except BaseException:
            os.close(hold)
            raise

    busy = (
        f"collection {name!r} stayed locked for {lock_timeout_seconds:g} s: try again, or raise "
        "MEDCLIP_LOCK_TIMEOUT_SECONDS"
    )
    return locks.with_retries(attempt, lock_timeout_seconds, busy)


def list_collections(home: Path) -> list[CollectionInfo]:
    """Return the collections that can be described; `generations.collection_names` also has the damaged."""
    found = []
    for name in generations.collection_names(home):
        try:
            found.append(generations.live_collection(home, name))
        except CollectionError:
            continue
    return found


def load_shard(name: str, generation: Path) -> EdgeShard:
    """Open a finished generation.

    Raises:
        CollectionError: a file of it is missing, short or unreadable.
    """
    from qdrant_edge import EdgeShard

    try:
        generations.check_files(generation)
    except ValueError as error:
        raise CollectionError(f"collection {name!r} is damaged ({error}): {HOW_TO_MEND}") from error
    with engine_errors(name):
        return EdgeShard.load(str(generation / generations.SHARD))


@contextmanager
def engine_errors(
    name: str, explain: Callable[[BaseException], str | None] = lambda _: None
) -> Iterator[None]:
    """Turn what the engine raises into one line that names the collection and what to do.

    Args:
        name: of the collection.
        explain: returns a better line for errors that it knows.

    Raises:
        CollectionError: for any error of the engine; a panic in its Rust code is one too.
    """
    try:
        yield
    except (CollectionError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        raise CollectionError(explain(error) or _engine_message(name, engine_reason(error))) from error


def engine_reason(error: BaseException) -> str:
    """Return the first line of what the engine said."""
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _engine_message(name: str, reason: str) -> str:
    lowered = reason.lower()
    if "read-only file system" in lowered or "permission denied" in lowered:
        hint = "the engine needs write access to its folder, copy it into a MEDCLIP_HOME of your own"
        return f"collection {name!r} cannot be opened ({reason}): {hint}"
    return f"collection {name!r} is damaged ({reason}): {HOW_TO_MEND}"


class EdgeIndex:
    """A collection opened for asking; use `open_collection`."""

    def __init__(self, info: CollectionInfo, generation: Path, shard: EdgeShard, hold: int) -> None:
        """Take over a loaded shard and the descriptor that keeps it from being removed."""
        self._generation = generation
        self._info = info
        self._shard: EdgeShard | None = shard
        self._hold = hold
        self._encoder = words.caption_encoder(info.average_words)

    @property
    def info(self) -> CollectionInfo:
        """What is known of the collection."""
        return self._info

    def query(self, queries: Sequence[Query]) -> list[list[Neighbour]]:
        """Answer each question with its neighbours, best first; many at once are cheaper than one by one.

        Raises:
            UsageError: a question that cannot be answered.
            CollectionError: the collection is damaged or closed, or vectors of another length were given.
        """
        from qdrant_edge import QueryBatchRequest

        from medclip_cli.vector_index.edge_requests import query_request

        for query in queries:
            self._info.check_query(query)
        requests = [query_request(query, self._encoder, self._info) for query in queries]
        answers = self._ask(lambda shard: shard.query_batch(QueryBatchRequest(requests)) if requests else [])
        return [
            ranked(query, ((hit.score, hit.payload or {}) for hit in hits))
            for query, hits in zip(queries, answers, strict=True)
        ]

    def points(self, *, vectors: bool = False) -> Iterator[StoredPoint]:
        """Yield every point in the order of the ids, a few thousand in memory at a time.

        Raises:
            CollectionError: the collection is damaged or closed.
        """
        from medclip_cli.vector_index.edge_requests import scroll

        with engine_errors(self._info.name):
            for record in self._ask(lambda shard: scroll(shard, vectors=vectors)):
                stored: Any = record.vector if vectors else {}
                image, caption = (np.asarray(stored.get(name, ()), np.float32) for name in VECTORS)
                yield StoredPoint(str(record.id), record.payload or {}, image, caption)

    def find_damage(self) -> str | None:
        """Read every file of the collection and say which is not as it was written, or None."""
        try:
            generations.check_files(self._generation, contents=True)
        except ValueError as error:
            return f"{error}: {HOW_TO_MEND}"
        return None

    def _ask(self, question: Callable[[EdgeShard], _Result]) -> _Result:
        if self._shard is None:
            raise CollectionError(f"collection {self._info.name!r} is closed")
        with engine_errors(self._info.name):
            return question(self._shard)

    def close(self) -> None:
        """Let go of the collection, so that an old generation can be removed."""
        if self._shard is not None:
            shard, self._shard = self._shard, None
            with engine_errors(self._info.name):
                shard.close()
            os.close(self._hold)

    def __enter__(self) -> EdgeIndex:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
