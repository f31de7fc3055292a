"""Index runs on the embedded engine that meet others, are cut off, or are killed."""

import fcntl
import os
import random
import threading
import time
from dataclasses import asdict, replace

import pytest

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import generations
from medclip_cli.vector_index.base import Query, parse_condition

from . import processes
from .drawn import SPEC, draw_points, draw_vector, folder_of, generation_names

KILLS = 8


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

    def test_that_removed_points_of_another_corpus_takes_none_away(self, edge):
        others = draw_points(3, corpus="other")
        edge.write(draw_points(5))
        edge.write(others, corpus="other")
        with edge.writer() as writer:
            writer.delete([point.point_id for point in others])
        with edge.writer() as writer:
            assert writer.resumed
            writer.upsert(draw_points(1, start=5))
            assert writer.commit().points == 9
        with edge.open() as index:
            query = Query(
                words=others[1].record.caption, mode="words", where=(parse_condition("corpus=other"),)
            )
            ((best, *_),) = index.query([query])
            (nearest,) = index.query([Query(image_vector=others[1].image_vector, top=2)])
        assert best.id == others[1].record.id
        assert [hit.score for hit in nearest] == pytest.approx([1.0, 1.0], abs=1e-5)

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
        generations.write_json(folder_of(home) / generations.BUILDING, asdict(building))
        with edge.writer() as writer:
            assert not writer.resumed
        assert edge.write(draw_points(1, start=5)).points == 6


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
        with edge.writer(lock_timeout_seconds=processes.PATIENCE) as second:
            second.upsert(draw_points(1))
            assert second.commit().points == 1

    def test_a_reader_gives_up_in_time(self, edge, home):
        edge.write(draw_points(1))
        held = generations.hold(folder_of(home) / "generations/000001", exclusive=True)
        try:
            with pytest.raises(CollectionError, match="stayed locked for 0.05 s: try again, or raise"):
                edge.open(lock_timeout_seconds=0.05)
        finally:
            os.close(held)

    def test_a_reader_waits_for_a_removal(self, edge, home):
        edge.write(draw_points(1))
        held = generations.hold(folder_of(home) / "generations/000001", exclusive=True)
        threading.Timer(0.1, os.close, (held,)).start()
        with edge.open(lock_timeout_seconds=processes.PATIENCE) as index:
            assert index.info.points == 1

    def test_a_folder_replaced_while_it_is_locked_is_noticed(self, tmp_path, monkeypatch):
        folder = tmp_path / "folder"
        folder.mkdir()

        def replaced(descriptor, flags):
            folder.rename(tmp_path / "old")
            folder.mkdir()

        monkeypatch.setattr(fcntl, "flock", replaced)
        with pytest.raises(FileNotFoundError):
            generations.hold(folder, exclusive=False)


def test_eight_readers_succeed_while_generations_are_swapped(edge, home):
    edge.write(draw_points(10))
    stop, failures = processes.CONTEXT.Event(), processes.CONTEXT.Queue()
    began = [processes.CONTEXT.Event() for _ in range(8)]
    asked = [(home, event, stop, failures) for event in began]
    readers = [processes.CONTEXT.Process(target=processes.ask_until, args=given) for given in asked]
    for reader in readers:
        reader.start()
    try:
        for event in began:
            assert event.wait(processes.PATIENCE)
        edge.write(draw_points(30, start=10))
        edge.write(draw_points(30, start=40))
    finally:
        stop.set()
        for reader in readers:
            reader.join(processes.PATIENCE)
    assert failures.empty(), failures.get()
    assert [reader.exitcode for reader in readers] == [0] * 8


def test_killed_runs_lose_no_point_and_double_none(edge, home):
    """SIGKILL at random moments, each followed by a run that goes on: every record once, vectors intact."""
    chance = random.Random(5)
    edge.write(draw_points(5))
    live, killed = 5, 0
    for run in range(1, KILLS + 1):
        count = 60 * run
        ready = processes.CONTEXT.Event()
        process = processes.CONTEXT.Process(
            target=processes.index_slowly, args=(home, count, ready, run == 1)
        )
        process.start()
        assert ready.wait(processes.PATIENCE)
        time.sleep(chance.uniform(0, 0.1))
        process.kill()
        process.join(processes.PATIENCE)
        killed += process.exitcode != 0
        with edge.open() as index:
            (found,) = index.query([Query(image_vector=draw_vector(3), top=1)])
            assert found[0].id == "drawn/00003"
            assert index.info.points in (live, count)
            live = index.info.points
    assert killed, "each run was over before it could be killed"
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
    ready = processes.CONTEXT.Event()
    process = processes.CONTEXT.Process(target=processes.upsert_and_hang, args=(home, changed, ready))
    process.start()
    assert ready.wait(processes.PATIENCE)
    process.kill()
    process.join(processes.PATIENCE)
    with edge.writer() as writer:
        assert writer.resumed
        stored = writer.digests("drawn")
        for point in draw_points(30, start=10)[:20]:
            assert stored[point.point_id] == point.digest
        again = [point for point in changed if stored.get(point.point_id) != point.digest]
        writer.upsert(again)
        assert writer.commit().points == 30
    _assert_holds(edge, changed + draw_points(20, start=10))
