"""One index run on the embedded engine: built beside the live generation, then put in its place."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import generations, locks, manifest
from medclip_cli.vector_index.base import CollectionInfo, CollectionSpec, CorpusSource, OnStage, Point
from medclip_cli.vector_index.edge import load_shard
from medclip_cli.vector_index.edge_building import BuildingShard, StoredDigest, digests_of
from medclip_cli.vector_index.generations import Building

if TYPE_CHECKING:
    from qdrant_edge import EdgeShard


def create_writer(
    home: Path, name: str, spec: CollectionSpec, *, rebuild: bool = False, lock_timeout_seconds: float = 10.0
) -> EdgeWriter:
    """Open a collection for one index run, making it if there is none.

    Args:
        home: the folder of medclip's data.
        name: of the collection.
        spec: the model it is for.
        rebuild: begin with an empty generation; also the way to change the model.
        lock_timeout_seconds: seconds to wait for another run to end.

    Raises:
        CollectionError: another run is writing, the collection is damaged or of a newer format, or it was
            made by another model and `rebuild` is not set.
    """
    folder = generations.collection_folder(home, name)
    try:
        lock = locks.hold_writer_lock(folder, lock_timeout_seconds)
    except OSError as error:
        raise CollectionError(f"cannot write collection {name!r} in {folder} ({error.strerror})") from error
    try:
        live = _live_manifest(folder, rebuild)
        if live is not None and not rebuild:
            live.check_model(spec.fingerprint, spec.model_name)
        return EdgeWriter(folder, spec, live, rebuild=rebuild, lock=lock)
    except BaseException:
        os.close(lock)
        raise


def _live_manifest(folder: Path, rebuild: bool) -> CollectionInfo | None:
    try:
        return manifest.read_manifest(folder)
    except CollectionError:
        if rebuild:  # which is the cure for a damaged collection
            return None
        raise


class EdgeWriter:
    """The next generation of a collection; use `create_writer`."""

    def __init__(
        self, folder: Path, spec: CollectionSpec, live: CollectionInfo | None, *, rebuild: bool, lock: int
    ) -> None:
        """Take over the writer lock; nothing is written or copied before the first change."""
        self._folder, self._spec, self._live, self._lock = folder, spec, live, lock
        self._base = None if rebuild else live
        self._corpora = dict(self._base.corpora) if self._base else {}
        self._interrupted = self._interrupted_build()
        self._shard: BuildingShard | None = None

    def _interrupted_build(self) -> Building | None:
        """Return the generation that an interrupted run of the same kind left, if it still fits."""
        left = generations.read_building(self._folder)
        if left is None:
            return None
        fits = (
            left.live == (self._live.generation if self._live else 0)
            and left.base == (self._base.generation if self._base else 0)
            and (left.fingerprint, left.dim) == (self._spec.fingerprint, self._spec.dim)
        )
        return left if fits else None

    @property
    def live(self) -> CollectionInfo | None:
        """The collection as readers see it, if there is one."""
        return self._live

    @property
    def resumed(self) -> bool:
        """Whether the run goes on where an interrupted one stopped."""
        return self._interrupted is not None

    def digests(self, corpus: str) -> dict[str, str]:
        """Return the content digest of every point of a corpus that is already there, by point id."""
        return {point: digest for point, (owner, digest) in self._stored().items() if owner == corpus}

    def _stored(self) -> dict[str, StoredDigest]:
        if self._shard is not None or self._interrupted is not None:
            return self._open().digests()
        return self._live_digests(self._base) if self._base is not None else {}

    def _live_digests(self, base: CollectionInfo) -> dict[str, StoredDigest]:
        with closing(self._load(base)) as shard:
            return digests_of(shard)

    def _load(self, base: CollectionInfo) -> EdgeShard:
        return load_shard(base.name, generations.generation_folder(self._folder, base.generation))

    def add_corpus(self, name: str, source: CorpusSource) -> None:
        """Remember where records came from."""
        self._corpora[name] = source

    def reserve(self, points: int) -> None:
        """Check that there is room for so many new points.

        Raises:
            CollectionError: saying how much is needed.
        """
        self._open().reserve(points)

    def upsert(self, points: Sequence[Point]) -> None:
        """Store points, replacing those with the same id.

        Raises:
            CollectionError: the vectors have another length, or the disk is full.
        """
        if points:
            self._spec.check_points(points)
            self._open().upsert(points)

    def delete(self, point_ids: Iterable[str]) -> None:
        """Remove points; ids that are not there do not matter."""
        if gone := list(point_ids):
            self._open().delete(gone)

    def _open(self) -> BuildingShard:
        """Return the shard being built: the interrupted one, a copy of the live one, or a new one."""
        if self._shard is None:
            copy_of = self._base.generation if self._base else 0
            building = self._interrupted or self._new_building(copy_of)
            self._shard = BuildingShard(self._folder, building, copy_of=copy_of)
            if self._interrupted is not None and self._base is not None:
                with closing(self._load(self._base)) as live:
                    self._shard.restore(live)
        return self._shard

    def _new_building(self, copy_of: int) -> Building:
        self._remove_leftovers()
        return Building(
            generation=generations.next_generation(self._folder),
            base=copy_of,
            live=self._live.generation if self._live else 0,
            fingerprint=self._spec.fingerprint,
            dim=self._spec.dim,
            average_words=self._base.average_words if self._base else self._spec.average_words,
        )

    def _remove_leftovers(self) -> None:
        (self._folder / generations.BUILDING).unlink(missing_ok=True)
        generations.remove_old_generations(self._folder, {self._live.generation} if self._live else set())

    def commit(self, on_stage: OnStage | None = None) -> CollectionInfo:
        """Finish the new generation, put it in place of the live one, and remove what nobody reads any more.

        Without any change the live generation stays, and only its description is brought up to date.

        Args:
            on_stage: told what is being done, in a few words.

        Raises:
            CollectionError: the disk is full; the live generation stays as it was.
        """
        if self._shard is None and self._interrupted is None and self._base is not None:
            return self._describe(self._base)
        shard = self._open()
        points, fields = shard.finish(on_stage or (lambda _: None))
        self._shard = None
        info = self._new_info(shard, points, fields)
        manifest.write_json(self._folder / manifest.MANIFEST, manifest.info_to_json(info))
        (self._folder / generations.BUILDING).unlink(missing_ok=True)
        self._live = self._base = info
        self._interrupted = None
        generations.remove_old_generations(self._folder, {info.generation})
        return info

    def _describe(self, live: CollectionInfo) -> CollectionInfo:
        info = replace(live, corpora=dict(self._corpora))
        if info != live:
            manifest.write_json(self._folder / manifest.MANIFEST, manifest.info_to_json(info))
        return info

    def _new_info(
        self, shard: BuildingShard, points: int, fields: dict[str, dict[str, int]]
    ) -> CollectionInfo:
        moment = manifest.now()
        return CollectionInfo(
            name=self._folder.name,
            engine="edge",
            points=points,
            dim=self._spec.dim,
            fingerprint=self._spec.fingerprint,
            model_name=self._spec.model_name,
            model_path=self._spec.model_path,
            corpora=dict(self._corpora),
            created=self._live.created if self._live else moment,
            updated=moment,
            generation=shard.building.generation,
            size_bytes=generations.disk_bytes(shard.generation),
            average_words=shard.building.average_words,
            fields=fields,
            weights=self._base.weights if self._base else (1.0, 1.0),
        )

    def close(self) -> None:
        """Stop without a commit: what was written is kept for the next run to go on with."""
        if self._lock < 0:
            return
        try:
            if self._shard is not None:
                shard, self._shard = self._shard, None
                shard.close()
        finally:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> EdgeWriter:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()
