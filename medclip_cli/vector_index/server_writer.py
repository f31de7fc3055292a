"""One index run on a Qdrant server: a new collection is filled, then the alias is pointed at it.

Every request may be repeated, so a run that was cut off is started again and goes on. Points travel in
batches of bounded bytes, several in flight. Two runs that write the same collection at once do each other no
harm: both fill the same new generation with the same points.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import bm25, manifest, server_requests
from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, CorpusSource, OnStage, Point
from medclip_cli.vector_index.server import (
    METADATA,
    aliases,
    describe,
    physical_name,
    scroll,
    update_description,
)
from medclip_cli.vector_index.server_building import BuildingCollection
from medclip_cli.vector_index.server_connection import NotThereError, Server
from medclip_cli.vector_index.server_requests import ServerLayout

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
    """Open a collection on a server for one index run, making it if there is none.

    Args:
        server: the server.
        name: of the collection.
        spec: the model it is for.
        rebuild: begin with an empty generation; also the way to change the model.
        layout: how a new generation lies on the cluster; None takes one part, one copy, nothing quantized.
        part: which of so many machines this is that fill the generation together; the last one to commit puts
            it in place.

    Raises:
        CollectionError: the server cannot be reached or refuses, or the collection was made by another model
            and `rebuild` is not set.
    """
    manifest.check_name(name)
    try:
        live: CollectionInfo | None = describe(server, name)
    except NotThereError:
        live = None
    if live is not None and not rebuild:
        live.check_model(spec.fingerprint, spec.model_name)
    base = None if rebuild else live
    return ServerWriter(server, name, spec, live, base=base, layout=layout or ServerLayout(), part=part)


class ServerWriter:
    """The next generation of a collection on a server; use `create_writer`."""

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
        self._server, self._spec, self._live, self._layout = server, spec, live, layout
        self._base, self._part = base, part
        self._corpora = dict(self._base.corpora) if self._base else {}
        self._draft = CollectionInfo(
            name=name,
            engine="server",
            points=0,
            dim=spec.dim,
            fingerprint=spec.fingerprint,
            model_name=spec.model_name,
            model_path=spec.model_path,
            created=live.created if live else manifest.now(),
            generation=(live.generation if live else 0) + 1,
            average_words=self._base.average_words if self._base else spec.average_words,
            weights=self._base.weights if self._base else (1.0, 1.0),
        )
        self._encoder = bm25.caption_encoder(self._draft.average_words)
        self._building = BuildingCollection(server, physical_name(name, self._draft.generation), spec.dim)
        self._resumed = self._fits_what_was_left()
        self._begun = self._resumed

    def _fits_what_was_left(self) -> bool:
        """Return whether an interrupted run of the same kind left a generation to go on with."""
        left = self._building.metadata()
        info = left.get(METADATA) or {}
        return (
            bool(left.get(_COPIED))
            and left.get(_BASE) == (self._base.generation if self._base else 0)
            and (info.get("fingerprint"), info.get("dim")) == (self._spec.fingerprint, self._spec.dim)
        )

    @property
    def live(self) -> CollectionInfo | None:
        """The collection as readers see it, if there is one."""
        return self._live

    @property
    def resumed(self) -> bool:
        """Whether the run goes on where an interrupted one stopped."""
        return self._resumed

    def digests(self, corpus: str) -> dict[str, str]:
        """Return the content digest of every point of a corpus that is already there, by point id."""
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
        """Remember where records came from."""
        self._corpora[name] = source

    def reserve(self, points: int) -> None:
        """Take it that there is room: a server does not tell, and refuses what it cannot store."""

    def upsert(self, points: Sequence[Point]) -> None:
        """Store points, replacing those with the same id; returns while the last batches are on their way.

        Raises:
            CollectionError: the vectors have another length, or the server cannot store them.
        """
        self._spec.check_points(points)
        if points:
            stored = [server_requests.stored_point(point, self._encoder) for point in points]
            self._begin().send(stored)

    def delete(self, point_ids: Iterable[str]) -> None:
        """Remove points; ids that are not there do not matter."""
        if gone := list(point_ids):
            self._begin().delete(gone)

    def _begin(self) -> BuildingCollection:
        """Return the collection being filled: the interrupted one, a copy of the live one, or a new one."""
        if not self._begun:
            base = self._base.generation if self._base else 0
            metadata = {METADATA: manifest.info_to_json(self._draft), _BASE: base}
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
        """Wait until the machine that was first has made the collection that this one fills too.

        Raises:
            CollectionError: it does not, or makes one for another model.
        """
        for _ in range(_OTHERS_TRIES):
            if self._fits_what_was_left():
                return
            time.sleep(_OTHERS_PAUSE_SECONDS)
        raise CollectionError(
            f"{self._building.name} at {self._server.url} was begun by another run and not made ready: run "
            "without --shard once to begin anew"
        )

    def commit(self, on_stage: OnStage | None = None) -> CollectionInfo:
        """Point the alias at the new generation, once it is indexed, and remove the old one.

        Without any change the live generation stays, and only its description is brought up to date.

        Args:
            on_stage: told what is being done, in a few words.

        Raises:
            CollectionError: the server fails; the live generation stays as it was.
        """
        if not self._begun and self._base is not None and self._part is None:
            return self._describe_live(self._base)
        building = self._begin()
        building.land()
        if self._layout.wait:
            building.wait_until_indexed(on_stage or (lambda _: None))
        info = replace(
            self._draft,
            points=building.count(),
            updated=manifest.now(),
            fields=building.count_values(),
            corpora=dict(self._corpora),
        )
        if self._part is not None and not self._is_last_part(building, self._part):
            return info
        building.describe({METADATA: manifest.info_to_json(info)})
        _point_alias(self._server, info.name, building.name)
        _remove_before(self._server, info.name, info.generation)
        self._live = info
        return info

    def _is_last_part(self, building: BuildingCollection, part: tuple[int, int]) -> bool:
        """Note that this part is done, and return whether all are. Two that end at once are both the last."""
        building.describe({_PART.format(*part): True})
        done = building.metadata()
        return all(done.get(_PART.format(number, part[1])) for number in range(1, part[1] + 1))

    def _describe_live(self, live: CollectionInfo) -> CollectionInfo:
        info = replace(live, corpora=dict(self._corpora))
        if info != live:
            update_description(self._server, info)
        return info

    def close(self) -> None:
        """Stop without a commit: what was written is kept for the next run to go on with."""
        self._building.close()
        self._server.close()

    def __enter__(self) -> ServerWriter:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def _point_alias(server: Server, name: str, target: str) -> None:
    """Point an alias at another collection, in one step."""
    from qdrant_client import models

    create = models.CreateAlias(collection_name=target, alias_name=name)
    operations: list[Any] = [models.CreateAliasOperation(create_alias=create)]
    if name in aliases(server):
        delete = models.DeleteAlias(alias_name=name)
        operations.insert(0, models.DeleteAliasOperation(delete_alias=delete))
    server.call(lambda client: client.update_collection_aliases(operations))


def _remove_before(server: Server, name: str, generation: int) -> None:
    """Remove the generations of a collection that came before this one."""
    listed = server.call(lambda client: client.get_collections()).collections
    for old in [one.name for one in listed]:
        prefix, _, number = old.rpartition("--")
        if prefix == name and number.isdigit() and int(number) < generation:
            _remove(server, old)


def _remove(server: Server, name: str) -> None:
    server.call(lambda client: client.delete_collection(name))


def drop_collection(server: Server, name: str) -> None:
    """Remove a collection: its alias and every generation.

    Raises:
        CollectionError: the server refuses, or cannot be reached.
    """
    from qdrant_client import models

    if name in aliases(server):
        operation = models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=name))
        server.call(lambda client: client.update_collection_aliases([operation]))
    _remove_before(server, name, 1 << 62)
