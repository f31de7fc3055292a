"""Stores that other packages bring: collections in a database of one's own, behind ``--url``.

A package offers one under the entry point group ``medclip.stores``, by the scheme of its addresses::

    [project.entry-points."medclip.stores"]
    pgvector = "my_package.store:PgvectorStore"

``--url pgvector://host/scans`` makes ``PgvectorStore("pgvector://host/scans")``, which has the collections.
An engine that searches by itself returns its own `VectorIndex` and `IndexWriter`; a place that only keeps
points borrows those of `exact`.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Protocol

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, IndexWriter, VectorIndex

GROUP = "medclip.stores"


class Store(Protocol):
    """What an entry point of the group makes of an address."""

    def open_collection(self, name: str) -> VectorIndex:
        """Open a collection for asking.

        Raises:
            CollectionError: there is none of this name, or it cannot be read.
        """

    def create_writer(self, name: str, spec: CollectionSpec, *, rebuild: bool = False) -> IndexWriter:
        """Open a collection for one index run, making it if there is none.

        Raises:
            CollectionError: it was made by another model, and `rebuild` is not set.
        """

    def list_collections(self) -> list[CollectionInfo]:
        """Return the collections that can be described."""

    def drop_collection(self, name: str) -> None:
        """Remove a collection.

        Raises:
            CollectionError: there is none of this name.
        """


def store_at(url: str | None) -> Store | None:
    """Make the store that an installed package offers for an address; None leaves it to our own engines.

    Raises:
        CollectionError: it cannot be loaded.
    """
    scheme, separator, _ = (url or "").partition("://")
    if url is None or not separator or scheme in ("http", "https"):
        return None
    for point in entry_points(group=GROUP, name=scheme):
        try:
            store: Store = point.load()(url)
        except Exception as error:  # noqa: BLE001 - whatever a foreign module does on import
            raise CollectionError(f"store {scheme!r} ({point.value}) cannot be loaded: {error}") from error
        return store
    return None
