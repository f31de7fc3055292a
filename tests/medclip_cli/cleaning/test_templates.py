"""Caption templates: missing fields take their own words along, and only those."""

from __future__ import annotations

import pytest

from medclip_cli.cleaning.captions import MEDPIX_SEED
from medclip_cli.cleaning.templates import Template
from medclip_cli.errors import UsageError

FULL = {
    "view": "Axial",
    "modality": "CT",
    "region": "Chest, Pulmonary",
    "category": "Trauma",
    "age": "42",
    "sex": "female",
    "diagnosis": "Rib fracture",
}


def test_a_full_row_fills_the_seed_template_word_for_word() -> None:
    assert Template(MEDPIX_SEED).render(FULL) == MEDPIX_SEED.format_map(FULL)


@pytest.mark.parametrize(
    ("missing", "caption"),
    [
        ("view", "a CT scan of Chest, Pulmonary Trauma on a 42 year old female depicting Rib fracture"),
        ("region", "a Axial plane CT scan of Trauma on a 42 year old female depicting Rib fracture"),
        ("region category", "a Axial plane CT scan on a 42 year old female depicting Rib fracture"),
        ("age", "a Axial plane CT scan of Chest, Pulmonary Trauma on a female depicting Rib fracture"),
        ("age sex", "a Axial plane CT scan of Chest, Pulmonary Trauma depicting Rib fracture"),
        ("sex diagnosis", "a Axial plane CT scan of Chest, Pulmonary Trauma on a 42 year old"),
        ("view modality", "of Chest, Pulmonary Trauma on a 42 year old female depicting Rib fracture"),
        ("view modality region category age sex", "depicting Rib fracture"),
        ("view modality region category age sex diagnosis", ""),
    ],
)
def test_missing_fields_of_the_seed_template(missing: str, caption: str) -> None:
    words = {name: value for name, value in FULL.items() if name not in missing.split()}
    assert Template(MEDPIX_SEED).render(words) == caption


@pytest.mark.parametrize(
    ("template", "words", "caption"),
    [
        (
            "modality: {modality}, plane: {view}, age: {age}",
            {"modality": "MR", "age": "3"},
            "modality: MR, age: 3",
        ),
        ("modality: {modality}, plane: {view}", {"modality": "MR"}, "modality: MR"),
        ("body part: {region}, plane: {view}", {"view": "PA"}, "plane: PA"),
        ("Radiograph of {region} showing {labels}.", {"labels": "edema"}, "Radiograph showing edema."),
        ("Chest radiograph, {view} view, of a {sex}", {"sex": "male"}, "Chest radiograph, of a male"),
        ("{view}-plane scan of {region}", {"region": "the knee"}, "of the knee"),
        ("{{literal}} {view}", {"view": "PA"}, "{literal} PA"),
    ],
)
def test_clauses_and_headings(template: str, words: dict[str, str], caption: str) -> None:
    assert Template(template).render(words) == caption


def test_names_in_order_once() -> None:
    assert Template("{b} and {a} and {b}").names == ("b", "a")


@pytest.mark.parametrize(
    "template", ["{view", "view}", "{view!r}", "{view:>10}", "{view.__class__}", "{0}", "{}"]
)
def test_what_is_no_plain_name_is_refused(template: str) -> None:
    with pytest.raises(UsageError, match="the caption template"):
        Template(template)


def test_a_template_without_fields_is_refused() -> None:
    with pytest.raises(UsageError, match="names no field"):
        Template("a scan")
