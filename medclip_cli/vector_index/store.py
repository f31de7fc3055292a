"""One door for all engines: collections lie under the home folder, on a Qdrant server or in another store."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.errors import UsageError
from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, IndexWriter, VectorIndex
from medclip_cli.vector_index.stores import store_at

if TYPE_CHECKING:
    from medclip_cli.vector_index.server_connection import Server
    from medclip_cli.vector_index.server_requests import ServerLayout

API_KEY_VARIABLE = "MEDCLIP_QDRANT_API_KEY"


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Where collections lie.

    Attributes:
        home: the folder of medclip's data, for the embedded engine.
        url: of a Qdrant server, or of a store that another package offers; None for the embedded engine.
        lock_timeout_seconds: how long to wait for a collection that another process holds.
    """

    home: Path
    url: str | None = None
    lock_timeout_seconds: float = 10.0


def open_collection(place: StoreLocation, name: str) -> VectorIndex:
    """Open a collection for asking.

    Raises:
        CollectionError: there is none of this name, it is damaged or busy, or the server cannot be asked.
    """
    if place.url is None:
        from medclip_cli.vector_index import edge

        return edge.open_collection(place.home, name, lock_timeout_seconds=place.lock_timeout_seconds)
    if (store := store_at(place.url)) is not None:
        return store.open_collection(name)
    from medclip_cli.vector_index import server

    return server.open_collection(_connect(place.url), name)


def create_writer(
    place: StoreLocation,
    name: str,
    spec: CollectionSpec,
    *,
    rebuild: bool = False,
    layout: ServerLayout | None = None,
    part: tuple[int, int] | None = None,
) -> IndexWriter:
    """Open a collection for one index run, making it if there is none.

    Args:
        place: where it lies.
        name: of the collection.
        spec: the model it is for.
        rebuild: begin with an empty generation.
        layout: how a new generation lies on a server.
        part: which of so many machines this is that fill one collection on a server together.

    Raises:
        UsageError: there is no server that several machines could fill.
        CollectionError: another run is writing, or it was made by another model and `rebuild` is not set.
    """
    if place.url is None:
        from medclip_cli.vector_index import edge_writer

        if part is not None:
            raise UsageError("several machines cannot fill a collection without a server: give --url")
        timeout = place.lock_timeout_seconds
        return edge_writer.create_writer(
            place.home, name, spec, rebuild=rebuild, lock_timeout_seconds=timeout
        )
    if (store := store_at(place.url)) is not None:
        return store.create_writer(name, spec, rebuild=rebuild)
    from medclip_cli.vector_index import server_writer

    connection = _connect(place.url)
    return server_writer.create_writer(connection, name, spec, rebuild=rebuild, layout=layout, part=part)


def list_collections(place: StoreLocation) -> list[CollectionInfo]:
    """Return the collections that can be described."""
    if place.url is None:
        from medclip_cli.vector_index import edge

        return edge.list_collections(place.home)
    if (store := store_at(place.url)) is not None:
        return store.list_collections()
    from medclip_cli.vector_index import server

    connection = _connect(place.url)
    try:
        return server.list_collections(connection)
    finally:
        connection.close()


def describe(place: StoreLocation, name: str) -> CollectionInfo:
    """Return the description of a collection.

    Raises:
        CollectionError: there is none of this name, or it cannot be read.
    """
    if place.url is None:
        from medclip_cli.vector_index.generations import live_collection

        return live_collection(place.home, name)
    with open_collection(place, name) as index:
        return index.info


def drop_collection(place: StoreLocation, name: str) -> None:
    """Remove a collection.

    Raises:
        CollectionError: there is none of this name, a run is writing to it, or the server refuses.
    """
    if place.url is None:
        from medclip_cli.vector_index import generations

        generations.drop_collection(place.home, name, lock_timeout_seconds=place.lock_timeout_seconds)
        return
    if (store := store_at(place.url)) is not None:
        store.drop_collection(name)
        return
    from medclip_cli.vector_index import server_writer

    describe(place, name)
    connection = _connect(place.url)
    try:
        server_writer.drop_collection(connection, name)
    finally:
        connection.close()


def _connect(url: str) -> Server:
    """Connect with the key of the environment: on a command line others could read it."""
    from medclip_cli.vector_index.server_connection import ServerOptions, connect

    return connect(ServerOptions(url, os.environ.get(API_KEY_VARIABLE) or None))


def remember_weights(place: StoreLocation, name: str, weights: tuple[float, float]) -> None:
    """Keep the weights of hybrid search with a collection.

    Raises:
        CollectionError: there is none of this name, a run is writing to it, or the server refuses.
    """
    from dataclasses import replace

    from medclip_cli.vector_index import manifest

    if place.url is None:
        from medclip_cli.vector_index import generations, locks

        generations.live_collection(place.home, name)
        folder = generations.collection_folder(place.home, name)
        with locks.only_writer(folder, place.lock_timeout_seconds):
            info = replace(generations.live_collection(place.home, name), weights=weights)
            manifest.write_json(folder / manifest.MANIFEST, manifest.info_to_json(info))
        return
    if store_at(place.url) is not None:
        raise UsageError(f"the store at {place.url} keeps no weights of hybrid search")
    from medclip_cli.vector_index import server

    info = replace(describe(place, name), weights=weights)
    connection = _connect(place.url)
    try:
        server.update_description(connection, info)
    finally:
        connection.close()
