"""The corpus folder: written whole, read back equal, refused with one line when something is wrong."""

from __future__ import annotations

import errno
import json
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from medclip_cli.corpora.corpus_folder import Corpus, leaves_root, write_corpus
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.records import CaptionedImage, Rejection
from tests.medclip_cli.cleaning.drawn import draw
from tests.medclip_cli.corpora.drawn import record

FULL = record(
    7,
    captions=("a drawn scan number 7", "another wording"),
    view="Axial",
    region="Brain",
    category="Trauma",
    findings=("Edema", "Mass"),
    age=0.0833,
    sex="F",
    split="val",
    sha256="ab" * 32,
    dhash="0123456789abcdef",
)


def write(
    path: Path, records: list[CaptionedImage], *, force: bool = False, root: Path | None = None
) -> Corpus:
    return write_corpus(
        path,
        name="drawn",
        image_root=root or path.parent / "raw",
        caption_style="report",
        records=records,
        rejected=[Rejection("drawn/9", "images/9.png", "missing_image", "no such file")],
        report={"read": len(records) + 1},
        force=force,
    )


def test_records_come_back_equal(tmp_path: Path) -> None:
    records = [record(0), FULL]
    written = write(tmp_path / "corpus", records)
    opened = Corpus.open(tmp_path / "corpus")
    assert opened.records == written.records == tuple(records)
    assert (opened.name, opened.image_root, opened.report) == ("drawn", tmp_path / "raw", written.report)
    with pytest.raises(UsageError, match="'dev'"):
        opened.split("dev")
    assert written.split("val") == (FULL,)
    assert written.name == "drawn"
    assert written.report["read"] == 3
    assert (tmp_path / "corpus" / "rejected.csv").read_text() == (
        "id,image,reason,detail\ndrawn/9,images/9.png,missing_image,no such file\n"
    )


def test_image_root_moves_along_when_it_lies_beside_the_corpus(tmp_path: Path) -> None:
    write(tmp_path / "here" / "corpus", [record()], root=tmp_path / "here" / "raw")
    (tmp_path / "here").rename(tmp_path / "there")
    corpus = Corpus.open(tmp_path / "there" / "corpus")
    assert corpus.image_path(corpus.records[0]) == tmp_path / "there" / "raw" / "images" / "0.png"


def test_image_root_elsewhere_is_absolute(tmp_path: Path) -> None:
    write(tmp_path / "a" / "corpus", [record()], root=tmp_path / "b" / "raw")
    report = json.loads((tmp_path / "a" / "corpus" / "report.json").read_text())
    assert report["image_root"] == (tmp_path / "b" / "raw").as_posix()


def test_existing_output_needs_force(tmp_path: Path) -> None:
    write(tmp_path / "corpus", [record(0)])
    with pytest.raises(CorpusError, match="exists: replace it"):
        write(tmp_path / "corpus", [record(1)])
    assert Corpus.open(tmp_path / "corpus").records == (record(0),)
    write(tmp_path / "corpus", [record(1)], force=True)
    assert Corpus.open(tmp_path / "corpus").records == (record(1),)
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]


def test_force_never_replaces_a_folder_of_other_things(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(CorpusError, match="holds 'thesis.tex'"):
        write(tmp_path / "home", [record()], force=True)
    assert (tmp_path / "home" / "thesis.tex").read_text() == "years of work"


def test_output_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "corpus").write_text("a note")
    with pytest.raises(CorpusError, match="exists and is not a folder"):
        write(tmp_path / "corpus", [record()], force=True)


def test_failed_write_leaves_the_old_corpus(tmp_path: Path) -> None:
    write(tmp_path / "corpus", [record(0)])

    def rejected_on_a_full_disk():  # type: ignore[no-untyped-def]
        yield Rejection("drawn/9", "images/9.png", "missing_image")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CorpusError, match=r"cannot write .*No space left on device.*nothing was changed"):
        write_corpus(
            tmp_path / "corpus",
            name="drawn",
            image_root=tmp_path,
            caption_style="report",
            records=[record(1)],
            rejected=rejected_on_a_full_disk(),
            report={},
            force=True,
        )
    assert Corpus.open(tmp_path / "corpus").records == (record(0),)
    assert [entry.name for entry in tmp_path.iterdir()] == ["corpus"]


def test_read_only_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CorpusError, match=r"^cannot write .*Read-only file system"):
        write(tmp_path / "corpus", [record()])


def test_opening_nothing(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no corpus at .*: make one with medclip clean"):
        Corpus.open(tmp_path / "corpus")
    (tmp_path / "corpus").mkdir()
    with pytest.raises(CorpusError, match=r"no report\.json"):
        Corpus.open(tmp_path / "corpus")


def test_opening_an_incomplete_corpus(tmp_path: Path) -> None:
    write(tmp_path / "corpus", [record()])
    (tmp_path / "corpus" / "corpus.parquet").unlink()
    with pytest.raises(CorpusError, match=r"has no corpus\.parquet: clean again"):
        Corpus.open(tmp_path / "corpus")


@pytest.mark.parametrize("text", ["{", "[]", '{"name": "x"}'])
def test_opening_a_damaged_report(tmp_path: Path, text: str) -> None:
    write(tmp_path / "corpus", [record()])
    (tmp_path / "corpus" / "report.json").write_text(text)
    with pytest.raises(CorpusError, match=r"report\.json (cannot be read|is not a corpus report)"):
        Corpus.open(tmp_path / "corpus")


def test_opening_a_newer_format(tmp_path: Path) -> None:
    write(tmp_path / "corpus", [record()])
    file = tmp_path / "corpus" / "report.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format_version": 99}))
    with pytest.raises(CorpusError, match="has format 99, this medclip reads 1"):
        Corpus.open(tmp_path / "corpus")


def test_opening_a_damaged_table(tmp_path: Path) -> None:
    write(tmp_path / "corpus", [record()])
    (tmp_path / "corpus" / "corpus.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(CorpusError, match="cannot be read as a corpus table"):
        _ = Corpus.open(tmp_path / "corpus").records


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "holdout"}, "split 'holdout' is not one of train, val, test"),
        ({"modality": "MRI"}, "modality 'MRI' is not one of CT, MR"),
        ({"image": "../secret.png"}, "leaves the image root"),
        ({"caption": ""}, "id, group or caption is empty"),
        ({"id": "drawn/0"}, "its id is used twice"),
    ],
)
def test_a_table_that_breaks_the_schema(tmp_path: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(CorpusError, match=f"row 1: .*{message}"):
        write(tmp_path / "corpus", [record(0), replace(record(1), **changes)])
    assert not (tmp_path / "corpus").exists()


def test_a_corpus_can_be_walked_through_again_and_again(tmp_path: Path) -> None:
    written = write(tmp_path / "corpus", [record(0), FULL])
    corpus = Corpus.open(tmp_path / "corpus")
    assert [*corpus.walk()] == [*corpus.walk()] == [*written.records]
    assert corpus.image_path(FULL) == written.image_path(FULL)


def test_walking_reads_no_further_than_it_is_followed(tmp_path: Path) -> None:
    write(tmp_path / "corpus", [record(0), record(1)])
    file = tmp_path / "corpus" / "corpus.parquet"
    table = pq.read_table(file)
    pq.write_table(pa.concat_tables([table, table.slice(0, 1)]), file)
    rows = Corpus.open(tmp_path / "corpus").walk()
    assert [next(rows), next(rows)] == [record(0), record(1)]
    with pytest.raises(CorpusError, match="row 2: its id is used twice"):
        next(rows)


def test_a_table_of_another_program(tmp_path: Path) -> None:
    write(tmp_path / "corpus", [record()])
    needed = {"id": "x/1", "image": "1.png", "caption": "c", "modality": "MR", "group": "g", "split": "test"}
    table = pa.table({name: [value] for name, value in {**needed, "source": "x", "extra": 1}.items()})
    pq.write_table(table, tmp_path / "corpus" / "corpus.parquet")
    (read,) = Corpus.open(tmp_path / "corpus").records
    assert (read.captions, read.findings, read.view, read.licence) == (("c",), (), None, "")
    pq.write_table(table.drop_columns(["group"]), tmp_path / "corpus" / "corpus.parquet")
    with pytest.raises(CorpusError, match="has no column 'group': it has id, image"):
        _ = Corpus.open(tmp_path / "corpus").records


def test_in_a_notebook(tmp_path: Path) -> None:
    draw(tmp_path / "raw" / "images" / "0.png")
    opened = write(tmp_path / "corpus", [record(0, caption="<b>", captions=("<b>",)), FULL])
    frame = opened.to_pandas()
    assert list(frame.columns) == [field.name for field in fields(CaptionedImage)]
    assert frame["findings"].tolist() == [(), ("Edema", "Mass")]
    html = opened._repr_html_()
    assert '<th scope="row">val</th>' in html
    assert html.count("<img") == 1 and "data:image/jpeg;base64," in html and "&lt;b&gt;" in html


@pytest.mark.parametrize(
    "path", ["", "/etc/x.png", "../x.png", "a/../../x.png", "a\\..\\x", "C:/x.png", "a\0b"]
)
def test_paths_that_leave_the_root(path: str) -> None:
    assert leaves_root(path)


@pytest.mark.parametrize("path", ["x.png", "a/b/x.png", "a..b/x..png", "a/.hidden/x.png"])
def test_paths_inside_the_root(path: str) -> None:
    assert not leaves_root(path)
