"""MIMIC-CXR-JPG: four tables joined, and the sections of reports."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from medclip_cli.corpora import mimic_cxr as adapter
from medclip_cli.corpora.mimic_cxr import section_names, split_sections, whole_report
from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import mimic_cxr
from tests.medclip_cli.corpora.reading import rows_of, write


def test_rows(tmp_path: Path) -> None:
    mimic_cxr.draw(tmp_path / "mimic-cxr-jpg")
    rows = rows_of("mimic-cxr", tmp_path)
    first = rows["aaa-1"]
    assert first.image == "mimic-cxr-jpg/files/p10/p10000032/s50414267/aaa-1.jpg"
    assert (tmp_path / first.image).is_file()
    assert (first.group, first.split, first.view) == ("p10000032", "train", "PA")
    assert (first.findings, first.uncertain) == (("Cardiomegaly",), ("Edema",))
    assert first.texts["impression"] == ("Cardiomegaly on ___.",)
    assert first.texts["findings"] == ("The heart is enlarged. 1. There is no effusion.",)
    assert first.texts["report"] == ("The heart is enlarged. 1. There is no effusion. Cardiomegaly on ___.",)
    assert [rows[key].view for key in ("aaa-2", "bbb-1", "ccc-1")] == ["Lateral", None, "Lateral"]
    assert [rows[key].split for key in ("bbb-1", "ccc-1")] == ["val", "test"]
    assert rows["bbb-1"].texts == {"report": ("No acute process.",)}
    assert (rows["ccc-1"].texts, rows["ccc-1"].findings) == ({}, ())


def test_metadata_alone_unpacked(tmp_path: Path) -> None:
    write(
        tmp_path / "mimic-cxr-2.0.0-metadata.csv",
        mimic_cxr.METADATA + ",1,2,,,,,,,,,\nx,../../a,../b,,,,,,,,,\n",
    )
    rows = rows_of("mimic-cxr", tmp_path)
    assert [rows[key].split for key in ("aaa-1", "bbb-1")] == [None, None]
    assert rows["line6"].fault == ("malformed_row", "no image named")
    assert rows["x"].texts == {}


def test_negbio_labels_and_the_official_sections(tmp_path: Path) -> None:
    write(tmp_path / mimic_cxr.TABLE, mimic_cxr.METADATA)
    write(tmp_path / "mimic-cxr-2.0.0-negbio.csv.gz", mimic_cxr.LABELS)
    write(
        tmp_path / "mimic_cxr_sectioned.csv",
        "study,impression,findings,last_paragraph,comparison\n"
        's50414267,,"The heart, enlarged.",,\ns50000001,,,No acute process.,\n',
    )
    rows = rows_of("mimic-cxr", tmp_path)
    assert rows["aaa-1"].findings == ("Cardiomegaly",)
    assert rows["aaa-1"].texts == {"report": ("The heart, enlarged.",), "findings": ("The heart, enlarged.",)}
    assert rows["bbb-1"].texts == {"report": ("No acute process.",)}


def test_another_folder(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is no MIMIC-CXR-JPG folder"):
        rows_of("mimic-cxr", tmp_path)


@pytest.mark.parametrize(
    ("heading", "names"),
    [
        ("IMPRESSION", ("impression",)),
        ("IMPRESSON", ("impression",)),
        ("FINDNGS", ("findings",)),
        ("CONCLUSIONS", ("impression",)),
        ("FINDINGS AND IMPRESSION", ("findings", "impression")),
        ("REASON FOR EXAM", ("indication",)),
        ("CLINICAL HISTORY", ("indication",)),
        ("PA AND LATERAL CHEST", ("view",)),
        ("WET READ", ()),
    ],
)
def test_headings_however_they_are_written(heading: str, names: tuple[str, ...]) -> None:
    assert section_names(heading) == names


def test_the_last_section_that_says_something_counts() -> None:
    text = " IMPRESSION:  Old.\n\n IMPRESSION:  New.\n\n IMPRESSION:  \n"
    assert split_sections(text)["impression"] == "New."


def test_an_addendum_above_its_rule_is_skipped() -> None:
    text = " ADDENDUM  IMPRESSION: wrong.\n ______________________\n FINAL REPORT\n IMPRESSION: right.\n"
    assert split_sections(text)["impression"] == "right."


def test_a_view_heading_opens_the_findings() -> None:
    assert split_sections(" AP CHEST:  Clear lungs.\n")["findings"] == "Clear lungs."


def test_the_whole_report_falls_back() -> None:
    assert whole_report(split_sections(" FINAL REPORT\n Title.\n\n Clear\n lungs.\n\n")) == "Clear lungs."
    assert whole_report({"comparison": "None."}) == "None."
    assert whole_report({}) is None
    assert split_sections("") == {}


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(adapter).failed == 0
