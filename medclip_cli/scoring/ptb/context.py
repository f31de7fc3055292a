"""Tokens that reach across a blank: telephone numbers, mixed fractions, tags, initials, spaced dots."""

from __future__ import annotations

import re

from medclip_cli.scoring.ptb.abbreviations import mark_numbered
from medclip_cli.scoring.ptb.characters import ASCII_LETTER, GLUE

_SENTENCE_STARTERS = (
    "a about according additionally after an as at but earlier he her here however if in it last many more "
    "now once one other our she since so some such that the their then there these they this we what when "
    "while yet you"
).split()
_STARTER = "|".join(f"{word.capitalize()}|{word.upper()}" for word in _SENTENCE_STARTERS)
# A single letter's period ends the sentence when a word that starts sentences follows: `grade A. The mass`.
_INITIAL = re.compile(rf"(?<![A-Za-z0-9.])({ASCII_LETTER})\. +(?=(?:{_STARTER})(?: |$))")
_PHONE = re.compile(
    r"(?<![A-Za-z0-9.,:/-])(?:\+\d{2,4}[ -])?(?:\d{2,4}[ -]|\(\d{2,3}\)[ -]?)\d{3,4}[ -]?\d{3,5}"
)
_MIXED_FRACTION = re.compile(r"(?<![A-Za-z0-9.,:/-])(\d{1,4}) (\d{1,4}/\d{1,4})")
_NAME = rf"{ASCII_LETTER}[A-Za-z0-9_:.-]*"
_ATTRIBUTE = rf" +{_NAME}(?: *= *(?:'[^']*'|\"[^\"]*\"))?"
_TAG = re.compile(rf"<{_NAME}(?:{_ATTRIBUTE})* */?>|<[!?]{ASCII_LETTER}[^<>]*>|</{_NAME} *>")
_SPACED_DOTS = re.compile(r"(?<!\.)\.(?: \.){2,4}")
_DIGITS_ACROSS_A_BLANK = re.compile(r"[\d)] \d")


def join_across_blanks(caption: str) -> str:
    """Replace the blanks inside such tokens by ``GLUE``, so that the caption can be cut at blanks.

    Args:
        caption: as ``blank_out`` leaves it.

    >>> join_across_blanks("1 1/2 of grade A. The rest").replace(GLUE, "~")
    '1~1/2 of grade A The rest'
    """
    if ". " in caption:
        caption = mark_numbered(_INITIAL.sub(r"\1 ", caption))
    if "<" in caption:
        caption = _TAG.sub(_glue, caption)
    if _DIGITS_ACROSS_A_BLANK.search(caption):
        caption = _PHONE.sub(_glue, caption)
        caption = _MIXED_FRACTION.sub(rf"\1{GLUE}\2", caption)
    return _SPACED_DOTS.sub(" ", caption) if ". ." in caption else caption


def _glue(match: re.Match[str]) -> str:
    return match.group().replace(" ", GLUE)
