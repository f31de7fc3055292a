"""IU X-Ray: XML reports, Kaggle's tables, R2Gen's annotation."""

from __future__ import annotations

import doctest
from pathlib import Path

import pytest

from medclip_cli.corpora import iuxray as adapter
from medclip_cli.errors import CorpusError
from tests.medclip_cli.corpora.layouts import iuxray
from tests.medclip_cli.corpora.reading import rows_of, write


def test_xml_reports(tmp_path: Path) -> None:
    iuxray.draw_xml(tmp_path)
    rows = rows_of("iuxray", tmp_path)
    first = rows["CXR1_1_IM-0001-3001"]
    assert first.image == "NLMCXR_png/CXR1_1_IM-0001-3001.png"
    assert first.texts == {
        "report": ("The heart is normal. Normal.",),
        "findings": ("The heart is normal.",),
        "impression": ("Normal.",),
    }
    assert (first.group, first.findings, first.split) == ("CXR1", ("Cardiomegaly", "Aorta"), None)
    assert first.words == {"indication": "pain"}
    assert (first.view, rows["CXR1_1_IM-0001-4001"].view) == (None, "Lateral")
    empty = rows["CXR2_IM-0652-1001"]
    assert (empty.texts, empty.view) == ({}, "Frontal")
    assert rows["10"].fault == ("malformed_row", "10.xml is not an OpenI report")
    assert len(rows) == 4


def test_kaggle_tables(tmp_path: Path) -> None:
    iuxray.draw(tmp_path)
    rows = rows_of("iuxray", tmp_path)
    first = rows["CXR1_1_IM-0001-4001"]
    assert first.image == "images/images_normalized/1_IM-0001-4001.dcm.png"
    assert first.texts["report"] == ("The heart, XXXX, is normal. Normal.",)
    assert (first.view, first.group) == ("Frontal", "CXR1")
    second = rows["CXR2_IM-0652-1001"]
    assert second.texts == {"report": ("Borderline heart.",), "impression": ("Borderline heart.",)}
    assert second.findings == ("Cardiomegaly", "Nodule")
    assert rows["CXR3_IM-1384-1001"].texts == {}


def test_kaggle_rows_that_cannot_be_read(tmp_path: Path) -> None:
    iuxray.draw(tmp_path)
    write(tmp_path / iuxray.TABLE, "uid,filename,projection\n,x.png,Frontal\n9,y.png,Lateral\n")
    rows = rows_of("iuxray", tmp_path)
    assert rows["line2"].fault == ("malformed_row", "no image named")
    assert (rows["CXRy.png"].texts, rows["CXRy.png"].group) == ({}, "CXR9")


def test_both_forms_name_a_scan_alike() -> None:
    assert doctest.testmod(adapter).failed == 0


def test_r2gen(tmp_path: Path) -> None:
    iuxray.draw_r2gen(tmp_path)
    rows = rows_of("iuxray", tmp_path)
    second = rows["CXR2384_IM-0942/1"]
    assert (second.image, second.group, second.split) == ("images/CXR2384_IM-0942/1.png", "CXR2384", "train")
    assert second.texts["findings"] == ("The lungs are clear.",)
    assert (rows["CXR9_IM-2407/0"].split, rows["CXR9_IM-2407/0"].image) == (
        "test",
        "images/CXR9_IM-2407/0.png",
    )
    assert rows["entry2"].fault == ("malformed_row", "not a case with images")


def test_other_folders(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match=r"has no OpenI \*\.xml, indiana_reports\.csv or annotation\.json"):
        rows_of("iuxray", tmp_path)
    with pytest.raises(CorpusError, match="there is no folder"):
        rows_of("iuxray", tmp_path / "nowhere")
    write(tmp_path / "annotation.json", "[]")
    with pytest.raises(CorpusError, match="is not R2Gen's lists by split"):
        rows_of("iuxray", tmp_path)
