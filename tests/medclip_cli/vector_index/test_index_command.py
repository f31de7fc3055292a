"""`medclip index` over a drawn corpus and a model that needs no training."""

import functools
import hashlib
import io
import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from medclip_cli import models
from medclip_cli.app import app
from medclip_cli.corpora.corpus_folder import Corpus, write_corpus
from medclip_cli.settings import load_settings
from medclip_cli.terminal import console
from medclip_cli.vector_index import indexer, store
from medclip_cli.vector_index.base import Query
from medclip_cli.vector_index.edge import open_collection

from .conftest import InMemoryServer
from .drawn import DIM, draw_record


@dataclass
class ByteModel:
    """Stands in for a trained model: the vector of a file or a text follows from its bytes."""

    path: Path
    fingerprint: str = "0123456789abcdef"
    dim: int = DIM
    interrupt_after: int | None = None
    embedded: int = 0
    passes_at_once: int = 1

    @property
    def name(self):
        return self.path.name

    def _vector(self, content):
        seed = int.from_bytes(hashlib.sha256(content).digest()[:8], "little")
        vector = np.random.default_rng(seed).normal(size=self.dim)
        return (vector / np.linalg.norm(vector)).astype(np.float32)

    def embed_texts(self, texts):
        return np.reshape([self._vector(text.encode()) for text in texts], (-1, self.dim))

    def embed_files(self, sources, batch_size=None):
        for index, source in enumerate(sources):
            if self.embedded == self.interrupt_after:
                raise KeyboardInterrupt
            self.embedded += 1
            content = source.read_bytes() if source.exists() else b""
            vector = self._vector(content) if content else None
            yield models.Embedded(index, source, vector, None if content else "no image data")


@pytest.fixture
def model(tmp_path, monkeypatch):
    fake = ByteModel(tmp_path / "model")
    monkeypatch.setattr(models, "load_model", lambda path, **_: replace_path(fake, path))
    return fake


def replace_path(model, path):
    model.path = Path(path)
    return model


@dataclass
class Drawn:
    """A corpus on disk whose records can be changed."""

    folder: Path
    records: list

    def write(self):
        for record in self.records:
            image = self.folder.parent / "raw" / record.image
            image.parent.mkdir(parents=True, exist_ok=True)
            if not image.exists():
                image.write_bytes(record.id.encode())
        options = {"caption_style": "report", "rejected": (), "report": {}, "force": True}
        write_corpus(
            self.folder,
            name=self.folder.name,
            image_root=self.folder.parent / "raw",
            records=self.records,
            **options,
        )
        return self

    def image(self, number):
        return self.folder.parent / "raw" / self.records[number].image


@pytest.fixture
def corpus(tmp_path):
    splits = ["train"] * 8 + ["val"] * 3 + ["test"] * 1
    records = [
        draw_record(number, split=split, group=f"patient{number}") for number, split in enumerate(splits)
    ]
    return Drawn(tmp_path / "drawn", records).write()


def index(*arguments, code=0):
    result = CliRunner().invoke(app, ["index", *map(str, arguments)])
    assert result.exit_code == code, (result.stdout, result.stderr)
    return result


def report(*arguments, code=0):
    return json.loads(index(*arguments, "--json", code=code).stdout)


def test_the_train_split_is_indexed_and_the_others_are_named(corpus, model):
    result = index(corpus.folder, "--model", model.path, "--collection", "scans")
    assert "added" in result.stdout
    assert "Left out: val (3), test (1); --split all" in result.stderr
    with open_collection(load_settings().home, "scans") as opened:
        info = opened.info
        assert (info.points, info.model_path) == (8, str(model.path))
        assert info.corpora["drawn"].splits == ("train",)
        assert Path(info.corpora["drawn"].image_root) == corpus.folder.parent / "raw"
        vector = model._vector(corpus.image(4).read_bytes())
        (found,) = opened.query([Query(image_vector=vector, top=1)])
        assert found[0].id == corpus.records[4].id
        assert found[0].score == pytest.approx(1.0, abs=1e-5)
        caption_vector = model.embed_texts([corpus.records[5].caption])[0]
        (found,) = opened.query([Query(text_vector=caption_vector, top=1, against="caption")])
        assert found[0].id == corpus.records[5].id


def test_again_embeds_only_what_changed(corpus, model):
    assert report(corpus.folder, "-m", model.path, "-c", "scans")["added"] == 8
    first = model.embedded
    again = report(corpus.folder, "-c", "scans")
    assert (again["added"], again["changed"], again["unchanged"]) == (0, 0, 8)
    assert model.embedded == first

    corpus.records[2] = replace(corpus.records[2], caption="another", captions=("another",))
    corpus.records.append(draw_record(50))
    corpus.write()
    assert report(corpus.folder, "-c", "scans", "--dry-run")["added"] == 1
    assert model.embedded == first
    changed = report(corpus.folder, "-c", "scans")
    assert (changed["added"], changed["changed"], changed["unchanged"], changed["points"]) == (1, 1, 7, 9)
    assert model.embedded == first + 2


def test_images_without_a_hash_are_known_by_size_and_time(corpus, model):
    corpus.records = [replace(record, sha256="") for record in corpus.records]
    corpus.write()
    report(corpus.folder, "-m", model.path, "-c", "scans")
    assert report(corpus.folder, "-c", "scans")["unchanged"] == 8
    corpus.image(3).write_bytes(b"another scan")
    assert report(corpus.folder, "-c", "scans")["changed"] == 1


def test_gone_records_stay_unless_pruned(corpus, model):
    report(corpus.folder, "-m", model.path, "-c", "scans", "--split", "all")
    del corpus.records[0]
    corpus.write()
    kept = report(corpus.folder, "-c", "scans", "--split", "all")
    assert (kept["removed"], kept["points"]) == (0, 12)
    plan = report(corpus.folder, "-c", "scans", "--split", "all", "--prune", "--dry-run")
    assert (plan["removed"], plan["points"], plan["dry_run"]) == (1, 12, True)
    pruned = report(corpus.folder, "-c", "scans", "--split", "all", "--prune")
    assert (pruned["removed"], pruned["points"]) == (1, 11)
    assert report(corpus.folder, "-c", "scans", "--prune")["points"] == 7


def test_splits_are_chosen(corpus, model):
    assert report(corpus.folder, "-m", model.path, "-c", "a", "--split", "val,test")["added"] == 4
    everything = report(corpus.folder, "-m", model.path, "-c", "b", "--split", "all")
    assert (everything["added"], everything["left_out"]) == (12, {})


def test_two_corpora_in_one_collection(corpus, model, tmp_path):
    report(corpus.folder, "-m", model.path, "-c", "scans")
    other = Drawn(tmp_path / "other", [draw_record(number) for number in range(5)]).write()
    both = report(other.folder, "-c", "scans", "--prune")
    assert (both["added"], both["removed"], both["points"]) == (5, 0, 13)
    assert report(other.folder, "-c", "scans", "--dry-run")["points"] == 13


def test_another_corpus_of_the_same_name_is_refused(corpus, model, tmp_path):
    report(corpus.folder, "-m", model.path, "-c", "scans")
    namesake = Drawn(tmp_path / "elsewhere" / "drawn", corpus.records)
    namesake.folder.parent.mkdir()
    namesake.write()
    result = index(namesake.folder, "-c", "scans", code=2)
    assert "has another corpus named 'drawn', from" in result.stderr
    corpus.folder.rename(tmp_path / "gone")
    assert report(namesake.folder, "-c", "scans")["unchanged"] == 8


def test_unreadable_images_are_named_and_the_others_done(corpus, model):
    corpus.image(1).write_bytes(b"")
    corpus.image(6).unlink()
    result = index(corpus.folder, "-m", model.path, "-c", "scans", "--json", code=3)
    outcome = json.loads(result.stdout)
    assert (outcome["added"], outcome["points"]) == (6, 6)
    assert [failure["id"] for failure in outcome["failed"]] == [corpus.records[1].id, corpus.records[6].id]
    for number in (1, 6):
        assert f"{corpus.image(number)}: no image data" in result.stderr
    corpus.image(1).write_bytes(b"mended")
    assert report(corpus.folder, "-c", "scans", code=3)["added"] == 1


def test_many_unreadable_images_are_counted(corpus, model, monkeypatch):
    monkeypatch.setattr("medclip_cli.commands.index.NAMED_FAILURES", 1)
    for number in range(1, 4):
        corpus.image(number).write_bytes(b"")
    result = index(corpus.folder, "-m", model.path, "-c", "scans", code=3)
    assert "... and 2 more; --json names them all" in result.stderr


def test_not_one_readable_image_is_a_failure(corpus, model):
    for number in range(8):
        corpus.image(number).write_bytes(b"")
    result = index(corpus.folder, "-m", model.path, "-c", "scans", code=1)
    assert "none of the 8 images could be read (the first: " in result.stderr
    assert result.stderr.endswith(", clean again\n")


def test_an_interrupted_run_goes_on(corpus, model, monkeypatch):
    monkeypatch.setattr("medclip_cli.vector_index.sync._POINTS_PER_UPSERT", 2)
    model.interrupt_after = 5
    result = index(corpus.folder, "-m", model.path, "-c", "scans", code=130)
    assert "stopped after 4 of 8 images: index again to go on from there" in result.stderr
    model.interrupt_after = None
    result = index(corpus.folder, "-m", model.path, "-c", "scans", "--json")
    assert "Resuming an interrupted run" in result.stderr
    outcome = json.loads(result.stdout)
    assert (outcome["added"], outcome["unchanged"], outcome["points"]) == (4, 4, 8)


def test_another_model_needs_a_rebuild(corpus, model, tmp_path):
    report(corpus.folder, "-m", model.path, "-c", "scans")
    model.fingerprint = "fedcba9876543210"
    result = index(corpus.folder, "-m", tmp_path / "other", "-c", "scans", code=1)
    for part in ("'model'", "0123456789abcdef", "'other'", "fedcba9876543210", "rebuild"):
        assert part in result.stderr
    assert report(corpus.folder, "-m", tmp_path / "other", "-c", "scans", "--rebuild")["added"] == 8


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--split", "dev"), 2, "split 'dev' is not one of train, val, test, or all"),
        (("--collection", "../up"), 2, "not a valid collection name"),
    ],
)
def test_wrong_usage(corpus, model, arguments, code, message):
    assert message in index(corpus.folder, "--model", model.path, *arguments, code=code).stderr


def test_the_library_prints_nothing_and_reports_progress(corpus, model, tmp_path, capfd):
    reports = []
    found = indexer.index(
        str(corpus.folder),
        model=model,
        collection="scans",
        home=tmp_path / "home",
        on_progress=reports.append,
    )
    assert (found.added, found.to_dict()["splits"]) == (8, ("train",))
    assert "unreadable" in found._repr_html_()
    assert [(one.stage, one.done, one.total) for one in reports[:9]] == [
        ("Embedding", done, 8) for done in range(9)
    ]
    assert all(one.stage.startswith("Finishing: ") for one in reports[9:])
    again = indexer.index(Corpus.open(corpus.folder), collection="scans", home=str(tmp_path / "home"))
    assert (again.added, again.unchanged) == (0, 8)
    assert capfd.readouterr() == ("", "")


def test_a_new_collection_needs_a_model(corpus, model):
    result = index(corpus.folder, "-c", "new", code=2)
    assert "(no collection 'new' in" in result.stderr


def test_stages_of_the_end_are_told(corpus, model):
    result = index(corpus.folder, "-m", model.path, "--verbose")
    assert "optimising 8 points" in result.stderr
    assert "counting and checksumming" in result.stderr


def test_stages_are_shown_on_a_terminal(corpus, model, monkeypatch):
    screen = Console(file=io.StringIO(), force_terminal=True)
    monkeypatch.setattr(console, "stderr", functools.cache(lambda: screen))
    index(corpus.folder, "-m", model.path)
    assert "Finishing" in screen.file.getvalue()


def test_the_model_of_the_settings_is_used(corpus, model, monkeypatch):
    monkeypatch.setenv("MEDCLIP_MODEL", str(model.path))
    assert report(corpus.folder)["collection"] == "default"


def test_a_split_the_corpus_has_not(corpus, model):
    corpus.records = corpus.records[:8]
    corpus.write()
    result = index(corpus.folder, "-m", model.path, "--split", "val", code=1)
    assert "has no val split, only train" in result.stderr


def test_an_empty_corpus(corpus, model):
    corpus.records = []
    corpus.write()
    assert "is empty: see its rejected.csv" in index(corpus.folder, "-m", model.path, code=1).stderr


def test_a_folder_that_is_no_corpus_is_cleaned_first(tmp_path, model):
    folder = tmp_path / "scans"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(12):
        pixels = rng.integers(0, 255, (64, 64), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(f"a chest radiograph, number {number}")
    (folder / "broken.png").write_bytes(b"")
    (folder / "broken.txt").write_text("a broken one")
    result = index(folder, "-m", model.path, "-c", "own", "--json")
    assert "is not a corpus: cleaning it into" in result.stderr
    assert "Kept 12 of 13 images (unreadable_image 1)." in result.stderr
    outcome = json.loads(result.stdout)
    assert (outcome["added"], outcome["left_out"]) == (12, {})
    reports = []
    assert indexer.index(folder, collection="own", on_progress=reports.append).unchanged == 12
    assert reports[0].stage == "Decoding"


def test_a_missing_folder_is_one_line(tmp_path, model):
    result = index(tmp_path / "nowhere", "-m", model.path, code=1)
    assert result.stderr.count("\n") == 1
    assert "no corpus at" in result.stderr


class TestOnAServer:
    """The same command with ``--url``; qdrant-client's in-memory Qdrant stands in for the server."""

    pytestmark = [
        pytest.mark.filterwarnings("ignore:Local mode performs exact:UserWarning"),
        pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
    ]
    URL = "http://qdrant.example:6333"

    @pytest.fixture(autouse=True)
    def memory(self, home, monkeypatch):
        memory = InMemoryServer(home)
        monkeypatch.setattr(store, "_connect", lambda url: memory.server)
        return memory

    def test_index_again_and_list(self, corpus, model):
        first = report(corpus.folder, "-m", model.path, "-c", "scans", "--url", self.URL, "--split", "all")
        assert (first["added"], first["points"], first["in_place"]) == (12, 12, True)
        again = report(corpus.folder, "-c", "scans", "--url", self.URL, "--prune")
        assert (again["added"], again["unchanged"], again["removed"], again["points"]) == (0, 8, 4, 8)
        listed = CliRunner().invoke(app, ["collections", "list", "--url", self.URL, "--json"])
        assert [one["points"] for one in json.loads(listed.stdout)] == [8]

    def test_parts_of_a_whole(self, corpus, model):
        options = ("-m", model.path, "-c", "scans", "--url", self.URL, "--shard")
        first = index(corpus.folder, *options, "1/2", "--json")
        second = json.loads(index(corpus.folder, *options, "2/2", "--json").stdout)
        assert json.loads(first.stdout)["in_place"] is False
        assert json.loads(first.stdout)["added"] + second["added"] == 8
        assert (second["in_place"], second["points"]) == (True, 8)

    def test_a_part_that_is_not_the_last_says_so(self, corpus, model):
        result = index(corpus.folder, "-m", model.path, "--url", self.URL, "--shard", "1/2")
        assert "Not live yet" in result.stderr

    def test_the_url_of_the_environment_is_named_without_its_password(self, corpus, model, monkeypatch):
        monkeypatch.setenv("MEDCLIP_QDRANT_URL", "http://lab:geheim@qdrant.example:6333?api_key=geheim")
        result = index(corpus.folder, "-m", model.path, "-c", "scans")
        assert result.stderr.count("using the Qdrant server http://lab:***@qdrant.example:6333") == 1
        assert "geheim" not in result.stderr + result.stdout
        assert not (load_settings().home / "collections").exists()

    def test_offline_and_a_server_exclude_each_other(self, corpus, model, monkeypatch):
        monkeypatch.setenv("MEDCLIP_QDRANT_URL", "http://lab:geheim@qdrant.example:6333")
        result = index(corpus.folder, "-m", model.path, "--offline", code=2)
        assert "lab:***@qdrant.example:6333 (MEDCLIP_QDRANT_URL)" in result.stderr

    def test_verify_show_and_drop(self, corpus, model):
        report(corpus.folder, "-m", model.path, "-c", "scans", "--url", self.URL)
        for command in ("verify", "show"):
            result = CliRunner().invoke(app, ["collections", command, "scans", "--url", self.URL])
            assert result.exit_code == 0, result.stderr
        CliRunner().invoke(app, ["collections", "drop", "scans", "--yes", "--url", self.URL])
        result = CliRunner().invoke(app, ["collections", "show", "scans", "--url", self.URL])
        assert "no collection 'scans' at" in result.stderr


@pytest.mark.parametrize("part", ["3/2", "0/2", "1", "a/b", "1/2/3"])
def test_what_is_no_part_of_a_whole(corpus, model, part):
    result = index(corpus.folder, "-m", model.path, "--shard", part, code=2)
    assert repr(part) in result.stderr


def test_parts_need_a_server(corpus, model):
    result = index(corpus.folder, "-m", model.path, "--shard", "1/2", code=2)
    assert "needs a Qdrant server" in result.stderr


def test_the_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MEDCLIP_QDRANT_API_KEY", "secret")
    connection = store._connect("http://127.0.0.1:1")
    assert connection.client.init_options["api_key"] == "secret"
    connection.close()
