import io
import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medclip_cli.vector_index.generations import disk_bytes
from medclip_cli.vector_index.sparse_files import (
    PackedReader,
    content_hash,
    copy_folder,
    filled_ranges,
    unpack,
)

UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
PIECES = st.lists(st.tuples(st.integers(0, 400_000), st.binary(min_size=1, max_size=9)), max_size=4)


def write_sparse(path, pieces, size=500_000):
    with path.open("wb") as file:
        for offset, piece in pieces:
            file.seek(offset)
            file.write(piece)
        file.truncate(size)


def test_copies_keep_the_holes(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    with (source / "deep" / "file").open("wb") as file:
        file.seek(30 << 20)
        file.write(b"data" * 1000)
        file.truncate(40 << 20)
    (source / "empty").touch()
    copy_folder(source, target)
    copy = target / "deep" / "file"
    assert copy.read_bytes() == (source / "deep" / "file").read_bytes()
    assert disk_bytes(target) <= disk_bytes(source) + (1 << 20)
    assert (target / "empty").stat().st_size == 0


@UNHURRIED
@given(PIECES)
def test_the_hash_of_a_file_knows_nothing_of_holes(pieces):
    with tempfile.TemporaryDirectory() as folder:
        sparse, filled = Path(folder) / "sparse", Path(folder) / "filled"
        write_sparse(sparse, pieces)
        filled.write_bytes(sparse.read_bytes())
        assert content_hash(sparse) == content_hash(filled)
        content = bytearray(filled.read_bytes())
        content[len(content) // 2] ^= 1
        filled.write_bytes(content)
        assert content_hash(sparse) != content_hash(filled)


@UNHURRIED
@given(PIECES)
def test_a_file_packed_and_unpacked_is_itself(pieces):
    with tempfile.TemporaryDirectory() as folder:
        original, copy = Path(folder) / "original", Path(folder) / "copy"
        write_sparse(original, pieces)
        ranges = filled_ranges(original)
        with original.open("rb") as file:
            packed = PackedReader(file, ranges).read(1 << 30)
        assert len(packed) == sum(end - start for start, end in ranges)
        unpack(io.BytesIO(packed), copy, 500_000, ranges)
        assert copy.read_bytes() == original.read_bytes()


def test_a_packed_file_is_read_in_pieces_of_any_size(tmp_path):
    write_sparse(tmp_path / "file", [(0, b"abc"), (200_000, b"def")])
    ranges = filled_ranges(tmp_path / "file")
    with (tmp_path / "file").open("rb") as file:
        whole = PackedReader(file, ranges).read(1 << 20)
        reader = PackedReader(file, ranges)
        pieces = [reader.read(50_000) for _ in range(4)]
    assert b"".join(pieces) == whole
    assert [len(piece) for piece in pieces] == [50_000, 50_000, len(whole) - 100_000, 0]


def test_too_few_bytes_are_noticed(tmp_path):
    with pytest.raises(ValueError, match="too few bytes"):
        unpack(io.BytesIO(b"abc"), tmp_path / "file", 10, [(0, 5)])
    with pytest.raises(ValueError, match="do not fit the file"):
        unpack(io.BytesIO(b"abc"), tmp_path / "file", 10, [(8, 11)])


def test_a_folder_that_vanishes_during_the_walk_is_passed_over(tmp_path, monkeypatch):
    """An engine in another process writes under a hidden folder, and removes it a moment later."""
    source, target = tmp_path / "source", tmp_path / "target"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "segment.json").write_bytes(b"{}" * 4_000)
    scandir = os.scandir

    def scan_and_lose(folder="."):
        if ".atomicwrite" in os.fspath(folder):
            os.rmdir(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan_and_lose)
    for work in (lambda: disk_bytes(source), lambda: copy_folder(source, target)):
        (source / "deep" / ".atomicwrite7Xa2").mkdir(exist_ok=True)
        work()
    assert (target / "deep" / "segment.json").exists()


def test_what_an_engine_writes_for_a_moment_is_left_where_it_is(tmp_path):
    """Another process opens the shard meanwhile: such a file is gone before it can be read."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    (source / "segment.json").write_bytes(b"{}" * 4_000)
    before = disk_bytes(source)
    (source / ".atomicwrite7Xa2").write_bytes(b"{}" * 4_000)
    copy_folder(source, target)
    assert [path.name for path in target.iterdir()] == ["segment.json"]
    assert disk_bytes(source) == before
