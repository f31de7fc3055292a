"""The embedded engine: Qdrant Edge in this process, no server.

Many processes read one collection at once, while another builds its next generation; see `generations`.
"""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from medclip_cli.errors import CollectionError
from medclip_cli.records import Neighbour
from medclip_cli.vector_index import bm25, generations, locks
from medclip_cli.vector_index.base import CollectionInfo, Query, StoredPoint
from medclip_cli.vector_index.manifest import HOW_TO_MEND
from medclip_cli.vector_index.ranking import contenders, ranked
from medclip_cli.vector_index.sparse_files import copy_folder

if TYPE_CHECKING:
    from uuid import UUID

    from qdrant_edge import EdgeShard

    _PointId = int | UUID | str
    _Hits = list[tuple[float, _PointId]]
    _Payloads = dict[_PointId, Mapping[str, Any]]

VECTORS = ("image", "caption")
LARGEST_COPY_BYTES = 2 << 30
LEAST_FREE_BYTES = 1 << 20
_Result = TypeVar("_Result")
_left_open: list[EdgeShard] = []


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
        with ExitStack() as held:
            held.callback(os.close, hold)
            readable = _engine_can_open(name, generation, held)
            index = EdgeIndex(info, generation, load_shard(name, readable), held.pop_all())
        return index

    busy = (
        f"collection {name!r} stayed locked for {lock_timeout_seconds:g} s: try again, or raise "
        "MEDCLIP_LOCK_TIMEOUT_SECONDS"
    )
    return locks.with_retries(attempt, lock_timeout_seconds, busy)


def _engine_can_open(name: str, generation: Path, held: ExitStack) -> Path:
    """Return a generation's folder, or a copy of it where nothing can be written.

    The engine opens every file for writing, and writes two small ones anew whenever it opens a shard.

    Args:
        name: of the collection.
        generation: its folder.
        held: removes the copy when it is closed.

    Raises:
        CollectionError: it is too large to be copied for a question, or there is no room for a copy either.
    """
    may_write = os.access(generation / generations.SHARD / generations.REWRITTEN[0], os.W_OK)
    if may_write and shutil.disk_usage(generation).free >= LEAST_FREE_BYTES:
        return generation
    why = "its disk is full" if may_write else "it may not be written to"
    size = generations.disk_bytes(generation)
    if size > LARGEST_COPY_BYTES:
        raise CollectionError(
            f"collection {name!r} cannot be opened, since {why}, and {size / 1e9:.1f} GB are too much to "
            "copy for a question: copy it into a MEDCLIP_HOME of your own, once"
        )
    try:
        copy = Path(held.enter_context(TemporaryDirectory(prefix="medclip-")))
        copy_folder(generation, copy)
    except OSError as error:
        raise CollectionError(
            f"collection {name!r} cannot be opened, since {why}, nor be copied ({error.strerror}): make room"
        ) from error
    return copy


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


def _leave_open(shard: EdgeShard) -> None:
    """Let the end of the process close a shard, unless another one is asked before.

    Closing one, the engine has the system forget its pages. The next process, most often the next question,
    would fetch them from the disk again, in ten times the time of asking (decision 7).
    """
    # Python would close it when it clears this module; what is referred to from nowhere, it does not find.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(shard))
    _left_open.append(shard)
    while len(_left_open) > 1:
        _left_open.pop(0).close()


def _engine_message(name: str, reason: str) -> str:
    lowered = reason.lower()
    if any(sign in lowered for sign in ("read-only file system", "permission denied", "no space left")):
        hint = "make room, or copy it into a MEDCLIP_HOME of your own"
        return f"collection {name!r} cannot be opened ({reason}): {hint}"
    return f"collection {name!r} is damaged ({reason}): {HOW_TO_MEND}"


class EdgeIndex:
    """A collection opened for asking; use `open_collection`."""

    def __init__(self, info: CollectionInfo, generation: Path, shard: EdgeShard, held: ExitStack) -> None:
        """Take over a loaded shard and what keeps it from being removed."""
        self._generation = generation
        self._info = info
        self._shard: EdgeShard | None = shard
        self._held = held
        self._encoder = bm25.caption_encoder(info.average_words)

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
        if not queries:
            return []
        asked = QueryBatchRequest([query_request(query, self._encoder, self._info) for query in queries])

        def ask(shard: EdgeShard) -> tuple[list[_Hits], _Payloads]:
            answers = zip(queries, shard.query_batch(asked), strict=True)
            found = [[(hit.score, hit.id) for hit in contenders(query, hits)] for query, hits in answers]
            # The engine would read the payload of all it found: of those that are shown is enough.
            shown = list({point for hits in found for _, point in hits})
            records = shard.retrieve(shown, with_payload=True, with_vector=False)
            return found, {record.id: record.payload or {} for record in records}

        found, payloads = self._ask(ask)
        return [
            ranked(query, ((score, payloads[point]) for score, point in hits))
            for query, hits in zip(queries, found, strict=True)
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
                _leave_open(shard)
            self._held.close()

    def __enter__(self) -> EdgeIndex:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
