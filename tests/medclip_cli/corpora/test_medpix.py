"""MedPix, the first scrape: the seed's tables and the raw sheet."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import medpix
from tests.medclip_cli.corpora.reading import rows_of, write
from tests.medclip_cli.corpora.test_clean_command import run


def test_ten_columns_in_cp1252(tmp_path: Path) -> None:
    medpix.draw(tmp_path)
    rows = rows_of("medpix", tmp_path)
    ear, rib, second = rows["synpic1"], rows["synpic2"], rows["synpic3"]
    assert ear.image == "images/synpic1.jpg"
    assert (ear.modality, ear.region, ear.category) == ("MR", "Head and Neck", "Vascular")
    assert ear.words["diagnosis"] == "Ménière’s disease"
    assert (rib.modality, rib.region, rib.texts["report"]) == ("XR", None, ("#NAME?",))
    # No case in this table: images of one diagnosis stay together.
    assert rib.group == second.group == "rib fracture"
    assert rows["line5"].fault == ("malformed_row", "no image named")


def test_excel_damage_is_counted_under_report_and_not_in_the_template(tmp_path: Path) -> None:
    medpix.draw(tmp_path)
    report = json.loads(run("medpix", tmp_path, "--dry-run", "--json", "--caption", "report").stdout)
    assert report["rejected"] == {"malformed_row": 1, "placeholder_caption": 1}
    seed = json.loads(run("medpix", tmp_path, "--dry-run", "--json").stdout)
    assert (seed["caption_style"], seed["rejected"]) == ("medpix-seed", {"malformed_row": 1})


def test_thirteen_columns(tmp_path: Path) -> None:
    header = medpix.TEN.replace("\n", ",Plane,Patient_Age,Patient_Gender\n")
    write(tmp_path / "dataset.csv", header + "D,C,CT,CT,Glioma,,Brain,,,synpic1.jpg,Axial,58, male\n")
    (row,) = rows_of("medpix", tmp_path).values()
    assert (row.view, row.age, row.sex, row.words["age"]) == ("Axial", 58.0, "M", "58")


@pytest.mark.parametrize("kind", ["csv", "xlsx"])
def test_the_raw_sheet(tmp_path: Path, kind: str) -> None:
    lines = [medpix.COLUMNS_34, medpix.raw_row(), medpix.raw_row(ID="synpic8", Image_URL="", Demographics="")]
    if kind == "csv":
        with (tmp_path / "sheet.csv").open("w", newline="") as file:
            csv.writer(file).writerows(lines)
    else:
        openpyxl = pytest.importorskip("openpyxl", reason="the excel extra is not installed")
        book = openpyxl.Workbook()
        for line in lines:
            book.active.append(line)
        book.save(tmp_path / "Dataset_MedPix_V1.xlsx")
    write(tmp_path / "medpix" / "Images" / "synpic7.jpg", "")
    rows = rows_of("medpix", tmp_path)
    first, second = rows["synpic7"], rows["synpic8"]
    assert (first.image, second.image) == ("medpix/Images/synpic7.jpg", "synpic8.jpg")
    assert first.group == second.group == "https://medpix.nlm.nih.gov/case?id=1"
    assert (first.age, first.sex, second.age, second.sex) == (58.0, "M", None, None)
    assert (first.view, first.words["view"]) == ("Axial", "Transverse")
    assert first.texts["findings"] == ("A mass in the left lobe.",)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("58 y.o. male", (58.0, "M")),
        ("6 m.o. female", (0.5, "F")),
        ("58 y.o.", (58.0, None)),
        ("female", (None, "F")),
        (". male", (None, "M")),
        ("a woman of 40", (None, None)),
    ],
)
def test_demographics(tmp_path: Path, text: str, expected: tuple[float | None, str | None]) -> None:
    lines = [
        ",".join(f'"{cell}"' for cell in row)
        for row in (medpix.COLUMNS_34, medpix.raw_row(Demographics=text))
    ]
    write(tmp_path / "sheet.csv", "\n".join(lines) + "\n")
    (row,) = rows_of("medpix", tmp_path).values()
    assert (row.age, row.sex) == expected


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="there is no folder"):
        rows_of("medpix", tmp_path / "nowhere")
    write(tmp_path / "other.csv", "a,b\n1,2\n")
    with pytest.raises(CorpusError, match="has no table with the columns Core_Modality and Case_Diagnosis"):
        rows_of("medpix", tmp_path)
    medpix.draw(tmp_path / "sub")
    assert "synpic1" in rows_of("medpix", tmp_path)
    assert "synpic1" in rows_of("medpix", tmp_path, captions_file=tmp_path / "sub" / "trimmed.csv")
