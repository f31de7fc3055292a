"""Collections as files: what goes out comes back, and nothing else does."""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from medclip_cli import models
from medclip_cli.errors import CollectionError, MedclipError, UsageError
from medclip_cli.vector_index.archive import export_collection, import_collection
from medclip_cli.vector_index.base import Query
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer

from .drawn import SPEC, draw_points, draw_vector


@pytest.fixture(scope="module")
def archive(fast_folder):
    home = Path(tempfile.mkdtemp(dir=fast_folder))
    with create_writer(home, "scans", SPEC) as writer:
        writer.upsert(draw_points(20))
        writer.commit()
    export_collection(home, "scans", home / "scans.medclip")
    return home / "scans.medclip"


@pytest.fixture
def exported(archive, tmp_path):
    return Path(shutil.copy(archive, tmp_path))


def answers(home, name):
    with open_collection(home, name) as index:
        return index.query(
            [Query(image_vector=draw_vector(50)), Query(words="fracture of the spine", mode="words")]
        )


def rewritten(source, change):
    """The archive again, after `change(name, content)` had its way with each member; None drops one."""
    target = source.with_name("changed.medclip")
    with tarfile.open(source) as old, tarfile.open(target, "w") as new:
        for member in old:
            content = change(member.name, old.extractfile(member).read())
            if content is not None:
                member.size = len(content)
                new.addfile(member, io.BytesIO(content))
    return target


def refused(home, source, match):
    with pytest.raises(CollectionError, match=match):
        import_collection(home, source, name="new")
    with pytest.raises(CollectionError, match="no collection 'new'"):
        open_collection(home, "new")
    generations = home / "collections" / "new" / "generations"
    assert not generations.exists() or not list(generations.iterdir())


def test_comes_back_as_it_was(home, archive):
    imported = import_collection(home, archive)
    assert (imported.info.name, imported.info.points, imported.model) == ("scans", 20, None)
    assert answers(home, "scans") == answers(archive.parent, "scans")
    import_collection(home, archive, name="copy")
    assert answers(home, "copy") == answers(home, "scans")
    assert archive.stat().st_size < 2_000_000, "holes are not stored"


def test_an_imported_collection_can_be_indexed_into(edge, home, exported):
    edge.name = "copy"
    import_collection(home, exported, name="copy")
    assert edge.write(draw_points(3, start=20)).points == 23


@pytest.fixture
def any_model(monkeypatch):
    """A folder of any files is a model, of the fingerprint that the tests' collections have."""
    found = SimpleNamespace(name="tiny", fingerprint=SPEC.fingerprint)
    monkeypatch.setattr(models, "load_model", lambda path, **_: found)
    return found


def test_another_model_in_the_place_of_the_collections_own_is_not_sent_along(edge, home, tmp_path, any_model):
    (tmp_path / "config.json").write_text("{}")
    edge.write(draw_points(3), spec=replace(SPEC, model_path=str(tmp_path)))
    any_model.fingerprint = "f" * 16
    with pytest.raises(CollectionError, match="f" * 16):
        export_collection(home, "scans", tmp_path / "both.medclip", with_model=True)
    assert not (tmp_path / "both.medclip").exists()


def test_an_archive_does_not_name_a_model_of_a_hub(edge, home, tmp_path, monkeypatch):
    monkeypatch.setattr(models, "hub_model", lambda *_, **__: pytest.fail("asked the hub"))
    edge.write(draw_points(3), spec=replace(SPEC, model_path="hf:stranger/model"))
    export_collection(home, "scans", tmp_path / "out.medclip")
    assert "hf:stranger/model" in import_collection(home, tmp_path / "out.medclip", name="copy").model_fault


def test_holds_the_model_if_asked(edge, home, tmp_path, any_model):
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"a": 1}')
    (model / "image.onnx").write_bytes(bytes(200_000) + b"graph")
    (model / ".hidden").write_text("not part of it")
    edge.write(draw_points(3), spec=replace(SPEC, model_path=str(model)))
    export_collection(home, "scans", tmp_path / "both.medclip", with_model=True)
    imported = import_collection(tmp_path / "elsewhere", tmp_path / "both.medclip")
    assert imported.model == tmp_path / "elsewhere" / "models" / f"tiny-{SPEC.fingerprint}"
    assert imported.info.model_path == str(imported.model)
    assert {path.name: path.read_bytes() for path in imported.model.iterdir()} == {
        "config.json": b'{"a": 1}',
        "image.onnx": bytes(200_000) + b"graph",
    }
    import_collection(tmp_path / "elsewhere", tmp_path / "both.medclip", name="again")


def test_a_missing_model_is_noticed_at_the_export(edge, home, tmp_path):
    edge.write(draw_points(3))
    with pytest.raises(CollectionError, match="no model folder /models/tiny: export without"):
        export_collection(home, "scans", tmp_path / "out.medclip", with_model=True)
    assert list(tmp_path.iterdir()) == []


def test_files_are_not_overwritten_unasked(archive, exported):
    with pytest.raises(CollectionError, match="scans.medclip exists"):
        export_collection(archive.parent, "scans", exported)
    assert export_collection(archive.parent, "scans", exported, force=True).points == 20


def test_collections_are_not_overwritten_unasked(edge, home, exported):
    edge.write(draw_points(25))
    with pytest.raises(CollectionError, match="'scans' exists: replace it with force"):
        import_collection(home, exported)
    with edge.open() as reader:
        assert import_collection(home, exported, force=True).info.points == 20
        assert len(reader.query([Query(image_vector=draw_vector(1), top=60)])[0]) == 25
    with edge.open() as reader:
        assert reader.info.points == 20


def test_a_damaged_collection_is_not_exported(edge, home, tmp_path):
    edge.write(draw_points(5))
    (segment,) = (home / "collections/scans/generations/000001/shard/segments").iterdir()
    path = segment / "mutable_id_tracker.mappings"
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(CollectionError, match="is damaged .*mappings is altered"):
        export_collection(home, "scans", tmp_path / "out.medclip")


@pytest.mark.parametrize("part", ["chunk_0.mmap", "segment.json", "archive.json", "archive.hash"])
def test_an_altered_content_is_refused(home, exported, part):
    def alter(name, content):
        return content[:-1] + bytes([content[-1] ^ 1]) if name.endswith(part) else content

    refused(home, rewritten(exported, alter), "is damaged or was altered|is not a collection")


def test_an_altered_head_with_valid_json_is_refused(home, exported):
    def alter(name, content):
        return content.replace(b'"points": 20', b'"points": 21') if name == "archive.json" else content

    refused(home, rewritten(exported, alter), r"altered \(archive.hash\)")


@pytest.mark.parametrize("part", ["chunk_0.mmap", "archive.hash"])
def test_a_missing_member_is_refused(home, exported, part):
    changed = rewritten(exported, lambda name, content: None if name.endswith(part) else content)
    refused(home, changed, "is damaged or was altered")


@pytest.mark.parametrize("name", ["shard/../../escaped", "/tmp/escaped", "elsewhere/file", "shard/unlisted"])
def test_a_stranger_is_refused(home, exported, name, tmp_path):
    changed = exported.with_name("changed.medclip")
    with tarfile.open(exported) as old, tarfile.open(changed, "w") as new:
        for member in old:
            content = old.extractfile(member).read()
            if member.name == "archive.json" and name != "shard/unlisted":
                head = json.loads(content)
                head["files"][name] = {"bytes": 1, "content": "0" * 64, "ranges": [[0, 1]]}
                content = json.dumps(head).encode()
                member.size = len(content)
            if member.name == "archive.hash":
                stranger = tarfile.TarInfo(name)
                stranger.size = 1
                new.addfile(stranger, io.BytesIO(b"x"))
            new.addfile(member, io.BytesIO(content))
    refused(home, changed, "is damaged or was altered")
    assert not list(tmp_path.rglob("escaped"))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_name", "/elsewhere/y"),
        ("model_name", "../y"),
        ("fingerprint", "/../autostart"),
        ("fingerprint", "../../../autostart"),
        ("name", "../y"),
        ("name", "/elsewhere/y"),
        ("name", ".."),
        ("generation", -1),
    ],
)
def test_nothing_an_archive_says_becomes_a_path(edge, home, tmp_path, any_model, field, value):
    """A `model_name` of ``/elsewhere/y`` and a fingerprint of ``/../autostart`` wrote there, and exited 0."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    edge.write(draw_points(3), spec=replace(SPEC, model_path=str(tmp_path / "model")))
    export_collection(home, "scans", tmp_path / "out.medclip", with_model=True)
    evil = str(tmp_path / value.strip("/")) if str(value).startswith("/elsewhere") else value
    hashed = {}

    def alter(name, content):
        if name == "archive.json":
            head = json.loads(content)
            head["collection"][field] = evil
            content = json.dumps(head).encode()
            hashed["new"] = hashlib.sha256(content).hexdigest().encode()
        return hashed["new"] if name == "archive.hash" else content

    target = tmp_path / "target" / "home"
    with pytest.raises(MedclipError, match=re.escape(evil) if isinstance(evil, str) else "damaged"):
        import_collection(target, rewritten(tmp_path / "out.medclip", alter))
    assert [path.name for path in tmp_path.rglob("config.json")] == ["config.json"]
    assert not list(target.rglob("collection.json"))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_a_link_or_device_is_refused(home, exported, kind):
    changed = exported.with_name("changed.medclip")
    with tarfile.open(exported) as old, tarfile.open(changed, "w") as new:
        for member in old:
            if member.name.endswith("chunk_0.mmap"):
                member.type, member.linkname, member.size = kind, "/etc/passwd", 0
                new.addfile(member)
            else:
                new.addfile(member, old.extractfile(member))
    refused(home, changed, "is damaged or was altered")


@pytest.mark.parametrize("ranges", [[[5, 3]], [[0, 1 << 40]], [["a", 3]], [3], None])
def test_impossible_stretches_are_refused(home, exported, ranges):
    def alter(name, content):
        if name != "archive.json":
            return content
        head = json.loads(content)
        head["files"][next(key for key in head["files"] if key.endswith("chunk_0.mmap"))]["ranges"] = ranges
        return json.dumps(head).encode()

    refused(home, rewritten(exported, alter), "is damaged or was altered")


def test_a_cut_off_file_is_refused(home, exported):
    changed = exported.with_name("changed.medclip")
    changed.write_bytes(exported.read_bytes()[: exported.stat().st_size // 2])
    refused(home, changed, "is damaged|is not a collection, or is damaged")


@pytest.mark.parametrize("content", [b"", b"no archive", gzip.compress(b"no tar", mtime=0), os.urandom(2000)])
def test_what_is_no_archive_is_refused(home, tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    refused(home, tmp_path / "file", "is not a collection")


def test_a_tar_of_something_else_is_refused(home, tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with tarfile.open(tmp_path / "file", "w") as tar:
        tar.add(tmp_path / "letter.txt", "letter.txt")
    refused(home, tmp_path / "file", "is not a collection")


def test_a_missing_file_is_named(home, tmp_path):
    with pytest.raises(CollectionError, match=f"there is no file {tmp_path}/gone"):
        import_collection(home, tmp_path / "gone")


def test_a_newer_format_is_refused(home, exported):
    def newer(name, content):
        version = b'"archive_version": 1'
        return content.replace(version, b'"archive_version": 7') if name == "archive.json" else content

    refused(home, rewritten(exported, newer), "has format 7, newer than 1: update medclip")


def test_a_name_that_no_collection_can_have(home, exported):
    with pytest.raises(UsageError, match="not a valid collection name"):
        import_collection(home, exported, name="../up")
