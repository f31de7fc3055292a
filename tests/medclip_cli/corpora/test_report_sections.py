"""The sections of MIMIC-CXR's reports, however their headings are written."""

from __future__ import annotations

import pytest

from medclip_cli.corpora.mimic_cxr import section_names, split_sections, whole_report


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
