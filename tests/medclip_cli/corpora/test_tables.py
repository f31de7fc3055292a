"""Tables in the encodings, separators and states of repair that people publish them in."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path

import pytest

from medclip_cli.corpora import tables
from medclip_cli.corpora.tables import columns_of, read_json, read_lines, read_table
from medclip_cli.errors import CorpusError
from medclip_cli.extras import MissingExtraError


def cells(path: Path, **options: object) -> list[dict[str, str]]:
    return [row.cells for row in read_table(path, **options)]  # type: ignore[arg-type]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "t.csv").write_bytes("Image,Caption\na.png,Ménière’s disease\n".encode(encoding))
    assert cells(tmp_path / "t.csv") == [{"image": "a.png", "caption": "Ménière’s disease"}]


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz"])
def test_gzip_by_content_not_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(gzip.compress(b"image,caption\na.png,x\n"))
    assert cells(tmp_path / name) == [{"image": "a.png", "caption": "x"}]


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators_and_line_ends(tmp_path: Path, delimiter: str, newline: str) -> None:
    lines = [delimiter.join(("image", "caption")), delimiter.join(("a.png", '"two ""words"""')), ""]
    (tmp_path / "t.csv").write_bytes(newline.join(lines).encode())
    assert cells(tmp_path / "t.csv") == [{"image": "a.png", "caption": 'two "words"'}]


def test_headers_without_regard_to_case_and_without_empty_ones(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(",IMAGE, Caption ,Unnamed: 3,\n0,a.png,x,y,\n")
    assert cells(tmp_path / "t.csv") == [{"image": "a.png", "caption": "x"}]
    assert columns_of(tmp_path / "t.csv") == ["image", "caption"]


def test_no_header_no_quotes(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('ROCO_1\t a "quoted caption\nROCO_2\t more\n')
    assert cells(tmp_path / "t.csv", columns=("id", "caption"), delimiter="\t", quoted=False) == [
        {"id": "ROCO_1", "caption": ' a "quoted caption'},
        {"id": "ROCO_2", "caption": " more"},
    ]


def test_rows_that_cannot_be_read_come_back_with_their_fault(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("image,caption\na.png,x,extra\nb.png\nc.png,x,,\n")
    rows = list(read_table(tmp_path / "t.csv"))
    assert [(row.number, row.fault) for row in rows] == [(2, "3 cells under 2 headers"), (3, None), (4, None)]
    assert rows[1].cells == {"image": "b.png", "caption": ""}
    assert columns_of(tmp_path / "t.csv") == ["image", "caption"]


@pytest.mark.parametrize(
    ("rest", "line"),
    [
        ('b.png,"oops\nc.png,y\nd.png,z\n', 3),
        ('b.png,"oops', 3),
        ('b.png,"oops\nc.png,"y, z"\nd.png,z\n', 3),  # closed by the next quote, in the middle of a cell
        ('b.png,"oops\nc.png,"also\nd.png,z\n', 3),
        ('b.png,"two\nlines"\nc.png,"oops\n', 5),
        ('b.png,"oops\n' + "c" * (tables.MAX_CELL + 10) + "\nd.png,y\n", 3),
    ],
)
def test_an_unclosed_quote_names_its_line(tmp_path: Path, rest: str, line: int) -> None:
    (tmp_path / "t.csv").write_text("image,caption\na.png,x\n" + rest)
    with pytest.raises(CorpusError, match=rf"t\.csv, line {line}: a quote is opened there and not closed"):
        list(read_table(tmp_path / "t.csv"))


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ('"two\nlines, ""quoted"""', 'two\nlines, "quoted"'),
        ('5" wide', '5" wide'),
        ('"a" b', "a b"),
        ('""', ""),
    ],
)
@pytest.mark.parametrize("end", ["\n", ""])
def test_quotes_that_are_closed(tmp_path: Path, cell: str, text: str, end: str) -> None:
    (tmp_path / "t.csv").write_text(f"image,caption\na.png,{cell}\nb.png,{cell}{end}")
    assert [row["caption"] for row in cells(tmp_path / "t.csv")] == [text, text]


def test_a_cell_too_large_is_a_fault_of_its_row(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"image,caption\na.png,{'c' * (tables.MAX_CELL + 1)}\nb.png,y\n")
    assert [row.fault is None for row in read_table(tmp_path / "t.csv")] == [False, True]


def test_columns_of_json_lines_are_those_of_all_records(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"image": "a"}\n[1]\n{"Split": "train", "image": "b"}\n')
    assert columns_of(tmp_path / "t.jsonl") == ["image", "split"]


def test_json_lines(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"Image": "a.png", "caption": ["x", "y"]}\n\n{broken\n[1]\n')
    rows = list(read_table(tmp_path / "t.jsonl"))
    assert rows[0].get("image") == "a.png"
    assert rows[0].raw("nothing", "caption") == ["x", "y"]
    assert [(row.number, row.fault) for row in rows[1:]] == [
        (3, "not a line of JSON"),
        (4, "not a JSON object"),
    ]


def test_a_json_list_of_rows(tmp_path: Path) -> None:
    (tmp_path / "t.json").write_text('[{"image": "a.png"}, 7]')
    assert [row.fault for row in read_table(tmp_path / "t.json")] == [None, "not a JSON object"]


def test_excel_under_a_csv_name(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="the excel extra is not installed")
    book = openpyxl.Workbook()
    book.active.append(["Image", "Age", None])
    book.active.append(["a.png", 42, None])
    book.save(tmp_path / "t.xlsx")
    (tmp_path / "t.xlsx").rename(tmp_path / "t.csv")
    (row,) = read_table(tmp_path / "t.csv")
    assert (row.get("image"), row.get("age")) == ("a.png", "42")


def test_excel_without_its_reader_or_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t.xlsx").write_bytes(b"PK\x03\x04 and nothing more")
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match="openpyxl"):
        list(read_table(tmp_path / "t.xlsx"))
    monkeypatch.undo()
    pytest.importorskip("openpyxl", reason="the excel extra is not installed")
    with pytest.raises(CorpusError, match="cannot be read as Excel"):
        list(read_table(tmp_path / "t.xlsx"))


def test_files_that_are_not_there_or_not_whole(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"there is no .*t\.csv"):
        list(read_table(tmp_path / "t.csv"))
    with pytest.raises(CorpusError, match=r"there is no .*t\.json"):
        read_json(tmp_path / "t.json")
    with pytest.raises(CorpusError, match=r"cannot be read \("):
        list(read_table(tmp_path))
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"image,caption\n" * 1000)[:-30])
    with pytest.raises(CorpusError, match="cannot be read .*download it again"):
        list(read_table(tmp_path / "t.csv.gz"))
    (tmp_path / "t.json").write_text("{")
    with pytest.raises(CorpusError, match="is not JSON"):
        read_json(tmp_path / "t.json")


def test_a_header_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('"' + "x" * (tables.MAX_CELL + 1))
    with pytest.raises(CorpusError, match="has no header line that can be read"):
        list(read_table(tmp_path / "t.csv"))


def test_lines_without_a_final_newline(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(b"a.png\r\n\r\nb.png")
    assert read_lines(tmp_path / "list.txt") == ["a.png", "b.png"]


def test_the_limit_of_a_cell_does_not_depend_on_what_else_was_read(tmp_path: Path) -> None:
    """The csv module has one limit for the whole process; scoring reads longer captions than tables hold."""
    from medclip_cli.scoring.score import score

    predictions = tmp_path / "predictions.csv"
    predictions.write_text("id,prediction,references\n1,a mass,a mass\n")
    score(predictions, resamples=0, meteor=False)
    test_a_cell_too_large_is_a_fault_of_its_row(tmp_path)
