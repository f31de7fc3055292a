"""Questions and records in the words of Qdrant Edge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import qdrant_edge as qe

from medclip_cli.vector_index import bm25
from medclip_cli.vector_index import payload as payloads
from medclip_cli.vector_index.base import CollectionInfo, Condition, Point, Query
from medclip_cli.vector_index.conditions import NUMBER_FIELDS
from medclip_cli.vector_index.ranking import EXTRA, HNSW_EF, MMR_POOL, RRF_K, fused_pool

INDEXED_FIELDS = ("modality", "view", "region", "category", "findings", "group", "corpus", "age")
# Below these sizes the engine is faster without: a payload index costs some time at every opening, a scan of
# 10,000 payloads 10 ms a question; 64 MiB of vectors are compared in 2 ms, which no graph beats by much.
PAYLOAD_INDEX_POINTS = 10_000
HNSW_FROM_KILOBYTES = 65_536
# A question reads only the pages it touches: at its defaults the engine reads all vectors of both kinds when
# it opens a shard, which was most of the time of asking 220,000 points once.
PLACEMENT = qe.Memory.Cold
# With a graph come copies of the vectors rounded to 8 bits, which are compared first; half as many again as
# are wanted are then compared whole, so that scores are exact (decision 7).
OVERSAMPLING = 1.5
_ROUNDED = qe.ScalarQuantizationConfig(qe.ScalarType.Int8, quantile=0.99, memory=PLACEMENT)
_APPROXIMATE = qe.SearchParams(
    hnsw_ef=HNSW_EF, quantization=qe.QuantizationSearchParams(rescore=True, oversampling=OVERSAMPLING)
)
_EXACT = qe.SearchParams(exact=True)
_PAYLOAD_PAGE = 1_000
_VECTOR_PAGE = 2_000


def shard_config(dim: int) -> qe.EdgeConfig:
    """Return the layout of a new shard.

    There is no write-ahead log: with one, a single process at a time may open the shard. A writer flushes at
    checkpoints instead, and nobody reads a shard while it is written.
    """
    vector = qe.EdgeVectorParams(
        size=dim, distance=qe.Distance.Cosine, memory=PLACEMENT, quantization_config=_ROUNDED
    )
    sparse = qe.EdgeSparseVectorParams(modifier=qe.Modifier.Idf, memory=PLACEMENT)
    return qe.EdgeConfig(
        vectors={"image": vector, "caption": vector},
        sparse_vectors={"words": sparse},
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
    """Return the order to index one payload field."""
    kind = qe.FloatIndexParams if field in NUMBER_FIELDS else qe.KeywordIndexParams
    return qe.UpdateOperation.create_field_index(field, kind(memory=PLACEMENT))


def stored_point(point: Point, encoder: qe.Bm25) -> qe.Point:
    """Return a point as the engine stores it."""
    identifier = point.point_id
    indices, values = bm25.encode_caption(encoder, point.record.caption, identifier)
    vectors = {
        "image": point.image_vector.tolist(),
        "caption": point.caption_vector.tolist(),
        "words": qe.SparseVector(indices, values),
    }
    return qe.Point(identifier, vectors, payloads.payload_of(point.record, point.corpus, point.digest))


def query_request(query: Query, encoder: qe.Bm25, info: CollectionInfo) -> qe.QueryRequest:
    """Return one question as a request for ids and scores; whoever asks fetches the payloads it shows.

    Args:
        query: the question.
        encoder: of its words.
        info: of the collection: how it spells its values, and its weights.
    """
    chosen = edge_filter(query.where, query.exclude_groups, info.fields)
    params = _EXACT if query.exact else _APPROXIMATE
    arms = _arms(query, encoder)
    if query.diversity is not None and query.compared_vectors:
        return _diverse(query, arms[0], chosen, params)
    shared: dict[str, Any] = {
        "limit": query.top + EXTRA,
        "filter": chosen,
        "score_threshold": query.min_score,
    }
    if len(arms) == 1:
        return qe.QueryRequest(query=_nearest(*arms[0]), params=params, **shared)
    pool = fused_pool(query.top)
    prefetches = [qe.Prefetch(limit=pool, query=_nearest(*arm), filter=chosen, params=params) for arm in arms]
    return qe.QueryRequest(query=_fusion(query, len(arms), info.weights), prefetches=prefetches, **shared)


def _arms(query: Query, encoder: qe.Bm25) -> list[tuple[Any, str]]:
    """Return each ranking as what is compared and the stored vector it is compared with."""
    arms: list[tuple[Any, str]] = [(vector.tolist(), name) for vector, name in query.compared_vectors]
    if query.asks_words:
        arms.append((encoder.embed_query(query.words or ""), "words"))
    return arms


def _nearest(compared: Any, using: str) -> qe.Query:  # noqa: ANN401 - a list or a sparse vector
    return qe.Query.Nearest(compared, using=using)


def _fusion(query: Query, arms: int, learnt: tuple[float, float]) -> Any:  # noqa: ANN401 - the engine's classes share no type
    if query.fusion == "dbsf":
        return qe.Fusion.Dbsf()
    return qe.Fusion.Rrf(k=RRF_K, weights=query.arm_weights(arms, learnt))


def _diverse(
    query: Query, arm: tuple[Any, str], chosen: qe.Filter | None, params: qe.SearchParams
) -> qe.QueryRequest:
    compared, using = arm
    relevance = 1.0 - (query.diversity or 0.0)
    return qe.QueryRequest(
        query=qe.Mmr(compared, lambda_=relevance, candidates_limit=max(MMR_POOL, query.top), using=using),
        limit=query.top,
        filter=chosen,
        score_threshold=query.min_score,
        params=params,
    )


def scroll(shard: qe.EdgeShard, fields: Sequence[str] = (), *, vectors: bool = False) -> Iterator[qe.Record]:
    """Yield every point, a few thousand in memory at a time.

    Args:
        shard: whose points.
        fields: of the payload; empty takes all of it.
        vectors: whether the dense vectors come along.
    """
    offset = None
    while True:
        request = qe.ScrollRequest(
            offset=offset,
            limit=_VECTOR_PAGE if vectors else _PAYLOAD_PAGE,
            with_payload=qe.PayloadSelector.Include(list(fields)) if fields else True,
            with_vector=["image", "caption"] if vectors else False,
        )
        records, offset = shard.scroll(request)
        yield from records
        if offset is None:
            return


def edge_filter(
    where: Sequence[Condition],
    exclude_groups: Iterable[str] = (),
    known: Mapping[str, Mapping[str, int]] | None = None,
) -> qe.Filter | None:
    """Return filters as the engine's, or None when everything may answer."""
    must: list[Any] = []
    must_not: list[Any] = []
    for condition in where:
        spelt = condition.with_known_values((known or {}).get(condition.field, {}))
        # A record that has a field is one of which "is empty" does not hold.
        inverted = spelt.negated != (spelt.kind == "exists")
        (must_not if inverted else must).append(_clause(spelt))
    if groups := sorted(exclude_groups):
        must_not.append(qe.FieldCondition("group", match=qe.MatchAny(groups)))
    return qe.Filter(must=must, must_not=must_not) if must or must_not else None


def _clause(condition: Condition) -> qe.FieldCondition | qe.IsEmptyCondition:
    if condition.kind == "exists":
        return qe.IsEmptyCondition(condition.field)
    if condition.kind == "any":
        return qe.FieldCondition(condition.field, match=qe.MatchAny(list(condition.values)))
    return qe.FieldCondition(condition.field, range=qe.RangeFloat(**condition.bounds()))
