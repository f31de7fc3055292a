"""`medclip corpus`: show, merge, export."""

from __future__ import annotations

import csv
import io
import json
import tarfile
from pathlib import Path

from typer.testing import CliRunner, Result

from medclip_cli.commands.corpus import app
from medclip_cli.corpora.corpus_folder import Corpus, write_corpus
from medclip_cli.corpora.merging import NONE, REST, describe_corpus
from medclip_cli.errors import MedclipError
from medclip_cli.records import CaptionedImage
from medclip_cli.terminal import console
from tests.medclip_cli.cleaning.drawn import draw
from tests.medclip_cli.corpora.drawn import record
from tests.medclip_cli.corpora.test_clean_command import run as clean


def run(*arguments: object) -> Result:
    console.show_log()
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def refusal(*arguments: object) -> str:
    result = run(*arguments)
    assert isinstance(result.exception, MedclipError), result.output
    return str(result.exception)


def corpus(path: Path, *records: CaptionedImage, root: Path | None = None) -> Corpus:
    root = root or path.parent / f"{path.name}-raw"
    for seed, one in enumerate(records):
        if not (root / one.image).exists():
            draw(root / one.image, seed=seed + 10 * len(path.name))
    return write_corpus(
        path,
        name=path.name,
        image_root=root,
        caption_style="report",
        records=records,
        rejected=[],
        report={"licence": "none"},
    )


def test_show_counts_everything(tmp_path: Path) -> None:
    records = (
        record(0, view="Axial", findings=("Mass", "Edema"), sha256="a" * 64),
        record(1, split="val", findings=("Mass",), sha256="a" * 64, caption="a mass", captions=("a mass",)),
        record(2, modality="MR", group="case1", split="val"),
    )
    corpus(tmp_path / "c", *records)
    described = json.loads(run("show", tmp_path / "c", "--json", "--samples", 2).stdout)
    assert (described["images"], described["groups"], described["duplicate_images"]) == (3, 2, 1)
    assert described["splits"]["val"] == {"images": 2, "groups": 1}
    assert described["modalities"] == {"CT": 2, "MR": 1}
    assert described["views"] == {NONE: 2, "Axial": 1}
    assert described["findings"] == {"Mass": 2, "Edema": 1}
    assert described["caption_words"] == {"shortest": 2, "median": 5, "mean": 4, "longest": 5}
    # a, drawn, scan, number, 0, 2, mass
    assert (described["vocabulary"], described["different_captions"]) == (7, 3)
    assert len(described["samples"]) == 2


def test_show_as_tables(tmp_path: Path) -> None:
    corpus(tmp_path / "c", record(0), record(1, split="test"))
    result = run("show", tmp_path / "c")
    assert result.exit_code == 0
    assert "words of a caption  5 to 5, median 5" in result.stdout
    assert "drawn/1  test   CT        a drawn scan number 1" in result.stdout


def test_many_values_end_in_a_rest_and_none_is_no_error(tmp_path: Path) -> None:
    many = corpus(tmp_path / "c", *(record(n, region=f"region {n}") for n in range(25)))
    assert describe_corpus(many)["regions"][REST] == 5
    empty = describe_corpus(corpus(tmp_path / "empty"))
    assert (empty["images"], empty["caption_words"]["longest"], empty["samples"]) == (0, 0, [])


def test_the_page_escapes_and_does_without_a_picture(tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script>"
    made = corpus(tmp_path / "c", record(0, caption=hostile, captions=(hostile,), view=hostile), record(1))
    made.image_path(made.records[1]).unlink()
    result = run("show", tmp_path / "c", "--html", tmp_path / "page.html")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert page.count("data:image/jpeg;base64,") == 1
    assert "cannot write" in refusal("show", tmp_path / "c", "--html", tmp_path / "no" / "page.html")


def test_merge_keeps_ids_unique_and_images_found(tmp_path: Path) -> None:
    corpus(tmp_path / "a", record(0), record(1, split="val"))
    corpus(tmp_path / "b", record(0, caption="other", captions=("other",), group="b0"), record(5, group="b5"))
    result = run("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "both", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["read"], report["kept"], report["renamed"], report["rejected"]) == (4, 4, 1, {})
    both = Corpus.open(tmp_path / "both")
    assert [one.id for one in both.records] == ["drawn/0", "drawn/1", "drawn/0#2", "drawn/5"]
    assert both.image_root == tmp_path
    assert all(both.image_path(one).is_file() for one in both.records)


def test_merge_keeps_groups_whole_and_out_of_training(tmp_path: Path) -> None:
    corpus(tmp_path / "a", record(0, group="g"), record(1, group="h", split="val"))
    corpus(tmp_path / "b", record(2, group="g", split="test"), record(3, group="h"))
    report = json.loads(
        run("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c", "--json").stdout
    )
    assert report["moved_to_keep_groups_whole"] == 2
    assert report["leaks"]["groups"] == 0
    assert {one.id: one.split for one in Corpus.open(tmp_path / "c").records} == {
        "drawn/0": "test",
        "drawn/1": "val",
        "drawn/2": "test",
        "drawn/3": "val",
    }


def test_merge_finds_what_comes_twice_and_what_leaks(tmp_path: Path) -> None:
    for name, split in (("a", "train"), ("bb", "test")):
        draw(tmp_path / name / split / "same.png", seed=1)
        (tmp_path / name / split / "same.txt").write_text("one caption")
        draw(tmp_path / name / split / f"{name}.png", seed=2, size=(96, 80) if name == "a" else (144, 120))
        (tmp_path / name / split / f"{name}.txt").write_text(f"caption of {name}")
        assert clean("folder", tmp_path / name, "--out", tmp_path / f"{name}-corpus").exit_code == 0
    result = run("merge", tmp_path / "a-corpus", tmp_path / "bb-corpus", "--out", tmp_path / "c")
    assert result.exit_code == 0, result.output
    assert "duplicate_row     1" in result.stdout
    assert "0 exact and 1 near-duplicate images" in result.stderr
    assert "the same image and caption" in (tmp_path / "c" / "rejected.csv").read_text()


def test_merge_again_and_again(tmp_path: Path) -> None:
    one = corpus(tmp_path / "a", record(0), record(1, id="drawn/0#2"))
    corpus(tmp_path / "b", record(0, caption="b", captions=("b",)), root=one.image_root)
    assert run("merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c").exit_code == 0
    ids = [row.id for row in Corpus.open(tmp_path / "c").records]
    assert ids == ["drawn/0", "drawn/0#2", "drawn/0#3"]
    assert "exists: replace it with force" in refusal(
        "merge", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c"
    )
    assert "needs two corpora" in refusal("merge", tmp_path / "a", "--out", tmp_path / "d")


def test_export_as_json_lines_and_csv(tmp_path: Path) -> None:
    corpus(tmp_path / "c", record(0, findings=("Mass", "Edema"), age=3.5), record(1, split="val"))
    lines = [json.loads(line) for line in run("export", tmp_path / "c").stdout.splitlines()]
    assert [line["id"] for line in lines] == ["drawn/0", "drawn/1"]
    assert (lines[0]["findings"], lines[0]["age"]) == (["Mass", "Edema"], 3.5)
    out = tmp_path / "c.csv"
    result = run("export", tmp_path / "c", "--format", "csv", "--split", "train", "--out", out)
    assert "1 rows" in result.stderr
    (row,) = csv.DictReader(io.StringIO(out.read_text()))
    assert (row["id"], row["findings"], row["view"]) == ("drawn/0", "Mass|Edema", "")
    assert "cannot write" in refusal("export", tmp_path / "c", "--out", tmp_path / "no" / "x.jsonl")
    assert "split 'dev' is not one of" in refusal("export", tmp_path / "c", "--split", "dev")


def test_webdataset_there_and_back(tmp_path: Path) -> None:
    records = [
        record(n, split="train" if n < 3 else "val", view="Axial", group=f"p{n % 2}") for n in range(5)
    ]
    made = corpus(tmp_path / "c", *records)
    result = run(
        "export", tmp_path / "c", "--format", "webdataset", "--out", tmp_path / "s", "--shard-size", 2
    )
    assert result.exit_code == 0, result.output
    shards = sorted(path.name for path in (tmp_path / "s").iterdir())
    assert shards == ["train-000000.tar", "train-000001.tar", "val-000000.tar"]
    with tarfile.open(tmp_path / "s" / "train-000001.tar") as tar:
        assert tar.getnames() == ["00000002.png", "00000002.json"]
    assert clean("webdataset", tmp_path / "s", "--out", tmp_path / "again").exit_code == 0
    again = Corpus.open(tmp_path / "again")
    assert sorted((r.caption, r.split, r.view, r.group) for r in again.records) == sorted(
        (r.caption, r.split, r.view, f"again/{r.group}") for r in made.records
    )
    contents = [{(c.image_path(r)).read_bytes() for r in c.records} for c in (made, again)]
    assert contents[0] == contents[1]


def test_exports_that_fail(tmp_path: Path) -> None:
    made = corpus(tmp_path / "c", record(0))
    arguments = ("export", tmp_path / "c", "--format", "webdataset")
    assert "need a folder: give --out" in refusal(*arguments)
    made.image_path(made.records[0]).unlink()
    message = refusal(*arguments, "--out", tmp_path / "s")
    assert "failed (No such file" in message
    assert message.endswith(f"if the images moved from {made.image_root}, clean again")
    (tmp_path / "file").touch()
    assert refusal(*arguments, "--out", tmp_path / "file").endswith("export again")
