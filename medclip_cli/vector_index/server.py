"""The server engine: a collection on a Qdrant server or cluster, for teams and for what outgrows one machine.

On the server a collection is an alias. Each index run builds ``<name>--<generation>`` and then points the
alias at it, so that readers see the old or the new, as with the embedded engine. What a collection is, is
kept in its metadata, which the server has stored since version 1.16. A read-only API key is enough for
everything here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from medclip_cli.errors import CollectionError
from medclip_cli.records import Neighbour
from medclip_cli.vector_index import bm25
from medclip_cli.vector_index.base import (
    Closing,
    CollectionInfo,
    Point,
    StoredPoint,
    check_name,
    info_from_json,
    info_to_json,
)
from medclip_cli.vector_index.payload import (
    COUNTED_FIELDS,
    EXTRA,
    HNSW_EF,
    MMR_POOL,
    RRF_K,
    candidates,
    fused_pool,
    payload_of,
    ranked,
)
from medclip_cli.vector_index.queries import Condition, Query
from medclip_cli.vector_index.server_connection import NotThereError, Server

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models
    from qdrant_edge import Bm25

METADATA = "medclip"
INDEXED_FIELDS = (*COUNTED_FIELDS, "group", "age", "id")
PAGE = 1_000
_Result = TypeVar("_Result")


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

    on_disk = layout.on_disk or None
    int8 = models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=on_disk)
    quantization: Any = {
        "none": None,
        "int8": models.ScalarQuantization(scalar=int8),
        "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=on_disk)),
    }[layout.quantize]
    vector = models.VectorParams(size=dim, distance=models.Distance.COSINE, on_disk=on_disk)
    return {
        "vectors_config": {"image": vector, "caption": vector},
        "sparse_vectors_config": {"words": models.SparseVectorParams(modifier=models.Modifier.IDF)},
        "hnsw_config": models.HnswConfigDiff(m=16, ef_construct=128),
        "quantization_config": quantization,
        "shard_number": layout.shards,
        "replication_factor": layout.replicas,
        "on_disk_payload": True,
    }


def physical_name(name: str, generation: int) -> str:
    """Return the server's name of one generation of a collection."""
    return f"{name}--{generation:06d}"


def aliases(server: Server) -> dict[str, str]:
    """Return the server's own name of each collection, by alias."""
    answer = server.call(lambda client: client.get_aliases())
    return {alias.alias_name: alias.collection_name for alias in answer.aliases}


def describe(server: Server, name: str) -> CollectionInfo:
    """Return the description of a collection, by its alias or its own name.

    Raises:
        NotThereError: there is none of this name.
        CollectionError: it was not made by medclip, or by a newer one.
    """
    answer = server.call(lambda client: client.get_collection(name))
    stored = (answer.config.metadata or {}).get(METADATA)
    if not isinstance(stored, dict):
        raise CollectionError(
            f"collection {name!r} at {server.url} was not made by medclip, or by a Qdrant older than 1.16"
        )
    return info_from_json(name, stored)


def update_description(server: Server, info: CollectionInfo) -> None:
    """Put a new description in place of the one that a live collection has."""
    name, metadata = physical_name(info.name, info.generation), {METADATA: info_to_json(info)}
    server.call(lambda client: client.update_collection(name, metadata=metadata))


def list_collections(server: Server) -> list[CollectionInfo]:
    """Return the collections on a server that medclip made; needs a key that may see aliases."""
    found = []
    for name in sorted(aliases(server)):
        try:
            found.append(describe(server, name))
        except (CollectionError, NotThereError):
            continue
    return found


def open_collection(server: Server, name: str) -> ServerIndex:
    """Open a collection for asking, see `store.Store.open`."""
    try:
        return ServerIndex(server, describe(server, check_name(name)))
    except NotThereError as error:
        raise CollectionError(
            f"no collection {name!r} at {server.url}: make one with medclip index --url {server.url}"
        ) from error


class ServerIndex(Closing):
    """A `VectorIndex`: a collection opened for asking; use `open_collection`."""

    def __init__(self, server: Server, info: CollectionInfo) -> None:
        """Ask this generation as long as it is there, then the one that took its place."""
        self._server, self.info = server, info
        self._encoder = bm25.caption_encoder(info.average_words)

    def query(self, queries: Sequence[Query]) -> list[list[Neighbour]]:
        for query in queries:
            self.info.check_query(query)
        if not queries:
            return []

        def ask(client: QdrantClient, name: str) -> list[models.QueryResponse]:
            requests = [query_request(query, self._encoder, self.info) for query in queries]
            return client.query_batch_points(name, requests)

        return [
            ranked(query, ((hit.score, hit.payload or {}) for hit in candidates(query, answer.points)))
            for query, answer in zip(queries, self._ask(ask), strict=True)
        ]

    def points(self, *, vectors: bool = False) -> Iterator[StoredPoint]:
        name = physical_name(self.info.name, self.info.generation)
        for record in scroll(self._server, name, vectors=["image", "caption"] if vectors else False):
            stored: Any = record.vector if vectors else {}
            image, caption = (np.asarray(stored.get(key, ()), np.float32) for key in ("image", "caption"))
            yield StoredPoint(str(record.id), record.payload or {}, image, caption)

    def find_damage(self) -> str | None:
        status = self._ask(lambda client, name: client.get_collection(name)).status
        return None if status.value in ("green", "yellow", "grey") else "the server calls it damaged"

    def _ask(self, request: Callable[[QdrantClient, str], _Result]) -> _Result:
        """Send a request to the generation that was opened, or to its successor where it is gone."""
        try:
            return self._server.call(request, physical_name(self.info.name, self.info.generation))
        except NotThereError:
            before = self.info
        try:
            self.info = describe(self._server, before.name)
            self.info.check_model(before.fingerprint, before.model_name)
            return self._server.call(request, physical_name(self.info.name, self.info.generation))
        except NotThereError as error:
            raise CollectionError(f"collection {before.name!r} is gone from {self._server.url}") from error

    def close(self) -> None:
        self._server.close()


def scroll(
    server: Server, name: str, *, fields: list[str] | bool = True, vectors: list[str] | bool = False
) -> Iterator[models.Record]:
    """Yield every point of a collection, a page in memory at a time."""
    offset: Any = None
    while True:
        records, offset = server.call(
            lambda client, start: client.scroll(
                name, limit=PAGE, offset=start, with_payload=fields, with_vectors=vectors
            ),
            offset,
        )
        yield from records
        if offset is None:
            return


def stored_point(point: Point, encoder: Bm25) -> models.PointStruct:
    from qdrant_client import models

    indices, values = bm25.encode_caption(encoder, point.record.caption, point.point_id)
    vectors: Any = {
        "image": point.image_vector.tolist(),
        "caption": point.caption_vector.tolist(),
        "words": models.SparseVector(indices=indices, values=values),
    }
    payload = payload_of(point.record, point.corpus, point.digest)
    return models.PointStruct(id=point.point_id, vector=vectors, payload=payload)


def query_request(query: Query, encoder: Bm25, info: CollectionInfo) -> models.QueryRequest:
    """Return one query as a request; the same query as `edge.query_request` makes."""
    from qdrant_client import models

    must, must_not = ([_clause(one) for one in part] for part in query.clauses(info.fields))
    chosen = models.Filter(must=must, must_not=must_not) if must or must_not else None
    params = models.SearchParams(exact=True) if query.exact else models.SearchParams(hnsw_ef=HNSW_EF)
    arms: list[tuple[Any, str]] = [(vector.tolist(), name) for vector, name in query.compared_vectors]
    if query.asks_words:
        words = encoder.embed_query(query.words or "")
        arms.append((models.SparseVector(indices=words.indices, values=words.values), "words"))
    shared: dict[str, Any] = {
        "limit": query.top + EXTRA,
        "with_payload": True,
        "filter": chosen,
        "score_threshold": query.min_score,
    }
    compared, using = arms[0]
    if query.diversity is not None and query.compared_vectors:
        mmr = models.Mmr(diversity=query.diversity, candidates_limit=max(MMR_POOL, query.top))
        nearest = models.NearestQuery(nearest=compared, mmr=mmr)
        return models.QueryRequest(query=nearest, using=using, params=params, **shared | {"limit": query.top})
    if len(arms) == 1:
        return models.QueryRequest(query=compared, using=using, params=params, **shared)
    pool = fused_pool(query.top)
    prefetches = [
        models.Prefetch(query=arm, using=name, limit=pool, filter=chosen, params=params) for arm, name in arms
    ]
    fusion: Any = models.FusionQuery(fusion=models.Fusion.DBSF)
    if query.fusion == "rrf":
        rrf = models.Rrf(k=RRF_K, weights=query.arm_weights(len(arms), info.weights))
        fusion = models.RrfQuery(rrf=rrf)
    return models.QueryRequest(prefetch=prefetches, query=fusion, **shared)


def _clause(condition: Condition) -> Any:  # noqa: ANN401 - one of the client's many kinds of condition
    from qdrant_client import models

    if condition.kind == "exists":
        return models.IsEmptyCondition(is_empty=models.PayloadField(key=condition.field))
    if condition.kind == "any":
        return models.FieldCondition(key=condition.field, match=models.MatchAny(any=list(condition.values)))
    return models.FieldCondition(key=condition.field, range=models.Range(**condition.bounds()))
