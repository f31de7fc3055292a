"""Places that are full, that nobody may write to, or that are no folders."""

import subprocess

import pytest

from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import edge as engine
from medclip_cli.vector_index import edge_writer
from medclip_cli.vector_index.base import Query
from medclip_cli.vector_index.edge_writer import create_writer

from . import processes
from .conftest import Edge
from .drawn import SPEC, draw_points, draw_vector, folder_of

SMALL_DISK_MEGABYTES = 384  # a few copies of a small collection, and the 64 that are always left free


def run(target, *arguments):
    process = processes.CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join(processes.PATIENCE)
    return process.exitcode


@pytest.fixture
def small_disk(tmp_path):
    """A home on a disk of its own, which a test may fill."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={SMALL_DISK_MEGABYTES}m", "none", place]
    try:
        subprocess.run(["mount", *options], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def answers(edge, points):
    with edge.open() as index:
        assert index.info.points == points
        return len(index.query([Query(image_vector=draw_vector(1), top=9)])[0])


def test_too_little_is_noticed_beforehand(edge, monkeypatch):
    edge.write(draw_points(5))
    usage = type("Usage", (), {"free": 70 << 20})
    monkeypatch.setattr(edge_writer.shutil, "disk_usage", lambda _: usage)
    with (
        edge.writer() as writer,
        pytest.raises(CollectionError, match=r"about [\d,]+ MB are needed in .* and 73 MB are free"),
    ):
        writer.reserve(1_000_000)
    assert answers(edge, 5) == 5


def test_a_second_copy_is_made_room_for_before_optimising(edge, monkeypatch):
    with edge.writer() as writer:
        writer.upsert(draw_points(5))
        monkeypatch.setattr(edge_writer.generations, "disk_bytes", lambda _: 1 << 60)
        with pytest.raises(CollectionError, match="no space for collection 'scans': about 1,152,9"):
            writer.commit()


def test_a_disk_that_fills_up_in_the_middle_of_a_run(small_disk):
    edge = Edge(small_disk / "home")
    edge.write(draw_points(5))
    assert run(processes.index_while_the_disk_fills, edge.home, small_disk / "filler") == 0
    assert answers(edge, 5) == 5
    (small_disk / "filler").unlink()
    with edge.writer() as writer:
        assert writer.resumed
        known = writer.digests("drawn")
        assert known.keys() >= {point.point_id for point in draw_points(5)}
        writer.upsert([point for point in draw_points(600) if point.point_id not in known])
        assert writer.commit().points == 600


def test_files_that_may_not_grow(edge, home):
    """RLIMIT_FSIZE stands for a full disk: the run ends in one line, the live generation answers."""
    edge.write(draw_points(5))
    assert run(processes.index_with_small_files, home) == 0
    assert answers(edge, 5) == 5
    assert edge.write(draw_points(9)).points == 9


def test_a_folder_nobody_may_write(home):
    (home / "collections").mkdir(parents=True)
    (home / "collections" / "scans").write_text("a file where a folder should be")
    with pytest.raises(CollectionError, match="cannot write collection 'scans' in .*scans"):
        create_writer(home, "scans", SPEC)


def test_a_collection_on_a_disk_that_is_read_only(small_disk):
    edge = Edge(small_disk)
    edge.write(draw_points(5))
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert answers(edge, 5) == 5
    with pytest.raises(CollectionError, match="cannot write collection 'scans' in .*Read-only file system"):
        edge.writer()


@pytest.fixture
def not_mine(monkeypatch):
    """Files that one may read but not write; root may write all, so it is said rather than done."""
    monkeypatch.setattr(engine.os, "access", lambda path, mode: False)


def test_a_collection_that_one_may_only_read_is_copied_while_it_is_asked(
    edge, home, not_mine, tmp_path, monkeypatch
):
    edge.write(draw_points(5))
    shard = folder_of(home) / "generations/000001/shard"
    before = {path: path.stat().st_mtime_ns for path in shard.rglob("*")}
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with edge.open() as index:
        assert len(index.query([Query(image_vector=draw_vector(1), top=9)])[0]) == 5
        assert index.find_damage() is None
        (copy,) = tmp_path.iterdir()
        assert copy.stat().st_mode & 0o777 == 0o700, "captions are nobody else's business"
    assert list(tmp_path.iterdir()) == []
    assert {path: path.stat().st_mtime_ns for path in shard.rglob("*")} == before


def test_too_much_to_copy_is_refused(edge, not_mine, monkeypatch):
    edge.write(draw_points(5))
    monkeypatch.setattr(engine, "LARGEST_COPY_BYTES", 10)
    with pytest.raises(CollectionError, match=r"since it may not be written to, and \d.\d GB are too much"):
        edge.open()


def test_no_room_for_a_copy_either(edge, not_mine, monkeypatch):
    edge.write(draw_points(5))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(engine, "copy_folder", full)
    with pytest.raises(CollectionError, match=r"nor be copied \(No space left on device\): make room"):
        edge.open()


@pytest.mark.parametrize(
    "reason", ["Permission denied (os error 13)", "No space left on device (os error 28)"]
)
def test_what_the_engine_cannot_write_is_not_called_damaged(reason):
    with (
        pytest.raises(CollectionError, match="'scans' cannot be opened .*: make room, or copy it into a"),
        engine.engine_errors("scans"),
    ):
        raise RuntimeError(reason)
