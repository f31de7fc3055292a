"""Captions that are lists of fields: ``ap/pa: pa, diagnosis: lung opacity, edema``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

LABEL_KEYS = frozenset({"diagnosis", "diagnoses", "finding", "findings", "label", "labels"})
_PART = re.compile(r"\s*,\s*")
_KEYED = re.compile(r"([a-z][a-z0-9 /_-]{0,40}?)\s*:\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class StructuredCaption:
    """What a caption of fields says.

    Attributes:
        fields: by key, lower case, without the list of labels.
        labels: the values under a key of `LABEL_KEYS`, lower case.
    """

    fields: dict[str, str]
    labels: frozenset[str]


def parse_structured(caption: str) -> StructuredCaption | None:
    """Read a caption of fields; None when it is written in sentences.

    It has at least two keys, or one that names labels, starts with a key and holds no full stop before its
    end.

    >>> caption = parse_structured("frontal/lateral: frontal, AP/PA: pa, diagnosis: lung opacity, Edema")
    >>> caption.fields, sorted(caption.labels)
    ({'frontal/lateral': 'frontal', 'ap/pa': 'pa'}, ['edema', 'lung opacity'])
    >>> parse_structured("Small effusion: unchanged, no edema.") is None
    True
    """
    text = " ".join(caption.lower().split()).removesuffix(".")
    values: dict[str, list[str]] = {}
    key = None
    for part in _PART.split(text):
        keyed = _KEYED.fullmatch(part)
        if keyed:
            key = keyed[1]
            values[key] = [keyed[2]]
        elif key is None:
            return None
        else:
            values[key].append(part)
    if ". " in text or not (len(values) > 1 or LABEL_KEYS.intersection(values)):
        return None
    labels = (label for name in LABEL_KEYS.intersection(values) for label in values[name])
    fields = {name: ", ".join(parts) for name, parts in values.items() if name not in LABEL_KEYS}
    return StructuredCaption(fields, frozenset(label for label in labels if label))


def all_structured(captions: Iterable[str]) -> bool:
    """Whether every caption that is not blank is one of fields, and at least one is."""
    parsed = [parse_structured(caption) is not None for caption in captions if caption.strip()]
    return bool(parsed) and all(parsed)
