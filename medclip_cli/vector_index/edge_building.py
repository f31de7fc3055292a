"""A shard being built: begun as a copy of the live one or empty, flushed at checkpoints, finished once.

Crash safety without a write-ahead log: points become durable at a flush. The engine writes a point's version
last, and forgets points without one when it loads a shard, so that whatever an interrupted run leaves
behind is a set of whole points. A changed point is deleted before it is inserted, never overwritten in
place; the worst that can happen to it is to be missing, and the next run embeds it again.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from qdrant_edge import CountRequest, EdgeShard, FacetRequest, UpdateOperation
from qdrant_edge import Point as Stored

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import bm25, edge_requests, generations, sparse_files
from medclip_cli.vector_index.base import OnStage, Point
from medclip_cli.vector_index.edge import engine_errors, engine_reason
from medclip_cli.vector_index.generations import Building

CHECKPOINT_POINTS = 2_048
# What was written stays mapped into memory until the shard is closed; opening it again takes milliseconds.
CHECKPOINTS_AN_OPENING = 4
# More values than this say nothing to a person.
MOST_VALUES = 200
COUNTED_FIELDS = ("modality", "view", "region", "category", "findings", "sex", "split", "corpus", "source")
StoredDigest = tuple[str, str]
_RESTORED_AT_ONCE = 2_000
_SPARE_BYTES = 64 << 20
_PAYLOAD_BYTES = 2_500  # a point's payload, words and index entries; measured on MedPix captions


class BuildingShard:
    """The shard of a generation that is not live yet."""

    def __init__(self, folder: Path, building: Building, *, copy_of: int = 0) -> None:
        """Go on with a building generation, or begin it where nothing usable is left of it.

        Args:
            folder: of the collection.
            building: what is built.
            copy_of: the generation to begin with; 0 begins empty.

        Raises:
            CollectionError: the disk is full, or the generation to copy is damaged.
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
            with engine_errors(self._name):
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
            sparse_files.copy_folder(source / generations.SHARD, shard)
        else:
            EdgeShard.create(str(shard), edge_requests.shard_config(self.building.dim)).close()
        fresh.rename(self.generation)
        generations.write_building(folder, self.building)
        return EdgeShard.load(str(self.generation / generations.SHARD))

    def digests(self) -> dict[str, StoredDigest]:
        """Return the corpus and the content digest of every point, by point id."""
        return digests_of(self._shard)

    def restore(self, live: EdgeShard) -> None:
        """Put back the points of the live generation that an interrupted run removed or lost.

        What it removed for good reason will be removed again; but the run that goes on may be one of another
        corpus, which knows nothing of them.
        """
        there = self.digests()
        missing = [point for point in digests_of(live) if point not in there]
        for start in range(0, len(missing), _RESTORED_AT_ONCE):
            chosen: list[int | UUID | str] = [*missing[start : start + _RESTORED_AT_ONCE]]
            records = live.retrieve(chosen, with_payload=True, with_vector=True)
            points = [Stored(record.id, record.vector or {}, record.payload) for record in records]
            with self._room_needed():
                self.reserve_bytes(0)
                self._shard.update(UpdateOperation.upsert_points(points))
                self._checkpoint(len(points))

    def reserve(self, points: int) -> None:
        """Check that there is room for so many more points, twice, as the optimiser writes a second copy.

        Raises:
            CollectionError: saying how much is needed.
        """
        self.reserve_bytes(2 * points * (8 * self.building.dim + _PAYLOAD_BYTES))

    def reserve_bytes(self, needed: int) -> None:
        """Check that the disk has so much room left, and some to spare.

        The engine writes through memory maps, so that a full disk would end the process without a word: this
        is called before each write.

        Raises:
            CollectionError: saying how much is needed.
        """
        self._needed = max(self._needed, needed)
        existing = next(path for path in (self.generation, *self.generation.parents) if path.exists())
        free = shutil.disk_usage(existing).free
        if free < needed + _SPARE_BYTES:
            raise CollectionError(_no_room(self._name, needed + _SPARE_BYTES, free, self.generation.parent))

    def upsert(self, points: Sequence[Point]) -> None:
        """Store points, in place of those with the same ids."""
        stored = [edge_requests.stored_point(point, self._encoder) for point in points]
        ids: list[int | UUID | str] = [point.point_id for point in points]
        with self._room_needed():
            self.reserve_bytes(0)
            if there := self._shard.retrieve(ids, with_payload=False, with_vector=False):
                self._shard.update(UpdateOperation.delete_points([record.id for record in there]))
            self._shard.update(UpdateOperation.upsert_points(stored))
            self._checkpoint(len(points))

    def delete(self, point_ids: Sequence[str]) -> None:
        """Remove points."""
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
        """Index, optimise and close the shard, and write down what its files are.

        Returns:
            The number of points, and the values of each field with their counts.
        """
        with self._room_needed():
            self.reserve_bytes(generations.disk_bytes(self.generation))  # optimising writes a second copy
            points = self._shard.count(CountRequest(exact=True))
            if points >= edge_requests.PAYLOAD_INDEX_POINTS:
                say("indexing the fields")
                for field in edge_requests.INDEXED_FIELDS:
                    self._shard.update(edge_requests.payload_index(field))
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
        for record in edge_requests.scroll(self._shard, by_hand) if by_hand else ():
            for name in by_hand:
                value = (record.payload or {}).get(name, [])
                counts[name].update(value if isinstance(value, list) else [str(value)])
        return {
            name: dict(sorted(count.items(), key=lambda item: (-item[1], item[0])))
            for name, count in counts.items()
            if 0 < len(count) <= MOST_VALUES
        }

    def close(self) -> None:
        """Keep what was written for the next run to go on with."""
        with self._room_needed():
            self._shard.close()

    @contextmanager
    def _room_needed(self) -> Iterator[None]:
        with engine_errors(self._name, self._explain):
            yield

    def _explain(self, error: BaseException) -> str | None:
        lowered = engine_reason(error).lower()
        if not any(sign in lowered for sign in ("no space left", "file too large", "quota")):
            return None
        place = self.generation.parent
        return _no_room(self._name, self._needed + _SPARE_BYTES, shutil.disk_usage(place).free, place)


def _no_room(name: str, needed: int, free: int, place: Path) -> str:
    return (
        f"no space for collection {name!r}: about {needed / 1e6:,.0f} MB are needed in {place} and "
        f"{free / 1e6:,.0f} MB are free; make room and index again, the collection is as it was before"
    )


def digests_of(shard: EdgeShard) -> dict[str, StoredDigest]:
    """Return the corpus and the content digest of every point of a shard, by point id."""
    found = {}
    for record in edge_requests.scroll(shard, ["corpus", "digest"]):
        payload = record.payload or {}
        found[str(record.id)] = (payload.get("corpus", ""), payload.get("digest", ""))
    return found
