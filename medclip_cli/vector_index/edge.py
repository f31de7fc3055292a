"""The embedded engine, Qdrant Edge in this process: how a shard is laid out and asked.

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
from typing import Any, TypeVar

import numpy as np
import qdrant_edge as qe
from qdrant_edge import EdgeShard

from encoders.errors import first_line
from medclip_cli.errors import CollectionError
from medclip_cli.records import Neighbour
from medclip_cli.vector_index import bm25, generations
from medclip_cli.vector_index.base import HOW_TO_MEND, Closing, CollectionInfo, Point, StoredPoint, damaged
from medclip_cli.vector_index.payload import (
    EXTRA,
    HNSW_EF,
    MMR_POOL,
    RRF_K,
    candidates,
    fused_pool,
    payload_of,
    ranked,
)
from medclip_cli.vector_index.queries import NUMBER_FIELDS, Condition, Query
from medclip_cli.vector_index.sparse_files import copy_folder

VECTORS = ("image", "caption")
LARGEST_COPY_BYTES = 2 << 30
LEAST_FREE_BYTES = 1 << 20
INDEXED_FIELDS = ("modality", "view", "region", "category", "findings", "group", "corpus", "age")
# Below these sizes the engine is faster without: a payload index costs some time at every opening, a scan of
# 10,000 payloads 10 ms a query; 64 MiB of vectors are compared in 2 ms, which no graph beats by much.
PAYLOAD_INDEX_POINTS = 10_000
HNSW_FROM_KILOBYTES = 65_536
# A query reads only the pages it touches: at its defaults the engine reads all vectors of both kinds when
# it opens a shard, which was most of the time of asking 220,000 points once.
PLACEMENT = qe.Memory.Cold
# With a graph come copies of the vectors rounded to 8 bits, which are compared first; half as many again as
# are wanted are then compared whole, so that scores are exact (decision 7).
OVERSAMPLING = 1.5
_APPROXIMATE = qe.SearchParams(
    hnsw_ef=HNSW_EF, quantization=qe.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
)
_PAYLOAD_PAGE = 1_000
_VECTOR_PAGE = 2_000
_Result = TypeVar("_Result")
_left_open: list[EdgeShard] = []


def open_collection(home: Path, name: str, *, lock_timeout_seconds: float = 10.0) -> EdgeIndex:
    """Open a collection for asking, see `store.Store.open`."""

    def attempt() -> EdgeIndex:
        info, generation, hold = generations.hold_live(home, name)
        with ExitStack() as held:
            held.callback(os.close, hold)
            readable = _writable_copy(name, generation, held)
            index = EdgeIndex(info, generation, load_shard(name, readable), held.pop_all())
        return index

    stayed = f"collection {name!r} stayed locked for {lock_timeout_seconds:g} s"
    busy = f"{stayed}: try again, or raise MEDCLIP_LOCK_TIMEOUT_SECONDS"
    return generations.with_retries(attempt, lock_timeout_seconds, busy)


def _writable_copy(name: str, generation: Path, held: ExitStack) -> Path:
    """Return a generation's folder, or, where nothing can be written, a copy that `held` removes when closed.

    The engine opens every file for writing, and writes two small ones anew whenever it opens a shard.
    """
    may_write = os.access(generation / generations.SHARD / generations.REWRITTEN[0], os.W_OK)
    if may_write and shutil.disk_usage(generation).free >= LEAST_FREE_BYTES:
        return generation
    why = "its disk is full" if may_write else "it may not be written to"
    size = generations.disk_bytes(generation)
    if size > LARGEST_COPY_BYTES:
        raise CollectionError(
            f"collection {name!r} cannot be opened, since {why}, and {size / 1e9:.1f} GB are too much to "
            "copy for a query: copy it into a MEDCLIP_HOME of your own, once"
        )
    try:
        copy = Path(held.enter_context(TemporaryDirectory(prefix="medclip-")))
        copy_folder(generation, copy)
    except OSError as error:
        raise CollectionError(
            f"collection {name!r} cannot be opened, since {why}, nor be copied ({error.strerror}): make room"
        ) from error
    return copy


def load_shard(name: str, generation: Path) -> EdgeShard:
    """Open a finished generation; a `CollectionError` if a file of it is missing, short or unreadable."""
    try:
        generations.check_files(generation)
    except ValueError as error:
        raise damaged(name, error) from error
    with engine_errors(name):
        return EdgeShard.load(str(generation / generations.SHARD))


@contextmanager
def engine_errors(
    name: str, explain: Callable[[BaseException], str | None] = lambda _: None
) -> Iterator[None]:
    """Turn what the engine raises, a panic of its Rust code included, into one line with a remedy.

    `explain` returns a better line for the errors that it knows.
    """
    try:
        yield
    except (CollectionError, KeyboardInterrupt, SystemExit, GeneratorExit, MemoryError):
        raise
    except BaseException as error:
        reason = first_line(error)
        signs = ("read-only file system", "permission denied", "no space left")
        if better := explain(error):
            raise CollectionError(better) from error
        if any(sign in reason.lower() for sign in signs):
            hint = "make room, or copy it into a MEDCLIP_HOME of your own"
            raise CollectionError(f"collection {name!r} cannot be opened ({reason}): {hint}") from error
        raise damaged(name, reason) from error


class EdgeIndex(Closing):
    """A `VectorIndex`: a collection opened for asking; use `open_collection`."""

    def __init__(self, info: CollectionInfo, generation: Path, shard: EdgeShard, held: ExitStack) -> None:
        """Take over a loaded shard, and what keeps it from being removed until it is closed."""
        self.info = info
        self._generation, self._held = generation, held
        self._shard: EdgeShard | None = shard
        self._encoder = bm25.caption_encoder(info.average_words)

    def query(self, queries: Sequence[Query]) -> list[list[Neighbour]]:
        for query in queries:
            self.info.check_query(query)
        if not queries:
            return []
        batch = qe.QueryBatchRequest([query_request(query, self._encoder, self.info) for query in queries])

        def ask(shard: EdgeShard) -> tuple[list[list[tuple[float, Any]]], dict[Any, Mapping[str, Any]]]:
            answers = zip(queries, shard.query_batch(batch), strict=True)
            found = [[(hit.score, hit.id) for hit in candidates(query, hits)] for query, hits in answers]
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
        with engine_errors(self.info.name):
            for record in self._ask(lambda shard: scroll(shard, vectors=vectors)):
                stored: Any = record.vector if vectors else {}
                image, caption = (np.asarray(stored.get(name, ()), np.float32) for name in VECTORS)
                yield StoredPoint(str(record.id), record.payload or {}, image, caption)

    def find_damage(self) -> str | None:
        try:
            generations.check_files(self._generation, contents=True)
        except ValueError as error:
            return f"{error}: {HOW_TO_MEND}"
        return None

    def _ask(self, query: Callable[[EdgeShard], _Result]) -> _Result:
        if self._shard is None:
            raise CollectionError(f"collection {self.info.name!r} is closed")
        with engine_errors(self.info.name):
            return query(self._shard)

    def close(self) -> None:
        """Let go of the collection, so that an old generation can be removed.

        Its shard stays open until another one is asked or the process ends: closing one, the engine has the
        system forget its pages. The next process, most often the next query, would fetch them from the
        disk again, in ten times the time of asking (decision 7).
        """
        if self._shard is None:
            return
        shard, self._shard = self._shard, None
        # Python would close it when it clears this module; one more reference than it knows of keeps it.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(shard))
        _left_open.append(shard)
        with engine_errors(self.info.name):
            while len(_left_open) > 1:
                _left_open.pop(0).close()
        self._held.close()


def shard_config(dim: int) -> qe.EdgeConfig:
    """Return the layout of a new shard.

    There is no write-ahead log: with one, a single process at a time may open the shard. A writer flushes at
    checkpoints instead, and nobody reads a shard while it is written.
    """
    rounded = qe.ScalarQuantizationConfig(qe.ScalarType.Int8, quantile=0.99, memory=PLACEMENT)
    vector = qe.EdgeVectorParams(
        size=dim, distance=qe.Distance.Cosine, memory=PLACEMENT, quantization_config=rounded
    )
    return qe.EdgeConfig(
        vectors=dict.fromkeys(VECTORS, vector),
        sparse_vectors={"words": qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf, memory=PLACEMENT)},
        hnsw_config=qe.HnswIndexConfig(
            m=16, ef_construct=128, full_scan_threshold=HNSW_FROM_KILOBYTES, memory=PLACEMENT
        ),
        optimizers=qe.EdgeOptimizersConfig(
            indexing_threshold=HNSW_FROM_KILOBYTES, default_segment_number=1, vacuum_min_vector_number=1000
        ),
        wal_enabled=False,
        max_search_threads=1,  # one for each segment, and there is one; more only hand over to each other
    )


def payload_index(field: str) -> qe.UpdateOperation:
    kind = qe.FloatIndexParams if field in NUMBER_FIELDS else qe.KeywordIndexParams
    return qe.UpdateOperation.create_field_index(field, kind(memory=PLACEMENT))


def stored_point(point: Point, encoder: qe.Bm25) -> qe.Point:
    indices, values = bm25.encode_caption(encoder, point.record.caption, point.point_id)
    vectors = {
        "image": point.image_vector.tolist(),
        "caption": point.caption_vector.tolist(),
        "words": qe.SparseVector(indices, values),
    }
    return qe.Point(point.point_id, vectors, payload_of(point.record, point.corpus, point.digest))


def query_request(query: Query, encoder: qe.Bm25, info: CollectionInfo) -> qe.QueryRequest:
    """Return one query as a request for ids and scores; the payloads of those shown are fetched after."""
    must, must_not = ([_clause(one) for one in part] for part in query.clauses(info.fields))
    chosen = qe.Filter(must=must, must_not=must_not) if must or must_not else None
    params = qe.SearchParams(exact=True) if query.exact else _APPROXIMATE
    # Each ranking that is fused: what is compared, and the stored vector it is compared with.
    arms: list[tuple[Any, str]] = [(vector.tolist(), name) for vector, name in query.compared_vectors]
    if query.asks_words:
        arms.append((encoder.embed_query(query.words or ""), "words"))
    shared: dict[str, Any] = {"filter": chosen, "score_threshold": query.min_score}
    if query.diversity is not None and query.compared_vectors:
        compared, using = arms[0]
        pool = max(MMR_POOL, query.top)
        diverse = qe.Mmr(compared, lambda_=1.0 - query.diversity, candidates_limit=pool, using=using)
        return qe.QueryRequest(query=diverse, limit=query.top, params=params, **shared)
    shared["limit"] = query.top + EXTRA
    nearest = [qe.Query.Nearest(compared, using=using) for compared, using in arms]
    if len(nearest) == 1:
        return qe.QueryRequest(query=nearest[0], params=params, **shared)
    pool = fused_pool(query.top)
    prefetches = [qe.Prefetch(limit=pool, query=arm, filter=chosen, params=params) for arm in nearest]
    fusion: Any = qe.Fusion.Dbsf()
    if query.fusion == "rrf":
        fusion = qe.Fusion.Rrf(k=RRF_K, weights=query.arm_weights(len(arms), info.weights))
    return qe.QueryRequest(query=fusion, prefetches=prefetches, **shared)


def _clause(condition: Condition) -> Any:  # noqa: ANN401 - the engine's classes share no type
    if condition.kind == "exists":
        return qe.IsEmptyCondition(condition.field)
    if condition.kind == "any":
        return qe.FieldCondition(condition.field, match=qe.MatchAny(list(condition.values)))
    return qe.FieldCondition(condition.field, range=qe.RangeFloat(**condition.bounds()))


def scroll(shard: EdgeShard, fields: Sequence[str] = (), *, vectors: bool = False) -> Iterator[qe.Record]:
    """Yield every point, a few thousand in memory at a time; no `fields` takes the whole payload."""
    offset = None
    while True:
        request = qe.ScrollRequest(
            offset=offset,
            limit=_VECTOR_PAGE if vectors else _PAYLOAD_PAGE,
            with_payload=qe.PayloadSelector.Include(list(fields)) if fields else True,
            with_vector=list(VECTORS) if vectors else False,
        )
        records, offset = shard.scroll(request)
        yield from records
        if offset is None:
            return
