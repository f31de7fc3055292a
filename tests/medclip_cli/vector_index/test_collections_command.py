"""`medclip collections` from the outside."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medclip_cli.app import app
from medclip_cli.corpora.corpus_folder import write_corpus
from medclip_cli.errors import CollectionError
from medclip_cli.settings import load_settings
from medclip_cli.vector_index.base import CorpusSource
from medclip_cli.vector_index.edge import open_collection
from medclip_cli.vector_index.edge_writer import create_writer
from medclip_cli.vector_index.generations import drop_collection

from .drawn import SPEC, draw_point, draw_points, draw_record


def run(*arguments, code=0, **options):
    result = CliRunner().invoke(app, ["collections", *map(str, arguments)], **options)
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def make_corpus(folder, records):
    options = {"caption_style": "report", "rejected": (), "report": {}, "force": True}
    write_corpus(folder, name="drawn", image_root=folder.parent, records=records, **options)


@pytest.fixture
def corpus(tmp_path):
    make_corpus(tmp_path / "corpus", [draw_record(number) for number in range(12)])
    return tmp_path / "corpus"


@pytest.fixture
def scans(corpus):
    return write(draw_points(12), corpus)


def write(points, corpus, name="scans", splits=("train",)):
    with create_writer(load_settings().home, name, SPEC) as writer:
        writer.add_corpus("drawn", CorpusSource(str(corpus), str(corpus.parent), splits))
        writer.upsert(points)
        return writer.commit()


def test_list(scans):
    columns, row = run("list").stdout.splitlines()
    assert columns.split() == ["name", "images", "model", "corpora", "size", "updated"]
    assert row.split()[:4] == ["scans", "12", "tiny", "drawn"]
    (found,) = json.loads(run("list", "--json").stdout)
    assert (found["name"], found["points"], found["corpora"]) == ("scans", 12, ["drawn"])
    assert found["bytes"] > 10_000


def test_list_of_none(tmp_path):
    result = run("list")
    assert "No collections in" in result.stderr
    assert json.loads(run("list", "--json").stdout) == []


def test_list_names_the_damaged(scans):
    manifest = load_settings().home / "collections" / "scans" / "collection.json"
    manifest.write_text("{")
    result = run("list", "--json")
    assert "'scans' is damaged" in result.stderr
    (found,) = json.loads(result.stdout)
    assert found["name"] == "scans"
    assert "is damaged" in found["error"]


def test_show(scans, corpus):
    text = run("show", "scans").stdout
    for part in ("tiny (0123456789abcdef) at /models/tiny", str(corpus), "8 numbers", "CT 4; MR 4; XR 4"):
        assert part in text
    answer = json.loads(run("show", "scans", "--json").stdout)
    assert answer["fields"]["modality"] == {"CT": 4, "MR": 4, "XR": 4}
    assert answer["corpora"]["drawn"]["splits"] == ["train"]


def test_show_of_an_unknown_one_names_those_there_are(scans):
    assert "no collection 'other'" in run("show", "other", code=1).stderr
    assert "name one of scans" in run("show", "other", code=1).stderr


def test_drop(scans):
    assert "confirm with --yes" in run("drop", "scans", code=2).stderr
    run("drop", "scans", "--yes")
    assert json.loads(run("list", "--json").stdout) == []
    assert list((load_settings().home / "collections").iterdir()) == []
    assert "no collection 'scans'" in run("drop", "scans", "--yes", code=1).stderr


def test_drop_of_a_damaged_collection(scans):
    (load_settings().home / "collections" / "scans" / "collection.json").write_text("{")
    run("drop", "scans", "--yes")
    assert json.loads(run("list", "--json").stdout) == []


def test_drop_while_it_is_written_is_refused(scans):
    home = load_settings().home
    with (
        create_writer(home, "scans", SPEC),
        pytest.raises(CollectionError, match="another run .* is writing to collection 'scans'"),
    ):
        drop_collection(home, "scans", lock_timeout_seconds=0.0)


def test_drop_leaves_readers_their_collection(scans):
    home = load_settings().home
    with open_collection(home, "scans") as reader:
        drop_collection(home, "scans")
        assert len(list(reader.points())) == 12


def test_export_and_import(scans, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("export", "scans").stdout == "scans.medclip\n"
    answer = json.loads(run("export", "scans", "-o", "other.medclip", "--json").stdout)
    assert answer["points"] == 12
    assert answer["bytes"] == Path("other.medclip").stat().st_size
    result = run("import", "scans.medclip", "--name", "copy")
    assert result.stdout == "copy\n"
    assert "its model cannot be used" in result.stderr
    assert json.loads(run("import", "scans.medclip", "--force", "--json").stdout)["points"] == 12
    assert "exists: replace it with force" in run("import", "scans.medclip", code=1).stderr


def test_verify_of_a_sound_collection(scans):
    result = run("verify", "scans")
    assert "intact" in result.stderr
    answer = json.loads(run("verify", "scans", "--json").stdout)
    assert answer["sound"] is True
    assert answer["points"] == 12


def test_verify_compares_with_the_corpus(corpus):
    stale = draw_point(3, caption="as it was before")
    write([*draw_points(2), stale, *draw_points(3, start=20)], corpus)
    answer = json.loads(run("verify", "scans", "--json", code=1).stdout)
    check = answer["corpora"]["drawn"]
    assert check["changed"] == ["drawn/00003"]
    assert check["extra"] == ["drawn/00020", "drawn/00021", "drawn/00022"]
    assert check["missing"] == [f"drawn/{number:05d}" for number in (2, *range(4, 12))]
    assert "medclip index CORPUS --prune" in run("verify", "scans", code=1).stderr


def test_verify_knows_which_splits_were_indexed(corpus):
    records = [draw_record(n, split="val" if n > 8 else "train") for n in range(12)]
    make_corpus(corpus, records)
    write(draw_points(9), corpus)
    assert json.loads(run("verify", "scans", "--json").stdout)["sound"] is True


def test_verify_without_the_corpus(scans, corpus):
    corpus.rename(corpus.with_name("gone"))
    answer = json.loads(run("verify", "scans", "--json", code=1).stdout)
    assert "no corpus at" in answer["corpora"]["drawn"]["unreadable"]


def test_verify_of_points_of_no_corpus(corpus):
    write([draw_point(1, corpus="stranger")], corpus)
    answer = json.loads(run("verify", "scans", "--json", code=1).stdout)
    assert "does not say where it came from" in answer["corpora"]["stranger"]["unreadable"]


def test_verify_finds_unsound_vectors(corpus, monkeypatch):
    write(draw_points(12), corpus)
    monkeypatch.setattr("medclip_cli.vector_index.verification._UNIT_LENGTH_TOLERANCE", -1.0)
    result = run("verify", "scans", code=1)
    assert "12 points have invalid vectors" in result.stderr


def test_verify_finds_damage(scans):
    home = load_settings().home
    (segment,) = (home / "collections/scans/generations/000001/shard/segments").iterdir()
    path = segment / "vector_storage-image" / "vectors" / "chunk_0.mmap"
    content = bytearray(path.read_bytes())
    content[3] ^= 64
    path.write_bytes(content)
    result = run("verify", "scans", code=1)
    assert "chunk_0.mmap is altered: rebuild it with medclip index --rebuild" in result.stderr
