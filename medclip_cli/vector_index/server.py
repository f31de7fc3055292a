"""The server engine: a collection on a Qdrant server or cluster, for teams and for what outgrows one machine.

On the server a collection is an alias. Each index run builds ``<name>--<generation>`` and then points the
alias at it, so that readers see the old or the new, as with the embedded engine. What a collection is, is
kept in its metadata, which the server has stored since version 1.16. A read-only API key is enough for
everything here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from medclip_cli.errors import CollectionError
from medclip_cli.records import Neighbour
from medclip_cli.vector_index import bm25
from medclip_cli.vector_index.base import CollectionInfo, Query, StoredPoint
from medclip_cli.vector_index.manifest import check_name, info_from_json, info_to_json
from medclip_cli.vector_index.ranking import contenders, ranked
from medclip_cli.vector_index.server_connection import NotThereError, Server

if TYPE_CHECKING:
    from qdrant_client import QdrantClient, models

METADATA = "medclip"
PAGE = 1_000
_Result = TypeVar("_Result")


def physical_name(name: str, generation: int) -> str:
    """Return the server's name of one generation of a collection."""
    return f"{name}--{generation:06d}"


def aliases(server: Server) -> dict[str, str]:
    """Return the server's aliases: collection name by alias."""
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
    """Open a collection for asking.

    Raises:
        CollectionError: there is none of this name, or the server cannot be asked.
    """
    try:
        return ServerIndex(server, describe(server, check_name(name)))
    except NotThereError as error:
        raise CollectionError(
            f"no collection {name!r} at {server.url}: make one with medclip index --url {server.url}"
        ) from error


class ServerIndex:
    """A collection opened for asking; use `open_collection`."""

    def __init__(self, server: Server, info: CollectionInfo) -> None:
        """Ask this generation as long as it is there, then the one that took its place."""
        self._server = server
        self._info = info
        self._encoder = bm25.caption_encoder(info.average_words)

    @property
    def info(self) -> CollectionInfo:
        """What is known of the collection."""
        return self._info

    def query(self, queries: Sequence[Query]) -> list[list[Neighbour]]:
        """Answer each question with its neighbours, best first, all in one request.

        Raises:
            UsageError: a question that cannot be answered.
            CollectionError: the server cannot be asked, or vectors of another length were given.
        """
        from medclip_cli.vector_index.server_requests import query_request

        for query in queries:
            self._info.check_query(query)
        if not queries:
            return []

        def ask(client: QdrantClient, name: str) -> list[models.QueryResponse]:
            requests = [query_request(query, self._encoder, self._info) for query in queries]
            return client.query_batch_points(name, requests)

        return [
            ranked(query, ((hit.score, hit.payload or {}) for hit in contenders(query, answer.points)))
            for query, answer in zip(queries, self._ask(ask), strict=True)
        ]

    def points(self, *, vectors: bool = False) -> Iterator[StoredPoint]:
        """Yield every point in the order of the ids, a thousand in memory at a time."""
        name = physical_name(self._info.name, self._info.generation)
        for record in scroll(self._server, name, vectors=["image", "caption"] if vectors else False):
            stored: Any = record.vector if vectors else {}
            image, caption = (np.asarray(stored.get(key, ()), np.float32) for key in ("image", "caption"))
            yield StoredPoint(str(record.id), record.payload or {}, image, caption)

    def find_damage(self) -> str | None:
        """Say what the server finds wrong with the collection, or None."""
        answer = self._ask(lambda client, name: client.get_collection(name))
        return (
            None if str(answer.status.value) in ("green", "yellow", "grey") else "the server calls it damaged"
        )

    def _ask(self, request: Callable[[QdrantClient, str], _Result]) -> _Result:
        """Send a request to the generation that was opened, or to its successor where it is gone."""
        try:
            name = physical_name(self._info.name, self._info.generation)
            return self._server.call(lambda client: request(client, name))
        except NotThereError:
            self._move_on()
        name = physical_name(self._info.name, self._info.generation)
        try:
            return self._server.call(lambda client: request(client, name))
        except NotThereError as error:
            raise CollectionError(
                f"collection {self._info.name!r} is gone from {self._server.url}"
            ) from error

    def _move_on(self) -> None:
        before = self._info
        try:
            self._info = describe(self._server, before.name)
        except NotThereError as error:
            raise CollectionError(f"collection {before.name!r} is gone from {self._server.url}") from error
        self._info.check_model(before.fingerprint, before.model_name)

    def close(self) -> None:
        """Close the connections."""
        self._server.close()

    def __enter__(self) -> ServerIndex:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def scroll(
    server: Server,
    name: str,
    *,
    fields: Sequence[str] | bool = True,
    vectors: Sequence[str] | bool = False,
) -> Iterator[models.Record]:
    """Yield every point of a collection, a page in memory at a time."""
    offset: Any = None
    while True:
        records, offset = server.call(_page_request(name, offset, fields, vectors))
        yield from records
        if offset is None:
            return


def _page_request(
    name: str,
    offset: Any,  # noqa: ANN401
    fields: Sequence[str] | bool,
    vectors: Sequence[str] | bool,
) -> Callable[[QdrantClient], tuple[list[models.Record], Any]]:
    wanted = fields if isinstance(fields, bool) else list(fields)
    with_vectors = vectors if isinstance(vectors, bool) else list(vectors)
    return lambda client: client.scroll(
        name, limit=PAGE, offset=offset, with_payload=wanted, with_vectors=with_vectors
    )
