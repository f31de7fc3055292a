"""Where collections are kept, under the home folder or on a Qdrant server, and what one can do with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.progress import log
from medclip_cli.settings import Settings
from medclip_cli.vector_index import generations
from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, IndexWriter, VectorIndex
from medclip_cli.vector_index.server_connection import Server, ServerOptions, connect, shown_url

# The engines are imported where one is used: an answer waits for these imports.
if TYPE_CHECKING:
    from medclip_cli.vector_index.server import ServerLayout

API_KEY_VARIABLE = "MEDCLIP_QDRANT_API_KEY"


@dataclass(frozen=True, slots=True)
class Store:
    """The collections of one location; a server is named on stderr as soon as it is chosen.

    Attributes:
        home: the folder of medclip's data, for the embedded engine.
        url: of a Qdrant server; None for the embedded engine.
        lock_timeout_seconds: how long to wait for a collection that another process holds.
    """

    home: Path
    url: str | None = None
    lock_timeout_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.url is not None:  # it is about to see captions and the environment's key
            log.info("using the Qdrant server %s", self.shown)

    @classmethod
    def of(cls, settings: Settings) -> Store:
        """Return the collections where the settings say.

        Raises:
            UsageError: that is a server, and the network must not be reached.
        """
        if settings.offline and settings.qdrant_url is not None:
            server = f"{shown_url(settings.qdrant_url)} ({settings.origins['qdrant_url']})"
            raise UsageError(f"offline cannot be combined with the Qdrant server {server}")
        return cls(settings.home, settings.qdrant_url, settings.lock_timeout_seconds)

    @property
    def shown(self) -> str:
        """The location as it may be shown: without a password."""
        return str(self.home) if self.url is None else shown_url(self.url)

    def open(self, name: str) -> VectorIndex:
        """Open a collection for asking.

        Raises:
            CollectionError: there is none of this name, it is damaged or busy, or the server cannot be asked.
        """
        if self.url is None:
            from medclip_cli.vector_index import edge

            return edge.open_collection(self.home, name, lock_timeout_seconds=self.lock_timeout_seconds)
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
        """Open a collection for one index run, making it if there is none.

        Args:
            name: of the collection.
            spec: the model it is for.
            rebuild: begin with an empty generation; also the way to change the model.
            layout: of a new generation on a server; None takes one part, one copy, nothing quantized.
            part: which of so many machines this is that fill one collection on a server together; the last
                one to commit puts it in place.

        Raises:
            UsageError: there is no server that several machines could fill.
            CollectionError: another run is writing, the collection is damaged or of a newer format, the
                server refuses, or it was made by another model and `rebuild` is not set.
        """
        if self.url is not None:
            from medclip_cli.vector_index import server_writer

            return server_writer.create_writer(
                _connect(self.url), name, spec, rebuild=rebuild, layout=layout, part=part
            )
        from medclip_cli.vector_index import edge_writer

        if part is not None:
            raise UsageError("a shard needs a Qdrant server, which all machines write to: give its url")
        timeout = self.lock_timeout_seconds
        return edge_writer.create_writer(self.home, name, spec, rebuild=rebuild, lock_timeout_seconds=timeout)

    def list_collections(self) -> list[CollectionInfo]:
        """Return the collections that can be described."""
        if self.url is None:
            return generations.list_collections(self.home)
        from medclip_cli.vector_index import server

        with _connect(self.url) as connection:
            return server.list_collections(connection)

    def summaries(self) -> list[dict[str, Any]]:
        """Return `CollectionInfo.summary` of each; of a damaged one, which is logged, only name and error."""
        if self.url is not None:
            return [info.summary() for info in self.list_collections()]
        found: list[dict[str, Any]] = []
        for name in generations.collection_names(self.home):
            try:
                found.append(self.describe(name).summary())
            except CollectionError as error:
                log.warning("%s", error)
                found.append({"name": name, "error": str(error)})
        return found

    def describe(self, name: str) -> CollectionInfo:
        """Return the description of a collection.

        Raises:
            CollectionError: there is none of this name, or it cannot be read.
        """
        if self.url is None:
            return generations.live_collection(self.home, name)
        with self.open(name) as index:
            return index.info

    def drop(self, name: str) -> None:
        """Remove a collection.

        Raises:
            CollectionError: there is none of this name, a run is writing to it, or the server refuses.
        """
        if self.url is None:
            generations.drop_collection(self.home, name, lock_timeout_seconds=self.lock_timeout_seconds)
            return
        from medclip_cli.vector_index import server_writer

        self.describe(name)
        with _connect(self.url) as connection:
            server_writer.drop_collection(connection, name)

    def remember_weights(self, name: str, weights: tuple[float, float]) -> None:
        """Keep the weights of hybrid search with a collection.

        Raises:
            CollectionError: as `drop`.
        """
        info = replace(self.describe(name), weights=weights)
        if self.url is None:
            folder = generations.collection_folder(self.home, name)
            with generations.only_writer(folder, self.lock_timeout_seconds):
                generations.write_manifest(folder, replace(self.describe(name), weights=weights))
            return
        from medclip_cli.vector_index import server

        with _connect(self.url) as connection:
            server.update_description(connection, info)


def _connect(url: str) -> Server:
    """Connect with the key of the environment: on a command line others could read it."""
    return connect(ServerOptions(url, os.environ.get(API_KEY_VARIABLE) or None))
