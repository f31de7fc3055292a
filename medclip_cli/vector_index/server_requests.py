"""Questions and records in the words of qdrant-client."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from medclip_cli.vector_index import bm25
from medclip_cli.vector_index import payload as payloads
from medclip_cli.vector_index.base import CollectionInfo, Condition, Point
from medclip_cli.vector_index.conditions import NUMBER_FIELDS
from medclip_cli.vector_index.queries import Query
from medclip_cli.vector_index.ranking import EXTRA, HNSW_EF, MMR_POOL, RRF_K, fused_pool

if TYPE_CHECKING:
    from qdrant_client import models
    from qdrant_edge import Bm25

COUNTED_FIELDS = ("modality", "view", "region", "category", "findings", "sex", "split", "corpus", "source")
INDEXED_FIELDS = (*COUNTED_FIELDS, "group", "age", "id")


@dataclass(frozen=True, slots=True)
class ServerLayout:
    """How a new collection lies on a server or cluster, and when it is put in place.

    Attributes:
        shards: over how many parts, and so nodes, it is spread.
        replicas: how many nodes hold each part.
        quantize: what is kept in memory: the vectors as they are, a byte or a bit for each of their numbers.
        on_disk: keep the original vectors on disk, and in memory only what `quantize` makes of them.
        wait: put it in place once its search graph is built, rather than while the server is still at it.
    """

    shards: int = 1
    replicas: int = 1
    quantize: Literal["none", "int8", "binary"] = "none"
    on_disk: bool = False
    wait: bool = True


def collection_settings(dim: int, layout: ServerLayout) -> dict[str, Any]:
    """Return the settings of a new collection, as ``create_collection`` takes them."""
    from qdrant_client import models

    quantization: Any = None
    if layout.quantize == "int8":
        scalar = models.ScalarQuantizationConfig(
            type=models.ScalarType.INT8, quantile=0.99, always_ram=layout.on_disk or None
        )
        quantization = models.ScalarQuantization(scalar=scalar)
    elif layout.quantize == "binary":
        binary = models.BinaryQuantizationConfig(always_ram=layout.on_disk or None)
        quantization = models.BinaryQuantization(binary=binary)
    vector = models.VectorParams(size=dim, distance=models.Distance.COSINE, on_disk=layout.on_disk or None)
    return {
        "vectors_config": {"image": vector, "caption": vector},
        "sparse_vectors_config": {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        "hnsw_config": models.HnswConfigDiff(m=16, ef_construct=128),
        "quantization_config": quantization,
        "shard_number": layout.shards,
        "replication_factor": layout.replicas,
        "on_disk_payload": True,
    }


def payload_schema(field: str) -> models.PayloadSchemaType:
    """Return how one payload field is indexed."""
    from qdrant_client import models

    return models.PayloadSchemaType.FLOAT if field in NUMBER_FIELDS else models.PayloadSchemaType.KEYWORD


def stored_point(point: Point, encoder: Bm25) -> models.PointStruct:
    """Return a point as the server stores it."""
    from qdrant_client import models

    identifier = point.point_id
    indices, values = bm25.encode_caption(encoder, point.record.caption, identifier)
    return models.PointStruct(
        id=identifier,
        vector={
            "image": point.image_vector.tolist(),
            "caption": point.caption_vector.tolist(),
            "words": models.SparseVector(indices=indices, values=values),
        },
        payload=payloads.payload_of(point.record, point.corpus, point.digest),
    )


def query_request(query: Query, encoder: Bm25, info: CollectionInfo) -> models.QueryRequest:
    """Return one question as a request; the same question as `edge_requests.query_request` makes."""
    from qdrant_client import models

    chosen = server_filter(query.where, query.exclude_groups, info.fields)
    params = models.SearchParams(exact=True) if query.exact else models.SearchParams(hnsw_ef=HNSW_EF)
    arms = _arms(query, encoder)
    shared: dict[str, Any] = {
        "limit": query.top + EXTRA,
        "with_payload": True,
        "filter": chosen,
        "score_threshold": query.min_score,
    }
    if query.diversity is not None and query.compared_vectors:
        mmr = models.Mmr(diversity=query.diversity, candidates_limit=max(MMR_POOL, query.top))
        compared, using = arms[0]
        nearest = models.NearestQuery(nearest=compared, mmr=mmr)
        return models.QueryRequest(query=nearest, using=using, params=params, **shared | {"limit": query.top})
    if len(arms) == 1:
        return models.QueryRequest(query=arms[0][0], using=arms[0][1], params=params, **shared)
    pool = fused_pool(query.top)
    prefetches = [
        models.Prefetch(query=compared, using=using, limit=pool, filter=chosen, params=params)
        for compared, using in arms
    ]
    return models.QueryRequest(prefetch=prefetches, query=_fusion(query, len(arms), info.weights), **shared)


def _arms(query: Query, encoder: Bm25) -> list[tuple[Any, str]]:
    from qdrant_client import models

    arms: list[tuple[Any, str]] = [(vector.tolist(), name) for vector, name in query.compared_vectors]
    if query.asks_words:
        asked = encoder.embed_query(query.words or "")
        arms.append((models.SparseVector(indices=asked.indices, values=asked.values), "words"))
    return arms


def _fusion(query: Query, arms: int, learnt: tuple[float, float]) -> models.FusionQuery | models.RrfQuery:
    from qdrant_client import models

    if query.fusion == "dbsf":
        return models.FusionQuery(fusion=models.Fusion.DBSF)
    return models.RrfQuery(rrf=models.Rrf(k=RRF_K, weights=query.arm_weights(arms, learnt)))


def server_filter(
    where: Sequence[Condition],
    exclude_groups: Iterable[str] = (),
    known: Mapping[str, Mapping[str, int]] | None = None,
) -> models.Filter | None:
    """Return filters as the server's, or None when everything may answer."""
    from qdrant_client import models

    must: list[Any] = []
    must_not: list[Any] = []
    for condition in where:
        spelt = condition.with_known_values((known or {}).get(condition.field, {}))
        # A record that has a field is one of which "is empty" does not hold.
        inverted = spelt.negated != (spelt.kind == "exists")
        (must_not if inverted else must).append(_clause(spelt))
    if groups := sorted(exclude_groups):
        must_not.append(models.FieldCondition(key="group", match=models.MatchAny(any=groups)))
    return models.Filter(must=must, must_not=must_not) if must or must_not else None


def _clause(condition: Condition) -> models.FieldCondition | models.IsEmptyCondition:
    from qdrant_client import models

    if condition.kind == "exists":
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=condition.field))
    if condition.kind == "any":
        return models.FieldCondition(key=condition.field, match=models.MatchAny(any=list(condition.values)))
    return models.FieldCondition(key=condition.field, range=models.Range(**condition.bounds()))
