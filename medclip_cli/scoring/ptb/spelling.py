"""How tokens are written: brackets, quotes, dashes and currencies get their Penn Treebank spelling."""

from __future__ import annotations

import re

from medclip_cli.scoring.ptb.characters import APOSTROPHE, ASCII_LETTER

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""What COCO drops. It does so after lower-casing, so the upper-case brackets of this list never match:
``-lrb-`` stays in every COCO score, and must in ours."""

_ONE_CHARACTER = {
    **{"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-", '"': "''"},
    **dict.fromkeys("\u201c\x93\u00ab", "``"),
    **dict.fromkeys("\u201d\x94\u00bb", "''"),
    **dict.fromkeys("\u2018\u201b\x91\u2039", "`"),
    **dict.fromkeys("\u2019\x92\u203a", "'"),
    **dict.fromkeys("\u2013\u2014\u2015\x96\x97", "--"),
    **dict.fromkeys("\u2026\x85", "..."),
    **dict.fromkeys("\u20ac\u20a0\u00a4\x80", "$"),
    **{"\u00a3": "#", "\u00a2": "cents"},
    **{"\u00bd": "1/2", "\u00bc": "1/4", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"},
}
ENTITIES = {
    "&amp;": ("&",),
    "&lt;": ("<",),
    "&gt;": (">",),
    "&quot;": ("''",),
    "&apos;": ("'",),
    "&mdash;": ("--",),
    "&ndash;": ("--",),
    "&nbsp;": (),
}
ENTITY = re.compile("|".join(ENTITIES), re.IGNORECASE)
NEGATION = re.compile(rf"({ASCII_LETTER}*)([nN]{APOSTROPHE}[tT]{ASCII_LETTER}*)")
_TWO_WORDS = re.compile(r"(can)(not)|(gon)(na)|(got)(ta)|(wan)(na)|(lem)(me)|(gim)(me)", re.IGNORECASE)
_STRAIGHT = str.maketrans({"\u2019": "'", "\x92": "'", "\u2018": "`"})
_AMPERSAND = re.compile("&amp;", re.IGNORECASE)
_BRACKETS = str.maketrans({"(": "-LRB-", ")": "-RRB-"})
_LONGEST_DASH = 4
_LONGEST_ELLIPSIS = 5


def straighten(token: str) -> str:
    """Curly apostrophes become straight ones."""
    return token.translate(_STRAIGHT)


def spell(token: str) -> tuple[str, ...]:
    """The Penn Treebank spelling of one token; a few words become two.

    >>> spell("("), spell("\u2014"), spell("cannot"), spell("T1-weighted")
    (('-LRB-',), ('--',), ('can', 'not'), ('T1-weighted',))
    """
    if len(token) == 1:
        return (_ONE_CHARACTER.get(token, token),)
    if token.isalpha():
        two_words = _TWO_WORDS.fullmatch(token)
        return tuple(word for word in two_words.groups() if word) if two_words else (token,)
    return (_spell_signs(token),)


def _spell_signs(token: str) -> str:
    if not token.strip("-"):
        return "--" if len(token) <= _LONGEST_DASH else token
    if token.startswith("...") and len(token) <= _LONGEST_ELLIPSIS:
        return "..."
    if token[0] in "\u201c\u201d\u00ab\u00bb\u201e\x93\x94":
        return "".join(_ONE_CHARACTER.get(character, character) for character in token)
    if "&" in token:
        token = _AMPERSAND.sub("&", token)
    if token[0] in "'\u2019\x92":
        token = straighten(token)
    return token.translate(_BRACKETS)
