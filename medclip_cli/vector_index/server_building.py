"""One collection of a server while it is filled: made, filled in batches, counted, waited for, removed."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import server_requests
from medclip_cli.vector_index.base import OnStage
from medclip_cli.vector_index.server import scroll
from medclip_cli.vector_index.server_connection import NotThereError, Server

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

BATCH_BYTES = 4 << 20
IN_FLIGHT = 4
MOST_VALUES = 200
_BYTES_PER_NUMBER = 12  # of a float as JSON text; gRPC needs 4
_BYTES_AROUND = 400  # a point's id, the names of its vectors, the indices of its words
_IDS_PER_REQUEST = 1_000
_POLL_SECONDS = 1.0


class BuildingCollection:
    """A collection that is not live yet, under its own name."""

    def __init__(self, server: Server, name: str, dim: int) -> None:
        """Send nothing yet."""
        self._server, self.name, self._dim = server, name, dim
        self._pool: ThreadPoolExecutor | None = None
        self._in_flight: deque[Future[Any]] = deque()

    def create(self, metadata: Mapping[str, Any], layout: server_requests.ServerLayout) -> bool:
        """Make the collection, and return whether it was this call that did; another machine may be first."""
        settings = server_requests.collection_settings(self._dim, layout)

        def create(client: QdrantClient) -> bool:
            return not client.collection_exists(self.name) and client.create_collection(
                self.name, metadata=dict(metadata), **settings
            )

        try:
            return self._server.call(create)
        except CollectionError:
            if self._server.call(lambda client: client.collection_exists(self.name)):
                return False
            raise

    def index_fields(self) -> None:
        """Have the fields indexed that people filter by."""

        def index(client: QdrantClient) -> None:
            for field in server_requests.INDEXED_FIELDS:
                client.create_payload_index(self.name, field, server_requests.payload_schema(field))

        self._server.call(index)

    def remove(self) -> None:
        """Remove what an interrupted run left that cannot be gone on with."""
        self._server.call(
            lambda client: client.collection_exists(self.name) and client.delete_collection(self.name)
        )

    def metadata(self) -> dict[str, Any]:
        """Return the collection's metadata; nothing where there is no such collection."""
        try:
            answer = self._server.call(lambda client: client.get_collection(self.name))
        except NotThereError:
            return {}
        return dict(answer.config.metadata or {})

    def copy_from(self, source: str) -> None:
        """Take over the points of another collection; their vectors travel through this process."""
        from qdrant_client import models

        def again(record: models.Record) -> models.PointStruct:
            vector: Any = record.vector or {}
            return models.PointStruct(id=record.id, vector=vector, payload=record.payload)

        self.send(again(record) for record in scroll(self._server, source, vectors=True))
        self.land()

    def describe(self, metadata: Mapping[str, Any]) -> None:
        """Add to the collection's metadata."""
        self._server.call(lambda client: client.update_collection(self.name, metadata=dict(metadata)))

    def send(self, points: Iterable[models.PointStruct]) -> None:
        """Store points; returns while the last batches are on their way."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="upsert")
        for batch in _batches(points):
            while len(self._in_flight) >= 2 * IN_FLIGHT:
                self._in_flight.popleft().result()
            self._in_flight.append(self._pool.submit(self._store, batch))

    def _store(self, batch: list[models.PointStruct]) -> None:
        self._server.call(lambda client: client.upsert(self.name, batch, wait=True))

    def land(self) -> None:
        """Wait until everything that was sent is stored."""
        while self._in_flight:
            self._in_flight.popleft().result()

    def delete(self, point_ids: Sequence[str]) -> None:
        """Remove points."""
        self.land()
        pages = [
            list(point_ids[i : i + _IDS_PER_REQUEST]) for i in range(0, len(point_ids), _IDS_PER_REQUEST)
        ]

        def delete(client: QdrantClient) -> None:
            for page in pages:
                client.delete(self.name, list(page), wait=True)

        self._server.call(delete)

    def wait_until_indexed(self, say: OnStage) -> None:
        """Wait until the server has built its search graph.

        Raises:
            CollectionError: it failed to.
        """
        while True:
            answer = self._server.call(lambda client: client.get_collection(self.name))
            if answer.status.value == "red":
                raise CollectionError(
                    f"the server at {self._server.url} failed to index {self.name!r}: see its log"
                )
            if answer.status.value != "yellow":
                return
            say(f"the server indexes {answer.points_count or 0:,} points")
            time.sleep(_POLL_SECONDS)

    def count(self) -> int:
        """Return how many points there are."""
        return self._server.call(lambda client: client.count(self.name, exact=True)).count

    def count_values(self) -> dict[str, dict[str, int]]:
        """Return the values of each field and their counts, but for fields with very many."""

        def count(client: QdrantClient) -> dict[str, dict[str, int]]:
            counted = {}
            for field in server_requests.COUNTED_FIELDS:
                hits = client.facet(self.name, field, limit=MOST_VALUES + 1, exact=True).hits
                counted[field] = {str(hit.value): hit.count for hit in hits}
            return counted

        return {
            field: dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
            for field, counts in self._server.call(count).items()
            if 0 < len(counts) <= MOST_VALUES
        }

    def close(self) -> None:
        """Let the batches that are on their way land, and send no more."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
        self._in_flight.clear()


def _batches(points: Iterable[models.PointStruct]) -> Iterator[list[models.PointStruct]]:
    """Yield points in batches that stay well below what a server takes in one request (32 MB)."""
    batch: list[models.PointStruct] = []
    size = 0
    for point in points:
        needed = _bytes_of(point)
        if batch and size + needed > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(point)
        size += needed
    if batch:
        yield batch


def _bytes_of(point: models.PointStruct) -> int:
    """Return about how many bytes a point takes as JSON, which is the longer of the two ways to send it."""
    vectors: Any = point.vector
    numbers = sum(len(getattr(vector, "values", vector)) for vector in vectors.values())
    payload = len(json.dumps(point.payload, ensure_ascii=False).encode())
    return numbers * _BYTES_PER_NUMBER + payload + _BYTES_AROUND
