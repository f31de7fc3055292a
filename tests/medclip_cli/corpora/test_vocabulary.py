"""One word for one thing."""

from __future__ import annotations

import doctest

import pytest

from medclip_cli.cleaning import captions
from medclip_cli.corpora import vocabulary
from medclip_cli.corpora.vocabulary import age_of, known, modality_of, sex_of, texts, view_of


@pytest.mark.parametrize("module", [vocabulary, captions])
def test_the_examples_in_the_docstrings(module: object) -> None:
    result = doctest.testmod(module)  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.parametrize(
    "value", [None, "", " ", "nan", "NaN", "N/A", "None", "#NAME?", "Left Blank", float("nan")]
)
def test_ways_of_saying_nothing(value: object) -> None:
    assert known(value) is None


@pytest.mark.parametrize(
    ("words", "modality"),
    [
        ("CT - GI & IV Contrast", "CT"),
        ("CTA - CT Angiography", "CT"),
        ("MR T2* gradient,GRE,MPGR,SWAN,SWI", "MR"),
        ("MRS - Spectroscopy", "MR"),
        ("US-D", "US"),
        ("Ultrasound", "US"),
        ("Plain Film", "XR"),
        ("Mammograph", "XR"),
        ("DX", "XR"),
        ("AN - Angiogram", "AN"),
        ("XA", "AN"),
        ("PET-CT", "PET"),
        ("NM - Nuclear Medicine", "NM"),
        ("Gross Pathology", "GX"),
        ("Histology", "HE"),
        ("Drawing", "OT"),
        ("n/a", "OT"),
    ],
)
def test_modalities(words: str, modality: str) -> None:
    assert modality_of(words) == modality


@pytest.mark.parametrize(
    ("words", "view"),
    [
        ("Transverse", "Axial"),
        ("POSTEROANTERIOR", "PA"),
        ("LL", "Lateral"),
        ("Photograph", None),
        ("LAO", "LAO"),
    ],
)
def test_views(words: str, view: str | None) -> None:
    assert view_of(words) == view


@pytest.mark.parametrize(
    ("cell", "years"),
    [
        ("058Y", 58.0),
        ("006M", 0.5),
        ("365D", 365 / 365.25),
        ("26W", 26 * 7 / 365.25),
        ("58 y.o.", 58.0),
        ("41", 41.0),
        ("41.0", 41.0),
        ("0", 0.0),
        ("414", None),
        ("-3", None),
        ("old", None),
        ("", None),
    ],
)
def test_ages(cell: str, years: float | None) -> None:
    assert age_of(cell) == (None if years is None else pytest.approx(years))


def test_sexes() -> None:
    assert [sex_of(word) for word in ("M", " Female", "male", "Unknown", None, "O")] == [
        "M",
        "F",
        "M",
        None,
        None,
        None,
    ]


def test_damaged_spreadsheet_captions_are_left_for_cleaning_to_count() -> None:
    assert texts(report="#NAME?", findings="N/A", impression=None) == {"report": ("#NAME?",)}
