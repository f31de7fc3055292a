"""Where collections are kept, under the home folder or on a Qdrant server, and what one can do with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.progress import log
from medclip_cli.vector_index import generations
from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, IndexWriter, VectorIndex
from medclip_cli.vector_index.server_connection import shown_url

if TYPE_CHECKING:
    from medclip_cli.settings import Settings
    from medclip_cli.vector_index.server import ServerLayout
    from medclip_cli.vector_index.server_connection import Server

API_KEY_VARIABLE = "MEDCLIP_QDRANT_API_KEY"


@dataclass(frozen=True, slots=True)
class StoreLocation:
    """Where collections are kept; a server is named on stderr as soon as it is chosen.

    Attributes:
        home: the folder of medclip's data, for the embedded engine.
        url: of a Qdrant server; None for the embedded engine.
        lock_timeout_seconds: how long to wait for a collection that another process holds.
    """

    home: Path
    url: str | None = None
    lock_timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        """Say which server is about to see captions and the environment's key."""
        if self.url is not None:
            log.info("using the Qdrant server %s", self.shown)

    @classmethod
    def of(cls, settings: Settings) -> StoreLocation:
        """Return the location that the settings name.

        Raises:
            UsageError: it is a server, and the network must not be reached.
        """
        if settings.offline and settings.qdrant_url is not None:
            server = f"{shown_url(settings.qdrant_url)} ({settings.origins['qdrant_url']})"
            raise UsageError(f"--offline cannot be combined with the Qdrant server {server}")
        return cls(settings.home, settings.qdrant_url, settings.lock_timeout_seconds)

    def store(self) -> Store:
        """Return the collections there."""
        if self.url is None:
            return _EdgeStore(self.home, self.lock_timeout_seconds)
        return _ServerStore(self.url)

    @property
    def shown(self) -> str:
        """The location as it may be shown: without a password."""
        return str(self.home) if self.url is None else shown_url(self.url)


class Store(Protocol):
    """The collections of one location; `StoreLocation.store` returns it."""

    def open(self, name: str) -> VectorIndex:
        """Open a collection for asking.

        Raises:
            CollectionError: there is none of this name, it is damaged or busy, or the server cannot be asked.
        """

    def create_writer(
        self,
        name: str,
        spec: CollectionSpec,
        *,
        rebuild: bool = False,
        layout: ServerLayout | None = None,
        part: tuple[int, int] | None = None,
    ) -> IndexWriter:
        """Open a collection for one index run, making it if there is none.

        Args:
            name: of the collection.
            spec: the model it is for.
            rebuild: begin with an empty generation.
            layout: of a new generation on a server.
            part: which of so many machines this is that fill one collection on a server together.

        Raises:
            UsageError: there is no server that several machines could fill.
            CollectionError: another run is writing, or it was made by another model and `rebuild` is not set.
        """

    def list_collections(self) -> list[CollectionInfo]:
        """Return the collections that can be described."""

    def summaries(self) -> list[dict[str, Any]]:
        """Return `CollectionInfo.summary` of each; of a damaged one, which is logged, only name and error."""

    def describe(self, name: str) -> CollectionInfo:
        """Return the description of a collection.

        Raises:
            CollectionError: there is none of this name, or it cannot be read.
        """

    def drop(self, name: str) -> None:
        """Remove a collection.

        Raises:
            CollectionError: there is none of this name, a run is writing to it, or the server refuses.
        """

    def remember_weights(self, name: str, weights: tuple[float, float]) -> None:
        """Keep the weights of hybrid search with a collection.

        Raises:
            CollectionError: as `drop`.
        """


@dataclass(frozen=True, slots=True)
class _EdgeStore(Store):
    home: Path
    lock_timeout_seconds: float

    def open(self, name: str) -> VectorIndex:
        from medclip_cli.vector_index import edge

        return edge.open_collection(self.home, name, lock_timeout_seconds=self.lock_timeout_seconds)

    def create_writer(
        self,
        name: str,
        spec: CollectionSpec,
        *,
        rebuild: bool = False,
        layout: ServerLayout | None = None,
        part: tuple[int, int] | None = None,
    ) -> IndexWriter:
        from medclip_cli.vector_index import edge_writer

        if part is not None:
            raise UsageError("a shard needs a Qdrant server, which all machines write to: give its url")
        timeout = self.lock_timeout_seconds
        return edge_writer.create_writer(self.home, name, spec, rebuild=rebuild, lock_timeout_seconds=timeout)

    def list_collections(self) -> list[CollectionInfo]:
        return generations.list_collections(self.home)

    def summaries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for name in generations.collection_names(self.home):
            try:
                found.append(self.describe(name).summary())
            except CollectionError as error:
                log.warning("%s", error)
                found.append({"name": name, "error": str(error)})
        return found

    def describe(self, name: str) -> CollectionInfo:
        return generations.live_collection(self.home, name)

    def drop(self, name: str) -> None:
        generations.drop_collection(self.home, name, lock_timeout_seconds=self.lock_timeout_seconds)

    def remember_weights(self, name: str, weights: tuple[float, float]) -> None:
        self.describe(name)
        folder = generations.collection_folder(self.home, name)
        with generations.only_writer(folder, self.lock_timeout_seconds):
            generations.write_manifest(folder, replace(self.describe(name), weights=weights))


@dataclass(frozen=True, slots=True)
class _ServerStore(Store):
    url: str

    def open(self, name: str) -> VectorIndex:
        from medclip_cli.vector_index import server

        return server.open_collection(_connect(self.url), name)

    def create_writer(
        self,
        name: str,
        spec: CollectionSpec,
        *,
        rebuild: bool = False,
        layout: ServerLayout | None = None,
        part: tuple[int, int] | None = None,
    ) -> IndexWriter:
        from medclip_cli.vector_index import server_writer

        connection = _connect(self.url)
        return server_writer.create_writer(connection, name, spec, rebuild=rebuild, layout=layout, part=part)

    def list_collections(self) -> list[CollectionInfo]:
        from medclip_cli.vector_index import server

        with _connect(self.url) as connection:
            return server.list_collections(connection)

    def summaries(self) -> list[dict[str, Any]]:
        return [info.summary() for info in self.list_collections()]

    def describe(self, name: str) -> CollectionInfo:
        with self.open(name) as index:
            return index.info

    def drop(self, name: str) -> None:
        from medclip_cli.vector_index import server_writer

        self.describe(name)
        with _connect(self.url) as connection:
            server_writer.drop_collection(connection, name)

    def remember_weights(self, name: str, weights: tuple[float, float]) -> None:
        from medclip_cli.vector_index import server

        info = replace(self.describe(name), weights=weights)
        with _connect(self.url) as connection:
            server.update_description(connection, info)


def _connect(url: str) -> Server:
    """Connect with the key of the environment: on a command line others could read it."""
    from medclip_cli.vector_index.server_connection import ServerOptions, connect

    return connect(ServerOptions(url, os.environ.get(API_KEY_VARIABLE) or None))
