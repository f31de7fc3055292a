"""The embedded engine on disk: generations, locks, damage, and processes that die."""

import json
import multiprocessing
import os
import random
import signal
import threading
import time
from dataclasses import replace

import pytest

from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.vector_index import edge_building, edge_requests, generations, locks
from medclip_cli.vector_index.base import Query, point_id
from medclip_cli.vector_index.edge import list_collections, open_collection
from medclip_cli.vector_index.edge_writer import create_writer

from . import processes
from .drawn import SPEC, draw_point, draw_points, draw_vector

SPAWN = multiprocessing.get_context("spawn")


def folder_of(home, name="scans"):
    return home / "collections" / name


def generation_names(home):
    return sorted(path.name for path in (folder_of(home) / "generations").iterdir())


def test_an_unknown_collection_names_those_there_are(edge, home):
    with pytest.raises(CollectionError, match="no collection 'scans' in .*: make one with medclip index"):
        edge.open()
    edge.write(draw_points(1))
    with pytest.raises(CollectionError, match="no collection 'other' in .*: there are scans"):
        open_collection(home, "other")


@pytest.mark.parametrize("name", ["", "../up", ".hidden", "a/b", "a b", "x" * 101])
def test_names_that_no_folder_should_bear_are_refused(home, name):
    with pytest.raises(UsageError, match="cannot name a collection"):
        open_collection(home, name)


def test_collections_are_listed_without_the_damaged(edge, home):
    assert list_collections(home) == []
    edge.write(draw_points(3))
    damaged = folder_of(home, "broken")
    damaged.mkdir()
    (damaged / "collection.json").write_text("{")
    assert [(info.name, info.points) for info in list_collections(home)] == [("scans", 3)]
    assert generations.collection_names(home) == ["broken", "scans"]


def test_one_generation_is_kept_and_none_is_left_half(edge, home):
    for start in range(3):
        edge.write(draw_points(3, start=3 * start))
    assert generation_names(home) == ["000003"]
    assert sorted(path.name for path in folder_of(home).iterdir()) == [
        "collection.json",
        "generations",
        "writer.lock",
    ]


def test_a_commit_without_changes_builds_nothing(edge, home):
    before = edge.write(draw_points(3))
    with edge.writer() as writer:
        assert writer.commit() == before
    assert generation_names(home) == ["000001"]


def test_an_old_generation_stays_while_it_is_read(edge, home):
    edge.write(draw_points(3))
    with edge.open():
        edge.write(draw_points(3, start=3))
        assert generation_names(home) == ["000001", "000002"]
    edge.write(draw_points(3, start=6))
    assert generation_names(home) == ["000003"]


def test_a_reader_keeps_the_generation_it_opened(edge):
    edge.write(draw_points(10))
    with edge.open() as index:
        edge.write(draw_points(10, start=10))
        (found,) = index.query([Query(image_vector=draw_vector(1), top=60)])
        assert len(found) == 10


def test_many_points_get_payload_indexes(edge, monkeypatch):
    monkeypatch.setattr(edge_requests, "PAYLOAD_INDEX_POINTS", 50)
    info = edge.write(draw_points(60))
    assert info.fields["modality"] == {"CT": 20, "MR": 20, "XR": 20}
    assert info.fields["sex"] == {"M": 20, "F": 20}
    with edge.open() as index:
        assert set(index._shard.info().payload_schema) == set(edge_requests.INDEXED_FIELDS)


def test_fields_with_very_many_values_are_not_counted(edge, monkeypatch):
    monkeypatch.setattr(edge_building, "MOST_VALUES", 2)
    assert set(edge.write(draw_points(12)).fields) == {"sex", "split", "corpus", "source"}


class TestInterruptedRun:
    def test_leaves_the_live_generation_and_is_continued(self, edge):
        edge.write(draw_points(5))
        with edge.writer() as writer:
            assert not writer.resumed
            writer.upsert(draw_points(5, start=5))
        with edge.open() as index:
            assert index.info.points == 5
        with edge.writer() as writer:
            assert writer.resumed
            assert len(writer.digests("drawn")) == 10
            writer.upsert(draw_points(2, start=10))
            assert writer.commit().points == 12

    def test_of_another_model_is_not_continued(self, edge):
        with edge.writer() as writer:
            writer.upsert(draw_points(5))
        with edge.writer(spec=replace(SPEC, fingerprint="fedcba9876543210")) as writer:
            assert not writer.resumed
            assert writer.digests("drawn") == {}

    def test_of_a_rebuild_is_continued_only_by_a_rebuild(self, edge):
        edge.write(draw_points(5))
        with edge.writer(rebuild=True) as writer:
            writer.upsert(draw_points(2, start=5))
        with edge.writer(rebuild=True) as writer:
            assert writer.resumed
            assert len(writer.digests("drawn")) == 2
        with edge.writer() as writer:
            assert not writer.resumed
            assert len(writer.digests("drawn")) == 5

    def test_that_left_rubbish_is_begun_again(self, edge, home):
        edge.write(draw_points(5))
        with edge.writer() as writer:
            writer.upsert(draw_points(5, start=5))
        (segment,) = (folder_of(home) / "generations/000002/shard/segments").iterdir()
        (segment / "segment.json").write_text("rubbish")
        with edge.writer() as writer:
            assert len(writer.digests("drawn")) == 5
            writer.upsert(draw_points(5, start=5))
            assert writer.commit().points == 10

    def test_during_the_copy_is_begun_again(self, edge, home):
        edge.write(draw_points(5))
        (folder_of(home) / "generations/000002.part/shard").mkdir(parents=True)
        assert edge.write(draw_points(5, start=5)).points == 10
        assert len(generation_names(home)) == 1

    def test_after_the_swap_loses_nothing(self, edge, home):
        edge.write(draw_points(5))
        building = generations.Building(1, 0, 0, SPEC.fingerprint, SPEC.dim, SPEC.average_words)
        generations.write_building(folder_of(home), building)
        with edge.writer() as writer:
            assert not writer.resumed
        assert edge.write(draw_points(1, start=5)).points == 6


class TestDamage:
    MEND = "medclip index --rebuild, or bring back a copy with medclip collections import"

    @pytest.fixture
    def files(self, edge, home):
        edge.write(draw_points(5))
        generation = folder_of(home) / "generations/000001"
        return {path.name: path for path in generation.rglob("*") if path.is_file()}

    def refused(self, edge, reason):
        with pytest.raises(CollectionError, match=f"'scans' is damaged.*{reason}.*{self.MEND}"):
            edge.open()

    def test_short_file(self, edge, files):
        os.truncate(files["chunk_0.mmap"], 100)
        self.refused(edge, "chunk_0.mmap has 100 bytes instead of")

    def test_missing_file(self, edge, files):
        files["chunk_0.mmap"].unlink()
        self.refused(edge, "chunk_0.mmap is missing")

    def test_missing_list_of_files(self, edge, files):
        files["files.json"].unlink()
        self.refused(edge, "files.json is missing")

    @pytest.mark.parametrize("text", ["{", "[]", '{"files": 3}'])
    def test_unreadable_list_of_files(self, edge, files, text):
        files["files.json"].write_text(text)
        self.refused(edge, "files.json cannot be read")

    def test_what_only_the_engine_notices(self, edge, files):
        files["segment.json"].write_text("rubbish")
        self.refused(edge, "segment")

    def test_altered_contents(self, edge, files, home):
        path = files["mutable_id_tracker.mappings"]
        content = bytearray(path.read_bytes())
        content[0] ^= 1
        path.write_bytes(content)
        with pytest.raises(ValueError, match="mutable_id_tracker.mappings is altered"):
            generations.check_files(folder_of(home) / "generations/000001", contents=True)

    def test_missing_generation(self, edge, home):
        edge.write(draw_points(5))
        (folder_of(home) / "generations/000001").rename(folder_of(home) / "generations/elsewhere")
        self.refused(edge, "000001 is missing")

    @pytest.mark.parametrize("text", ["{", "[1]", '{"format_version": 1}', "\0"])
    def test_description(self, edge, home, text):
        edge.write(draw_points(5))
        (folder_of(home) / "collection.json").write_text(text)
        self.refused(edge, "collection.json")
        with pytest.raises(CollectionError, match="is damaged"):
            edge.writer()

    def test_is_cured_by_a_rebuild(self, edge, home):
        edge.write(draw_points(5))
        (folder_of(home) / "collection.json").write_text("{")
        assert edge.write(draw_points(7), rebuild=True).points == 7
        with edge.open() as index:
            assert len(index.query([Query(image_vector=draw_vector(1), top=9)])[0]) == 7

    def test_newer_format(self, edge, home):
        edge.write(draw_points(5))
        path = folder_of(home) / "collection.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"format_version": 99}))
        with pytest.raises(
            CollectionError, match="'scans' has format 99, newer than format 1.*update medclip"
        ):
            edge.open()

    def test_a_closed_collection_does_not_answer(self, edge):
        edge.write(draw_points(5))
        index = edge.open()
        index.close()
        index.close()
        with pytest.raises(CollectionError, match="'scans' is closed"):
            index.query([Query(image_vector=draw_vector(1))])


class TestPlace:
    def test_too_little_is_noticed_beforehand(self, edge, home, monkeypatch):
        edge.write(draw_points(5))
        usage = type("Usage", (), {"free": 70 << 20})
        monkeypatch.setattr(edge_building.shutil, "disk_usage", lambda _: usage)
        with (
            edge.writer() as writer,
            pytest.raises(CollectionError, match=r"about [\d,]+ MB are needed in .* and 73 MB are free"),
        ):
            writer.reserve(1_000_000)
        with edge.open() as index:
            assert index.info.points == 5

    def test_files_that_may_not_grow(self, edge, home):
        """RLIMIT_FSIZE stands for a full disk: the run ends in one line, the live generation answers."""
        edge.write(draw_points(5))
        process = SPAWN.Process(target=processes.index_with_small_files, args=(home,))
        process.start()
        process.join(60)
        assert process.exitcode == 0
        with edge.open() as index:
            assert index.info.points == 5
            assert len(index.query([Query(image_vector=draw_vector(1), top=9)])[0]) == 5
        assert edge.write(draw_points(9)).points == 9

    def test_a_folder_nobody_may_write(self, home):
        (home / "collections").mkdir(parents=True)
        (home / "collections" / "scans").write_text("a file where a folder should be")
        with pytest.raises(CollectionError, match="cannot write collection 'scans' in .*scans"):
            create_writer(home, "scans", SPEC)


class TestLocks:
    def test_a_second_writer_is_told_who_writes(self, edge, home):
        with (
            edge.writer(),
            pytest.raises(CollectionError, match=rf"another run \(process {os.getpid()}\) is writing"),
        ):
            edge.writer(lock_timeout_seconds=0.01)

    def test_a_second_writer_waits_for_the_first(self, edge):
        first = edge.writer()
        threading.Timer(0.2, first.close).start()
        with edge.writer(lock_timeout_seconds=20) as second:
            second.upsert(draw_points(1))
            assert second.commit().points == 1

    def test_a_reader_gives_up_in_time(self, edge, home):
        edge.write(draw_points(1))
        held = locks.hold_folder(folder_of(home) / "generations/000001", exclusive=True)
        try:
            with pytest.raises(CollectionError, match="stayed locked for 0.05 s: try again, or raise"):
                edge.open(lock_timeout_seconds=0.05)
        finally:
            os.close(held)

    def test_a_reader_waits_for_a_removal(self, edge, home):
        edge.write(draw_points(1))
        held = locks.hold_folder(folder_of(home) / "generations/000001", exclusive=True)
        threading.Timer(0.1, os.close, (held,)).start()
        with edge.open(lock_timeout_seconds=20) as index:
            assert index.info.points == 1

    def test_a_folder_replaced_while_it_is_locked_is_noticed(self, tmp_path, monkeypatch):
        folder = tmp_path / "folder"
        folder.mkdir()

        def replaced(descriptor, *, exclusive):
            folder.rename(tmp_path / "old")
            folder.mkdir()

        monkeypatch.setattr(locks, "_flock", replaced)
        with pytest.raises(FileNotFoundError):
            locks.hold_folder(folder, exclusive=False)


def test_eight_readers_succeed_while_generations_are_swapped(edge, home):
    edge.write(draw_points(10))
    stop, failures = SPAWN.Event(), SPAWN.Queue()
    began = [SPAWN.Event() for _ in range(8)]
    readers = [
        SPAWN.Process(target=processes.ask_until, args=(home, event, stop, failures)) for event in began
    ]
    for reader in readers:
        reader.start()
    try:
        for event in began:
            assert event.wait(60)
        edge.write(draw_points(30, start=10))
        edge.write(draw_points(30, start=40))
    finally:
        stop.set()
        for reader in readers:
            reader.join(60)
    assert failures.empty(), failures.get()
    assert [reader.exitcode for reader in readers] == [0] * 8


def test_killed_runs_lose_no_point_and_double_none(edge, home):
    """SIGKILL at random moments, each followed by a run that goes on: every record once, vectors intact."""
    chance = random.Random(5)
    edge.write(draw_points(5))
    count = 400
    for _ in range(6):
        ready = SPAWN.Event()
        process = SPAWN.Process(target=processes.index_slowly, args=(home, count, ready))
        process.start()
        ready.wait(60)
        time.sleep(chance.uniform(0, 0.25))
        os.kill(process.pid, signal.SIGKILL)
        process.join(60)
        with edge.open() as index:
            (found,) = index.query([Query(image_vector=draw_vector(3), top=1)])
            assert found[0].id == "drawn/00003"
            assert index.info.points in (5, count)
    processes.index_slowly(home, count, threading.Event())
    _assert_holds(edge, draw_points(count))


def _assert_holds(edge, points):
    with edge.open() as index:
        assert index.info.points == len(points)
        records = index._shard.retrieve(
            [point.point_id for point in points], with_payload=True, with_vector=True
        )
        stored = {str(record.id): record for record in records}
        for point in points:
            record = stored[point.point_id]
            assert record.payload["digest"] == point.digest
            assert record.vector["image"] == pytest.approx(point.image_vector.tolist(), abs=1e-5)
            assert record.vector["caption"] == pytest.approx(point.caption_vector.tolist(), abs=1e-5)


def test_a_changed_point_cut_off_before_its_checkpoint_is_embedded_again(edge, home):
    edge.write(draw_points(30))
    changed = [replace(point, digest="f" * 16, image_vector=draw_vector(5000)) for point in draw_points(10)]
    ready = SPAWN.Event()
    process = SPAWN.Process(target=processes.upsert_and_hang, args=(home, changed, ready))
    process.start()
    assert ready.wait(60)
    os.kill(process.pid, signal.SIGKILL)
    process.join(60)
    with edge.writer() as writer:
        assert writer.resumed
        stored = writer.digests("drawn")
        for point in draw_points(30, start=10)[:20]:
            assert stored[point.point_id] == point.digest
        again = [point for point in changed if stored.get(point.point_id) != point.digest]
        writer.upsert(again)
        assert writer.commit().points == 30
    _assert_holds(edge, changed + draw_points(20, start=10))


def test_point_ids_belong_to_corpus_and_record():
    ids = {point_id(*pair) for pair in (("a", "b"), ("a/b", "c"), ("a", "b/c"), ("b", "a"))}
    assert len(ids) == 4
    assert draw_point(3).point_id == point_id("drawn", "drawn/00003")
