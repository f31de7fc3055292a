"""One index run on the embedded engine: a shard is built beside the live generation, then made live.

Crash safety without a write-ahead log: points become durable at a flush. The engine writes a point's version
last, and forgets points without one when it loads a shard, so that whatever an interrupted run leaves
behind is a set of whole points. A changed point is deleted before it is inserted, never overwritten in
place; the worst that can happen to it is to be missing, and the next run embeds it again.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, replace
from pathlib import Path
from uuid import UUID

from qdrant_edge import CountRequest, EdgeShard, FacetRequest, UpdateOperation
from qdrant_edge import Point as Stored

from encoders.errors import first_line
from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import bm25, edge, generations
from medclip_cli.vector_index.base import (
    Closing,
    CollectionInfo,
    CollectionSpec,
    CorpusSource,
    OnStage,
    Point,
    next_generation_info,
    now,
)
from medclip_cli.vector_index.generations import Building
from medclip_cli.vector_index.payload import COUNTED_FIELDS, MOST_VALUES, telling_counts
from medclip_cli.vector_index.sparse_files import copy_folder

CHECKPOINT_POINTS = 2_048
# What was written stays mapped into memory until the shard is closed; opening it again takes milliseconds.
CHECKPOINTS_AN_OPENING = 4
StoredDigest = tuple[str, str]  # the corpus of a point, and the digest of its content
PointId = int | UUID | str
_RESTORED_AT_ONCE = 2_000
_SPARE_BYTES = 64 << 20
_PAYLOAD_BYTES = 2_500  # a point's payload, words and index entries; measured on MedPix captions


def create_writer(
    home: Path, name: str, spec: CollectionSpec, *, rebuild: bool = False, lock_timeout_seconds: float = 10.0
) -> EdgeWriter:
    """Open a collection for one index run, see `store.Store.create_writer`."""
    folder = generations.collection_folder(home, name)
    try:
        lock = generations.hold_writer_lock(folder, lock_timeout_seconds)
    except OSError as error:
        raise CollectionError(f"cannot write collection {name!r} in {folder} ({error.strerror})") from error
    try:
        try:
            live = generations.read_manifest(folder)
        except CollectionError:
            if not rebuild:  # which is the cure for a damaged collection
                raise
            live = None
        if live is not None and not rebuild:
            live.check_model(spec.fingerprint, spec.model_name)
        return EdgeWriter(folder, spec, live, rebuild=rebuild, lock=lock)
    except BaseException:
        os.close(lock)
        raise


class EdgeWriter(Closing):
    """An `IndexWriter`: the next generation of a collection; use `create_writer`."""

    def __init__(
        self, folder: Path, spec: CollectionSpec, live: CollectionInfo | None, *, rebuild: bool, lock: int
    ) -> None:
        """Take over the writer lock; nothing is written or copied before the first change."""
        self._folder, self._spec, self.live, self._lock = folder, spec, live, lock
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
            left.live == (self.live.generation if self.live else 0)
            and left.base == (self._base.generation if self._base else 0)
            and (left.fingerprint, left.dim) == (self._spec.fingerprint, self._spec.dim)
        )
        return left if fits else None

    @property
    def resumed(self) -> bool:
        return self._interrupted is not None

    def digests(self, corpus: str) -> dict[str, str]:
        stored: dict[str, StoredDigest] = {}
        if self._shard is not None or self._interrupted is not None:
            stored = self._open().digests()
        elif self._base is not None:
            with closing(self._load(self._base)) as shard:
                stored = digests_of(shard)
        return {point: digest for point, (owner, digest) in stored.items() if owner == corpus}

    def _load(self, base: CollectionInfo) -> EdgeShard:
        return edge.load_shard(base.name, generations.generation_folder(self._folder, base.generation))

    def add_corpus(self, name: str, source: CorpusSource) -> None:
        self._corpora[name] = source

    def reserve(self, points: int) -> None:
        self._open().reserve(points)

    def upsert(self, points: Sequence[Point]) -> None:
        if points:
            self._spec.check_points(points)
            self._open().upsert(points)

    def delete(self, point_ids: Iterable[str]) -> None:
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
        (self._folder / generations.BUILDING).unlink(missing_ok=True)
        generations.remove_old_generations(self._folder, {self.live.generation} if self.live else set())
        return Building(
            generation=generations.next_generation(self._folder),
            base=copy_of,
            live=self.live.generation if self.live else 0,
            fingerprint=self._spec.fingerprint,
            dim=self._spec.dim,
            average_words=self._base.average_words if self._base else self._spec.average_words,
        )

    def commit(self, on_stage: OnStage | None = None) -> CollectionInfo:
        """Finish the new generation, make it live, and remove old ones without readers."""
        if self._shard is None and self._interrupted is None and self._base is not None:
            info = replace(self._base, corpora=dict(self._corpora))
            if info != self._base:
                generations.write_manifest(self._folder, info)
            return info
        shard = self._open()
        points, fields = shard.finish(on_stage or (lambda _: None))
        self._shard = None
        info = replace(
            next_generation_info(
                self._folder.name,
                "edge",
                self._spec,
                live=self.live,
                base=self._base,
                generation=shard.building.generation,
            ),
            points=points,
            corpora=dict(self._corpora),
            updated=now(),
            size_bytes=generations.disk_bytes(shard.generation),
            average_words=shard.building.average_words,
            fields=fields,
        )
        generations.write_manifest(self._folder, info)
        (self._folder / generations.BUILDING).unlink(missing_ok=True)
        self.live = self._base = info
        self._interrupted = None
        generations.remove_old_generations(self._folder, {info.generation})
        return info

    def close(self) -> None:
        if self._lock < 0:
            return
        try:
            if self._shard is not None:
                shard, self._shard = self._shard, None
                shard.close()
        finally:
            os.close(self._lock)
            self._lock = -1


class BuildingShard:
    """The shard of a generation that is not live yet."""

    def __init__(self, folder: Path, building: Building, *, copy_of: int = 0) -> None:
        """Go on with a building generation, or begin it where nothing usable is left of it.

        It begins as a copy of the generation `copy_of`, or empty where that is 0.
        """
        self.building = building
        self.generation = generations.generation_folder(folder, building.generation)
        self._name = folder.name
        self._needed = 0
        self._unflushed = self._flushes = 0
        self._encoder = bm25.caption_encoder(building.average_words)
        with self._room_needed():
            self._shard = self._left_behind() or self._begin(folder, copy_of)

    def _left_behind(self) -> EdgeShard | None:
        shard = self.generation / generations.SHARD
        if not shard.is_dir():
            return None
        try:
            with edge.engine_errors(self._name):
                return EdgeShard.load(str(shard))
        except CollectionError:  # the power went off: what was copied or embedded is done again
            shutil.rmtree(self.generation, ignore_errors=True)
            return None

    def _begin(self, folder: Path, copy_of: int) -> EdgeShard:
        fresh = self.generation.with_name(f"{self.generation.name}{generations.PART}")
        shutil.rmtree(fresh, ignore_errors=True)
        shard = fresh / generations.SHARD
        shard.mkdir(parents=True)
        if copy_of:
            source = generations.generation_folder(folder, copy_of)
            generations.check_files(source)
            self.reserve_bytes(generations.disk_bytes(source))
            copy_folder(source / generations.SHARD, shard)
        else:
            EdgeShard.create(str(shard), edge.shard_config(self.building.dim)).close()
        fresh.rename(self.generation)
        generations.write_json(folder / generations.BUILDING, asdict(self.building))
        return EdgeShard.load(str(self.generation / generations.SHARD))

    def digests(self) -> dict[str, StoredDigest]:
        return digests_of(self._shard)

    def restore(self, live: EdgeShard) -> None:
        """Put back the points of the live generation that an interrupted run removed or lost.

        What it removed for good reason will be removed again; but the run that goes on may be one of another
        corpus, which knows nothing of them.
        """
        there = self.digests()
        missing = [point for point in digests_of(live) if point not in there]
        for start in range(0, len(missing), _RESTORED_AT_ONCE):
            chosen: list[PointId] = [*missing[start : start + _RESTORED_AT_ONCE]]
            records = live.retrieve(chosen, with_payload=True, with_vector=True)
            points = [Stored(record.id, record.vector or {}, record.payload) for record in records]
            with self._room_needed():
                self.reserve_bytes(0)
                self._shard.update(UpdateOperation.upsert_points(points))
                self._checkpoint(len(points))

    def reserve(self, points: int) -> None:
        """Check that there is room for so many more points, twice, as the optimiser writes a second copy."""
        self.reserve_bytes(2 * points * (8 * self.building.dim + _PAYLOAD_BYTES))

    def reserve_bytes(self, needed: int) -> None:
        """Check that the disk has so much room left, and some to spare; else a `CollectionError` says so.

        The engine writes through memory maps, so that a full disk would end the process without a word: this
        is called before each write.
        """
        self._needed = max(self._needed, needed)
        existing = next(path for path in (self.generation, *self.generation.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed + _SPARE_BYTES:
            raise CollectionError(self._no_room(needed + _SPARE_BYTES, free))

    def upsert(self, points: Sequence[Point]) -> None:
        stored = [edge.stored_point(point, self._encoder) for point in points]
        ids: list[PointId] = [point.point_id for point in points]
        with self._room_needed():
            self.reserve_bytes(0)
            if there := self._shard.retrieve(ids, with_payload=False, with_vector=False):
                self._shard.update(UpdateOperation.delete_points([record.id for record in there]))
            self._shard.update(UpdateOperation.upsert_points(stored))
            self._checkpoint(len(points))

    def delete(self, point_ids: Sequence[str]) -> None:
        with self._room_needed():
            self.reserve_bytes(0)
            self._shard.update(UpdateOperation.delete_points(list(point_ids)))
            self._checkpoint(len(point_ids))

    def _checkpoint(self, count: int) -> None:
        self._unflushed += count
        if self._unflushed >= CHECKPOINT_POINTS:
            self._shard.flush()
            self._unflushed = 0
            self._flushes += 1
            if self._flushes % CHECKPOINTS_AN_OPENING == 0:
                self._open_again()

    def _open_again(self) -> None:
        """Have the system take back the pages of what was written."""
        self._shard.close()
        self._shard = EdgeShard.load(str(self.generation / generations.SHARD))

    def finish(self, say: OnStage) -> tuple[int, dict[str, dict[str, int]]]:
        """Index, optimise and close the shard; return its points and the values of each field, counted."""
        with self._room_needed():
            self.reserve_bytes(generations.disk_bytes(self.generation))  # optimising writes a second copy
            points = self._shard.count(CountRequest(exact=True))
            if points >= edge.PAYLOAD_INDEX_POINTS:
                say("indexing the fields")
                for field in edge.INDEXED_FIELDS:
                    self._shard.update(edge.payload_index(field))
                    self._open_again()
            say(f"optimising {points:,} points")
            self._shard.optimize()
            self._shard.flush()
            say("counting and checksumming")
            fields = self._count_values()
            self._shard.close()
            # The first opening after a write folds the engine's journals into its files; later ones do not.
            EdgeShard.load(str(self.generation / generations.SHARD)).close()
            generations.record_files(self.generation)
        return points, fields

    def _count_values(self) -> dict[str, dict[str, int]]:
        indexed = set(self._shard.info().payload_schema)
        counts: dict[str, Counter[str]] = {name: Counter() for name in COUNTED_FIELDS}
        for name in indexed & counts.keys():
            hits = self._shard.facet(FacetRequest(name, limit=MOST_VALUES + 1, exact=True)).hits
            counts[name].update({str(hit.value): hit.count for hit in hits})
        by_hand = [name for name in COUNTED_FIELDS if name not in indexed]
        for record in edge.scroll(self._shard, by_hand) if by_hand else ():
            for name in by_hand:
                value = (record.payload or {}).get(name, [])
                counts[name].update(value if isinstance(value, list) else [str(value)])
        return telling_counts(counts)

    def close(self) -> None:
        """Keep what was written for the next run to go on with."""
        with self._room_needed():
            self._shard.close()

    def _room_needed(self) -> AbstractContextManager[None]:
        return edge.engine_errors(self._name, self._explain)

    def _explain(self, error: BaseException) -> str | None:
        lowered = first_line(error).lower()
        if not any(sign in lowered for sign in ("no space left", "file too large", "quota")):
            return None
        free = shutil.disk_usage(self.generation.parent).free
        return self._no_room(self._needed + _SPARE_BYTES, free)

    def _no_room(self, needed: int, free: int) -> str:
        return (
            f"no space for collection {self._name!r}: about {needed / 1e6:,.0f} MB are needed in "
            f"{self.generation.parent} and {free / 1e6:,.0f} MB are free; make room and index again, the "
            "collection is as it was before"
        )


def digests_of(shard: EdgeShard) -> dict[str, StoredDigest]:
    """Return the corpus and the content digest of every point of a shard, by point id."""
    found = {}
    for record in edge.scroll(shard, ["corpus", "digest"]):
        payload = record.payload or {}
        found[str(record.id)] = (payload.get("corpus", ""), payload.get("digest", ""))
    return found
