"""docs/datasets.md tells a newcomer about every data set, and about no other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from medclip_cli.corpora.registry import LAYOUTS

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "datasets.md").read_text(encoding="utf-8")


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
