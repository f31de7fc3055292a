"""From a source row to its captions, by style: a free text, the labels, or a template."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from medclip_cli.cleaning.caption_text import one_line, without_marks
from medclip_cli.cleaning.templates import Template
from medclip_cli.errors import UsageError
from medclip_cli.records import OTHER_MODALITY, SourceRow

Uncertain = Literal["positive", "negative", "drop", "mention"]

# The sentence of the seed project (Mauville/MedCLIP, main.ipynb); there a missing field came out as "nan".
MEDPIX_SEED = (
    "a {view} plane {modality} scan of {region} {category} on a {age} year old {sex} depicting {diagnosis}"
)


@dataclass(frozen=True, slots=True)
class CaptionStyle:
    """How captions are made.

    Attributes:
        name: as asked for; recorded in the corpus.
        make: all captions of a row, given the words a template may use; empty when it has none.
        template: the template behind it, if there is one.
    """

    name: str
    make: Callable[[SourceRow, Mapping[str, str]], tuple[str, ...]]
    template: Template | None = None


@dataclass(frozen=True, slots=True)
class StyleChoices:
    """The styles one data set offers.

    Attributes:
        texts: the free texts its rows may have (``report``, ``impression`` ...).
        sentence: its own sentence template, asked for as ``template``.
        fields: its ``key: value`` template, asked for as ``fields``.
        has_labels: whether ``labels`` means something.
    """

    texts: Sequence[str]
    sentence: str
    fields: str
    has_labels: bool

    @property
    def names(self) -> tuple[str, ...]:
        """Every style by name."""
        labels = ("labels",) if self.has_labels else ()
        return (*self.texts, *labels, "template", "fields", "medpix-seed")


def caption_style(asked: str, choices: StyleChoices, *, strip_marks: bool = False) -> CaptionStyle:
    """Return the style a person asked for by name, or the template they wrote.

    Args:
        asked: a name of `StyleChoices.names`, or a template with ``{fields}``.
        choices: what the data set offers.
        strip_marks: drop de-identification marks and enumeration from free texts.

    Raises:
        UsageError: neither a style of this data set nor a template.
    """
    templates = {"medpix-seed": MEDPIX_SEED, "template": choices.sentence, "fields": choices.fields}
    if asked in templates or "{" in asked:
        return _templated(asked, Template(templates.get(asked, asked)), lower=asked == "fields")
    if asked == "labels" and choices.has_labels:
        return CaptionStyle(asked, lambda row, words: _single(one_line(", ".join(label_words(row)))))
    if asked in choices.texts:
        return CaptionStyle(asked, lambda row, words: _free_texts(row, asked, strip_marks))
    known = ", ".join(choices.names)
    raise UsageError(f"no caption style {asked!r} here: choose {known}, or write a template with {{fields}}")


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
    words: Mapping[str, str | None] = {**known, **row.words}
    return {name: value for name, value in words.items() if value}


def _templated(name: str, template: Template, *, lower: bool) -> CaptionStyle:
    def make(row: SourceRow, words: Mapping[str, str]) -> tuple[str, ...]:
        caption = one_line(template.render(words))
        return _single(caption.lower() if lower else caption)

    return CaptionStyle(name, make, template)


def _free_texts(row: SourceRow, style: str, strip_marks: bool) -> tuple[str, ...]:
    lines = (one_line(text) for text in row.texts.get(style, ()))
    return tuple(filter(None, (without_marks(line) for line in lines) if strip_marks else lines))


def _single(caption: str) -> tuple[str, ...]:
    return (caption,) if caption else ()
