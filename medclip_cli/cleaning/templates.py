"""Caption templates: a sentence with ``{fields}``, where a missing field takes its own words along.

    a {view} plane {modality} scan of {region} on a {age} year old {sex} depicting {diagnosis}

With no view that reads "a MR scan of ...", with no region "of" is gone too, and with neither age nor sex so
is "on a year old". No mark-up is needed, because words are shared out by two rules:

* A template falls into clauses at words that end with a comma, semicolon or full stop, and a clause into
  phrases, each opened by function words ("of", "on a", "depicting") or by a heading ("view:").
* Inside a phrase the words after a field are the field's own ("{age} year old"). The opening words stay as
  long as one field of the phrase does; a clause whose fields are all missing goes as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import Formatter

from medclip_cli.errors import UsageError

# Words that lead to what follows; every other word belongs to the field before it.
_OPENING = frozenset(
    "a an the and or of on in with for from at by to as is are was were has have"
    " showing depicting demonstrating revealing suggesting containing".split()
)
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(slots=True)
class _Unit:
    """A word with fields in it, and the plain words that belong to it."""

    pattern: str
    names: tuple[str, ...]
    own: list[str] = field(default_factory=list)

    def render(self, words: Mapping[str, str]) -> list[str]:
        if not all(words.get(name) for name in self.names):
            return []
        return [self.pattern.format_map(words), *self.own]


@dataclass(slots=True)
class _Phrase:
    opening: list[str] = field(default_factory=list)
    units: list[_Unit] = field(default_factory=list)

    def render(self, words: Mapping[str, str]) -> list[str]:
        parts = [part for unit in self.units for part in unit.render(words)]
        return [*self.opening, *parts] if parts or not self.units else []


@dataclass(slots=True)
class _Clause:
    phrases: list[_Phrase] = field(default_factory=list)
    stop: str = ""

    def render(self, words: Mapping[str, str]) -> str:
        phrases = [(phrase, phrase.render(words)) for phrase in self.phrases]
        if any(phrase.units for phrase, _ in phrases) and not any(p.units and text for p, text in phrases):
            return ""
        return " ".join(part for _, text in phrases for part in text) + self.stop


class Template:
    """A parsed caption template."""

    def __init__(self, text: str) -> None:
        """Parse words and ``{fields}``.

        Raises:
            UsageError: an unmatched brace, no field at all, or a field that is more than a name.
        """
        self.text = text
        self._clauses = _parse(text)
        names = [n for c in self._clauses for p in c.phrases for u in p.units for n in u.names]
        if not names:
            raise UsageError(f"the caption template {text!r} names no field: write one as {{modality}}")
        self.names: tuple[str, ...] = tuple(dict.fromkeys(names))

    def render(self, words: Mapping[str, str]) -> str:
        """Fill in the fields that are there; empty when none is."""
        if not any(words.get(name) for name in self.names):
            return ""
        clauses = [clause.render(words) for clause in self._clauses]
        return " ".join(" ".join(clause for clause in clauses if clause).split()).rstrip(",;")


def _parse(text: str) -> list[_Clause]:
    clauses = [_Clause([_Phrase()])]
    for word in text.split():
        stripped = word.rstrip(",;.")
        _add(clauses[-1], stripped, text)
        if stripped != word:
            clauses[-1].stop = word[len(stripped) :]
            clauses.append(_Clause([_Phrase()]))
    return clauses if clauses[-1].phrases[0] != _Phrase() else clauses[:-1]


def _add(clause: _Clause, word: str, template: str) -> None:
    phrase = clause.phrases[-1]
    names = _field_names(word, template)
    if not names:
        word = word.format()  # "{{" is a brace
    if names:
        phrase.units.append(_Unit(word, names))
    elif phrase.units and word.lower() not in _OPENING and not word.endswith(":"):
        phrase.units[-1].own.append(word)
    elif phrase.units:
        clause.phrases.append(_Phrase([word]))
    elif word.lower() in _OPENING and phrase.opening and phrase.opening[-1].lower() not in _OPENING:
        # "Radiograph of {region}": the noun stands by itself, "of" opens the phrase of the region.
        clause.phrases.append(_Phrase([word]))
    else:
        phrase.opening.append(word)


def _field_names(word: str, template: str) -> tuple[str, ...]:
    try:
        parsed = list(Formatter().parse(word))
    except ValueError as error:
        raise UsageError(f"the caption template {template!r} cannot be read: {error}") from None
    names = [(name, spec, conversion) for _, name, spec, conversion in parsed if name is not None]
    for name, spec, conversion in names:
        if spec or conversion or not _NAME.match(name):
            raise UsageError(f"the caption template {template!r}: {word} must hold plain names like {{view}}")
    return tuple(name for name, _, _ in names)
