"""The list of data sets, and the page docs/datasets.md that tells a newcomer about each of them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from medclip_cli.corpora.registry import LAYOUTS, layout_named, layout_of_folder
from medclip_cli.errors import UsageError
from tests.encoders.drawn_dicom import write_dicom

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_says_what_it_is(name: str) -> None:
    layout = layout_named(name)
    assert layout.name == name
    assert layout.title and layout.licence and layout.download and layout.reads
    assert layout.default_caption in {*layout.texts, "labels", "template", "fields", "medpix-seed"}
    assert layout.has_labels or layout.default_caption != "labels"


def test_a_folder_nobody_described(tmp_path: Path) -> None:
    assert layout_of_folder(tmp_path).name == "folder"
    write_dicom(tmp_path / "series" / "IM1", np.zeros((32, 32), np.uint8))
    assert layout_of_folder(tmp_path).name == "dicom"
    (tmp_path / "captions.csv").touch()
    assert layout_of_folder(tmp_path).name == "folder"
    (tmp_path / "captions.csv").unlink()
    (tmp_path / "a.png").touch()
    assert layout_of_folder(tmp_path).name == "folder"


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match="no data set 'MedPix2': did you mean medpix2"):
        layout_named("MedPix2")
    with pytest.raises(UsageError, match="no data set 'zzz': medclip clean --list names them"):
        layout_named("zzz")


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_data_set_has_its_row_and_its_section(name: str) -> None:
    assert f"| [`{name}`](#{name}) |" in PAGE
    assert f"\n## {name}\n" in PAGE


def test_no_row_is_of_a_data_set_that_is_not() -> None:
    assert set(re.findall(r"^\| \[`([^`]+)`\]", PAGE, re.MULTILINE)) == set(LAYOUTS)


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_example_files_are_those_the_adapter_reads(name: str) -> None:
    section = PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0]
    tables = set(re.findall(r"[\w-]+\.(?:csv|json|tsv|txt)\b", LAYOUTS[name].reads))
    assert not [table for table in tables if table not in section]


def test_every_reason_code_is_explained() -> None:
    source = "".join(
        path.read_text(encoding="utf-8")
        for package in ("medclip_cli/cleaning", "medclip_cli/corpora", "encoders")
        for path in (Path(__file__).resolve().parents[3] / package).glob("*.py")
    )
    codes = set(re.findall(r'(?:Reason\(|code=|fault=\(|fault = \(|else \()"([a-z]+(?:_[a-z]+)+)"', source))
    assert {"missing_caption", "duplicate_row", "no_pixel_data"} <= codes
    assert not [code for code in codes if f"`{code}`" not in PAGE]
