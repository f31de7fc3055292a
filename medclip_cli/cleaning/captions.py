"""From a source row to its captions, by style: a free text, the labels, or a template."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from medclip_cli.cleaning.templates import Template
from medclip_cli.corpora.layout import DatasetLayout
from medclip_cli.errors import UsageError
from medclip_cli.records import OTHER_MODALITY, SourceRow

Uncertain = Literal["positive", "negative", "drop", "mention"]

# The sentence of the seed project (Mauville/MedCLIP, main.ipynb); there a missing field came out as "nan".
MEDPIX_SEED = (
    "a {view} plane {modality} scan of {region} {category} on a {age} year old {sex} depicting {diagnosis}"
)


# What people and spreadsheets leave where a caption should be: MedPix's own form text, and the cell errors
# Excel writes when a caption begins with "-" or "=".
_PLACEHOLDER = re.compile(
    r"replace (this|.*\bwith\b)|#(NAME\?|REF!|VALUE!|DIV/0!|N/A|NULL!|NUM!)", re.IGNORECASE
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
# XXXX stands for removed words in OpenI, ___ in MIMIC; the spaces before a full stop go with them.
_DEIDENTIFIED = re.compile(r"\bX{3,}\b|_{2,}")
_ENUMERATION = re.compile(r"(?:^|(?<=[.;:]\s))\s*\(?\d{1,2}[.)]\s+(?=\D)")
_LOOSE_PUNCTUATION = re.compile(r"\s+([.,;:])")


@dataclass(frozen=True, slots=True)
class CaptionStyle:
    """How captions are made."""

    name: str  # of the style, or the template; recorded in the corpus
    # All captions of a row, given the words a template may use; empty when it has none.
    make: Callable[[SourceRow, Mapping[str, str]], tuple[str, ...]]
    template: Template | None = None  # the template behind it


def caption_style(style: str, layout: DatasetLayout, *, strip_marks: bool = False) -> CaptionStyle:
    """Return a style by its name, or that of a template.

    Args:
        style: a free text of the data set, ``labels``, ``template``, ``fields``, ``medpix-seed``, or a
            template with ``{fields}``.
        layout: of the data set.
        strip_marks: drop de-identification marks and enumeration from free texts.

    Raises:
        UsageError: neither a style of this data set nor a template.
    """
    templates = {"medpix-seed": MEDPIX_SEED, "template": layout.sentence, "fields": layout.fields}
    if style in templates or "{" in style:
        return _templated(style, Template(templates.get(style, style)), lower=style == "fields")
    if style == "labels" and layout.has_labels:
        return CaptionStyle(style, lambda row, words: _single(one_line(", ".join(label_words(row)))))
    if style in layout.texts:
        return CaptionStyle(style, lambda row, words: _free_texts(row, style, strip_marks))
    labels = ("labels",) if layout.has_labels else ()
    known = ", ".join((*layout.texts, *labels, "template", "fields", "medpix-seed"))
    raise UsageError(f"caption {style!r} is none of {known}, and no template with {{fields}}")


def with_uncertain(row: SourceRow, policy: Uncertain) -> SourceRow | None:
    """Decide what a label the source calls uncertain means; None drops the row.

    ``positive`` takes it for asserted, ``negative`` for absent, ``drop`` leaves the row out, and ``mention``
    keeps it out of the findings but has the caption say "possible ...".
    """
    if not row.uncertain or policy == "mention":
        return row
    if policy == "drop":
        return None
    findings = (*row.findings, *row.uncertain) if policy == "positive" else row.findings
    return replace(row, findings=findings, uncertain=())


def label_words(row: SourceRow) -> tuple[str, ...]:
    """Return the labels as words: asserted ones, then "possible" ones."""
    asserted = tuple(label.replace("_", " ") for label in row.findings)
    return asserted + tuple(f"possible {label.replace('_', ' ')}" for label in row.uncertain)


def template_words(row: SourceRow) -> dict[str, str]:
    """Return what a template may name: the columns of the corpus, then the source's own words."""
    known = {
        "image": row.image,
        "modality": None if row.modality == OTHER_MODALITY else row.modality,  # "an OT scan" says nothing
        "view": row.view,
        "region": row.region,
        "category": row.category,
        "labels": ", ".join(label_words(row)),
        "age": None if row.age is None else f"{row.age:g}",
        "sex": {"M": "male", "F": "female"}.get(row.sex or ""),
    }
    words: dict[str, str | None] = {**known, **row.words}
    if row.view and not _WORD.search(row.words.get("view", "")):
        words["view"] = row.view
    return {name: value for name, value in words.items() if value}


def age_in_words(years: float) -> str:
    """Return an age as people say it: a number of years, of an infant days or months.

    >>> age_in_words(58.0), age_in_words(0.583333), age_in_words(3 / 365.25), age_in_words(1.5)
    ('58', '7 month', '3 day', '18 month')
    """
    if years >= 2 or years == int(years):
        return f"{round(years, 1):g}"
    days, months = round(years * 365.25), round(years * 12)
    return f"{days} day" if days < 31 else f"{months} month"


# A template says "{age} year old", which is not so of "7 month".
_INFANT = re.compile(r"\b(day|month)[ -]years?([ -]old)\b")


# The source's own word is better than ours ("Transverse"), and its code worse ("LL", "AP_horizontal").
_WORD = re.compile(r"\A[^_]*[a-z]{4}[^_]*\Z")


def _templated(name: str, template: Template, *, lower: bool) -> CaptionStyle:
    def make(row: SourceRow, words: Mapping[str, str]) -> tuple[str, ...]:
        if row.age is not None and words.get("age") == f"{row.age:g}":
            words = {**words, "age": age_in_words(row.age)}
        caption = one_line(_INFANT.sub(r"\1\2", template.render(words)))
        return _single(caption.lower() if lower else caption)

    return CaptionStyle(name, make, template)


def _free_texts(row: SourceRow, style: str, strip_marks: bool) -> tuple[str, ...]:
    lines = (one_line(text) for text in row.texts.get(style, ()))
    return tuple(filter(None, (without_marks(line) for line in lines) if strip_marks else lines))


def _single(caption: str) -> tuple[str, ...]:
    return (caption,) if caption else ()


def one_line(text: str) -> str:
    r"""Return the text in NFC on one line: control characters and runs of white space become one space.

    Lone surrogates, which no file could hold, are dropped.

    >>> one_line("A mass\n in the  left lobe. ")
    'A mass in the left lobe.'
    """
    if not text.isascii():
        text = unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode("utf-8"))
    if not text.isprintable():
        text = _CONTROL.sub(" ", text)
    return " ".join(text.split())


def is_placeholder(text: str) -> bool:
    """Whether a text stands in for a caption nobody wrote.

    >>> is_placeholder("Replace this - DESCRIPTION OF THE IMAGE OR FINDINGS.")
    True
    """
    return _PLACEHOLDER.match(text.lstrip()) is not None


def without_marks(text: str) -> str:
    """Drop de-identification marks and the numbers of enumerated sentences.

    >>> without_marks("1. Compared to XXXX, the heart is normal. 2. No effusion on ___.")
    'Compared to, the heart is normal. No effusion on.'
    """
    text = _ENUMERATION.sub("", _DEIDENTIFIED.sub(" ", text))
    return " ".join(_LOOSE_PUNCTUATION.sub(r"\1", text).split())
