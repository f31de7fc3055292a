"""Captions by style, and what free text goes through."""

from __future__ import annotations

import pytest

from medclip_cli.cleaning.captions import (
    caption_style,
    is_placeholder,
    label_words,
    one_line,
    template_words,
    with_uncertain,
    without_marks,
)
from medclip_cli.errors import UsageError
from medclip_cli.records import SourceRow
from tests.medclip_cli.cleaning.drawn import LAYOUT, row


def captions(style: str, source: SourceRow, *, strip_marks: bool = False) -> tuple[str, ...]:
    return caption_style(style, LAYOUT, strip_marks=strip_marks).make(source, template_words(source))


def test_one_line_is_composed_and_printable() -> None:
    assert one_line("  Café\n\n au\tlait\x00 \x9f") == "Café au lait"
    assert one_line("lone \ud800 surrogate") == "lone surrogate"


@pytest.mark.parametrize(
    "text",
    [
        "Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS.",
        "replace this",
        "Replace text with caption",
        "#NAME?",
    ],
)
def test_placeholders(text: str) -> None:
    assert is_placeholder(text)


@pytest.mark.parametrize("text", ["Joint replacement", "Hip replaced with a prosthesis", "C#1"])
def test_captions_that_only_sound_like_placeholders(text: str) -> None:
    assert not is_placeholder(text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("Compared to XXXX, no change.", "Compared to, no change."),
        ("___ year old man", "year old man"),
        ("1. Normal heart. 2. No effusion.", "Normal heart. No effusion."),
        ("A 2.5 cm mass. T12 fracture.", "A 2.5 cm mass. T12 fracture."),
    ],
)
def test_marks_and_enumeration_go(text: str, clean: str) -> None:
    assert without_marks(text) == clean


def test_free_text_styles() -> None:
    source = row(texts={"report": ("first\nline", "second")})
    assert captions("report", source) == ("first line", "second")
    assert captions("impression", source) == ()
    marked = row(texts={"report": ("XXXX is normal",)})
    assert captions("report", marked, strip_marks=True) == ("is normal",)


def test_label_style_says_what_is_uncertain() -> None:
    source = row(findings=("Pleural_Thickening",), uncertain=("Edema",))
    assert captions("labels", source) == ("Pleural Thickening, possible Edema",)
    assert captions("labels", row()) == ()


def test_templates_by_name_and_written_out() -> None:
    source = row(view="Axial", findings=("Mass",), words={"modality": "MRI", "diagnosis": "Glioma"})
    assert captions("template", source) == ("Axial MRI showing Mass",)
    assert captions("fields", source) == ("modality: mri, plane: axial",)
    assert captions("{diagnosis} in {modality}", source) == ("Glioma in MRI",)
    assert captions("medpix-seed", source) == ("a Axial plane MRI scan depicting Glioma",)


def test_unknown_style_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="'rapport' is none of report, impression, labels"):
        caption_style("rapport", LAYOUT)


def test_template_words_prefer_the_source_and_leave_out_what_is_missing() -> None:
    assert template_words(row(view="Axial", age=0.5, sex="F", words={"view": "Transverse"})) == {
        "image": "0.png",
        "modality": "CT",
        "view": "Transverse",
        "age": "0.5",
        "sex": "female",
    }


def test_a_modality_that_nobody_knows_is_no_word_of_a_caption() -> None:
    source = row(modality="OT", view="Axial", region="Head")
    assert captions("{view} {modality} of the {region}", source) == ("Axial of the Head",)
    assert captions("fields", source) == ("plane: axial",)


def test_uncertain_labels() -> None:
    source = row(findings=("Mass",), uncertain=("Edema",))
    mentioned = with_uncertain(source, "mention")
    positive = with_uncertain(source, "positive")
    negative = with_uncertain(source, "negative")
    assert mentioned and positive and negative
    assert label_words(mentioned) == ("Mass", "possible Edema")
    assert label_words(positive) == ("Mass", "Edema")
    assert label_words(negative) == ("Mass",)
    assert with_uncertain(source, "drop") is None
    assert with_uncertain(row(), "drop") == row()
