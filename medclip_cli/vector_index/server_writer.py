"""One index run on a Qdrant server: a new collection is filled, then the alias is pointed at it.

Every request may be repeated, so a run that was cut off is started again and goes on. Points travel in
batches of bounded bytes, several in flight. Two runs that write the same collection at once do each other no
harm: both fill the same new generation with the same points.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import bm25
from medclip_cli.vector_index.base import (
    Closing,
    CollectionInfo,
    CollectionSpec,
    CorpusSource,
    OnStage,
    Point,
    check_name,
    info_to_json,
    next_generation_info,
    now,
)
from medclip_cli.vector_index.payload import COUNTED_FIELDS, MOST_VALUES, telling_counts
from medclip_cli.vector_index.queries import NUMBER_FIELDS
from medclip_cli.vector_index.server import (
    INDEXED_FIELDS,
    METADATA,
    ServerLayout,
    aliases,
    collection_settings,
    describe,
    physical_name,
    scroll,
    stored_point,
    update_description,
)
from medclip_cli.vector_index.server_connection import NotThereError, Server

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

BATCH_BYTES = 4 << 20
IN_FLIGHT = 4
_BYTES_PER_NUMBER = 12  # of a float as JSON text; gRPC needs 4
_BYTES_AROUND = 400  # a point's id, the names of its vectors, the indices of its words
_IDS_PER_REQUEST = 1_000
_POLL_SECONDS = 1.0
_BASE = "medclip_base"  # the generation that a building one is a copy of
_COPIED = "medclip_copied"  # whether that copy is whole
_PART = "medclip_part_{}_of_{}"  # whether that part is done
_OTHERS_TRIES = 600
_OTHERS_PAUSE_SECONDS = 1.0


def create_writer(
    server: Server,
    name: str,
    spec: CollectionSpec,
    *,
    rebuild: bool = False,
    layout: ServerLayout | None = None,
    part: tuple[int, int] | None = None,
) -> ServerWriter:
    """Open a collection on a server for one index run, see `store.Store.create_writer`."""
    check_name(name)
    try:
        live: CollectionInfo | None = describe(server, name)
    except NotThereError:
        live = None
    if live is not None and not rebuild:
        live.check_model(spec.fingerprint, spec.model_name)
    base = None if rebuild else live
    return ServerWriter(server, name, spec, live, base=base, layout=layout or ServerLayout(), part=part)


class ServerWriter(Closing):
    """An `IndexWriter`: the next generation of a collection on a server; use `create_writer`."""

    def __init__(
        self,
        server: Server,
        name: str,
        spec: CollectionSpec,
        live: CollectionInfo | None,
        *,
        base: CollectionInfo | None,
        layout: ServerLayout,
        part: tuple[int, int] | None,
    ) -> None:
        """Look for a generation that an interrupted run left; nothing is written before the first change."""
        self._server, self._spec, self.live, self._layout = server, spec, live, layout
        self._base, self._part = base, part
        self._corpora = dict(self._base.corpora) if self._base else {}
        generation = (live.generation if live else 0) + 1
        self._draft = next_generation_info(name, "server", spec, live=live, base=base, generation=generation)
        self._encoder = bm25.caption_encoder(self._draft.average_words)
        self._building = BuildingCollection(server, physical_name(name, self._draft.generation), spec.dim)
        self.resumed = self._fits_what_was_left()
        self._begun = self.resumed

    def _fits_what_was_left(self) -> bool:
        """Return whether an interrupted run of the same kind left a generation to go on with."""
        left = self._building.metadata()
        info = left.get(METADATA) or {}
        return (
            bool(left.get(_COPIED))
            and left.get(_BASE) == (self._base.generation if self._base else 0)
            and (info.get("fingerprint"), info.get("dim")) == (self._spec.fingerprint, self._spec.dim)
        )

    def digests(self, corpus: str) -> dict[str, str]:
        if self._begun:
            self._building.land()
            name = self._building.name
        elif self._base is not None:
            name = physical_name(self._base.name, self._base.generation)
        else:
            return {}
        found = {}
        for record in scroll(self._server, name, fields=["corpus", "digest"]):
            payload = record.payload or {}
            if payload.get("corpus") == corpus:
                found[str(record.id)] = str(payload.get("digest", ""))
        return found

    def add_corpus(self, name: str, source: CorpusSource) -> None:
        self._corpora[name] = source

    def reserve(self, points: int) -> None:
        """Take it that there is room: a server does not tell, and refuses what it cannot store."""

    def upsert(self, points: Sequence[Point]) -> None:
        self._spec.check_points(points)
        if points:
            stored = [stored_point(point, self._encoder) for point in points]
            self._begin().send(stored)

    def delete(self, point_ids: Iterable[str]) -> None:
        if gone := list(point_ids):
            self._begin().delete(gone)

    def _begin(self) -> BuildingCollection:
        """Return the collection being filled: the interrupted one, a copy of the live one, or a new one."""
        if not self._begun:
            base = self._base.generation if self._base else 0
            metadata = {METADATA: info_to_json(self._draft), _BASE: base}
            if self._part is None:
                self._building.remove()
            if self._building.create(metadata, self._layout) or self._part is None:
                self._building.index_fields()
                if self._base is not None:
                    self._building.copy_from(physical_name(self._base.name, base))
                self._building.describe({_COPIED: True})
            else:
                self._wait_for_the_other()
            self._begun = True
        return self._building

    def _wait_for_the_other(self) -> None:
        """Wait until the machine that was first has made the collection that this one fills too."""
        for _ in range(_OTHERS_TRIES):
            if self._fits_what_was_left():
                return
            time.sleep(_OTHERS_PAUSE_SECONDS)
        raise CollectionError(
            f"{self._building.name} at {self._server.url} was begun by another run and not made ready: index "
            "once without a shard to begin anew"
        )

    def commit(self, on_stage: OnStage | None = None) -> CollectionInfo:
        """Point the alias at the new generation, once it is indexed, and remove the old one."""
        if not self._begun and self._base is not None and self._part is None:
            info = replace(self._base, corpora=dict(self._corpora))
            if info != self._base:
                update_description(self._server, info)
            return info
        building = self._begin()
        building.land()
        if self._layout.wait:
            building.wait_until_indexed(on_stage or (lambda _: None))
        info = replace(
            self._draft,
            points=building.count(),
            updated=now(),
            fields=building.count_values(),
            corpora=dict(self._corpora),
        )
        if self._part is not None:
            # Two parts that end at once are both the last.
            building.describe({_PART.format(*self._part): True})
            done, parts = building.metadata(), self._part[1]
            if not all(done.get(_PART.format(number, parts)) for number in range(1, parts + 1)):
                return info
        building.describe({METADATA: info_to_json(info)})
        _move_alias(self._server, info.name, building.name)
        _remove_before(self._server, info.name, info.generation)
        self.live = info
        return info

    def close(self) -> None:
        self._building.close()
        self._server.close()


def _move_alias(server: Server, name: str, target: str | None) -> None:
    """Point an alias at another collection in one step, or remove it."""
    from qdrant_client import models

    operations: list[Any] = []
    if name in aliases(server):
        operations.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name)))
    if target is not None:
        create = models.CreateAlias(collection_name=target, alias_name=name)
        operations.append(models.CreateAliasOperation(create_alias=create))
    if operations:
        server.call(lambda client: client.update_collection_aliases(operations))


def _remove_before(server: Server, name: str, generation: int) -> None:
    """Remove the generations of a collection that came before this one."""
    listed = server.call(lambda client: client.get_collections()).collections
    for old in [one.name for one in listed]:
        prefix, _, number = old.rpartition("--")
        if prefix == name and number.isdigit() and int(number) < generation:
            server.call(lambda client, name: client.delete_collection(name), old)


def drop_collection(server: Server, name: str) -> None:
    """Remove a collection: its alias and every generation."""
    _move_alias(server, name, None)
    _remove_before(server, name, 1 << 62)


class BuildingCollection:
    """A collection that is not live yet, under its own name."""

    def __init__(self, server: Server, name: str, dim: int) -> None:
        """Send nothing yet."""
        self._server, self.name, self._dim = server, name, dim
        self._pool: ThreadPoolExecutor | None = None
        self._in_flight: deque[Future[Any]] = deque()

    def create(self, metadata: Mapping[str, Any], layout: ServerLayout) -> bool:
        """Make the collection, and return whether it was this call that did; another machine may be first."""
        settings = collection_settings(self._dim, layout)

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
        from qdrant_client import models

        def index(client: QdrantClient) -> None:
            for field in INDEXED_FIELDS:
                kind = "FLOAT" if field in NUMBER_FIELDS else "KEYWORD"
                client.create_payload_index(self.name, field, models.PayloadSchemaType[kind])

        self._server.call(index)

    def remove(self) -> None:
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

        records: Any = scroll(self._server, source, vectors=True)
        self.send(models.PointStruct(id=r.id, vector=r.vector or {}, payload=r.payload) for r in records)
        self.land()

    def describe(self, metadata: Mapping[str, Any]) -> None:
        self._server.call(lambda client: client.update_collection(self.name, metadata=dict(metadata)))

    def send(self, points: Iterable[models.PointStruct]) -> None:
        """Store points; returns while the last batches are on their way."""
        if self._pool is None:
            self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="upsert")

        def store(batch: list[models.PointStruct]) -> None:
            self._server.call(lambda client: client.upsert(self.name, batch, wait=True))

        for batch in _batches(points):
            while len(self._in_flight) >= 2 * IN_FLIGHT:
                self._in_flight.popleft().result()
            self._in_flight.append(self._pool.submit(store, batch))

    def land(self) -> None:
        while self._in_flight:
            self._in_flight.popleft().result()

    def delete(self, point_ids: Sequence[str]) -> None:
        self.land()

        def delete(client: QdrantClient) -> None:
            for start in range(0, len(point_ids), _IDS_PER_REQUEST):
                client.delete(self.name, list(point_ids[start : start + _IDS_PER_REQUEST]), wait=True)

        self._server.call(delete)

    def wait_until_indexed(self, say: OnStage) -> None:
        """Wait until the server has built its search graph; a `CollectionError` if it failed to."""
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
        return int(self._server.call(lambda client: client.count(self.name, exact=True)).count)

    def count_values(self) -> dict[str, dict[str, int]]:
        """Return the values of each field and their counts, but for fields with very many."""

        def count(client: QdrantClient) -> dict[str, dict[str, int]]:
            counted = {}
            for field in COUNTED_FIELDS:
                hits = client.facet(self.name, field, limit=MOST_VALUES + 1, exact=True).hits
                counted[field] = {str(hit.value): hit.count for hit in hits}
            return counted

        return telling_counts(self._server.call(count))

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
        # As JSON, which is the longer of the two ways to send a point.
        vectors: Any = point.vector
        numbers = sum(len(getattr(vector, "values", vector)) for vector in vectors.values())
        payload = len(json.dumps(point.payload, ensure_ascii=False).encode())
        needed = numbers * _BYTES_PER_NUMBER + payload + _BYTES_AROUND
        if batch and size + needed > BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(point)
        size += needed
    if batch:
        yield batch
