"""Character classes: what Stanford's tokenizer takes for a letter, a word character, a blank."""

from __future__ import annotations

import re

GLUE = "\ue000"
"""Stands for a blank inside a token (``1 1/2``); private use, so no caption can hold it after
``blank_out``."""

KEEP_PERIOD = "\ue001"
"""Ends a chunk whose last period belongs to it because a number follows (``No. 5``)."""

# Digits to Python's \w, symbols to the tokenizer: superscripts, fractions, circled numbers.
NUMERIC_SYMBOLS = (
    "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2080-\u2089\u2150-\u2182\u2185-\u218b"
    "\u2460-\u249b\u24ea-\u24ff\u2776-\u2793"
)
SPELT_FRACTIONS = "\u00bc-\u00be\u2153\u2154"  # 1/4 1/2 3/4 1/3 2/3: each a token of its own
# Accents, vowel signs and the like, which Python does not count as word characters.
COMBINING_MARKS = (
    "\u02c2-\u02c5\u02d2-\u02df\u02e5-\u02eb\u02ed\u02ef-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7"
    "\u0615-\u061a\u064b-\u065e\u0670\u06d6-\u06e4\u06e7-\u06ed\u0900-\u0903\u093c\u093e-\u094e\u0951-\u0955"
    "\u0962\u0963\u0e31\u0e34-\u0e3a\u0e47-\u0e4e"
)
ASCII_LETTER = "[A-Za-z]"
ASCII_ALNUM = "[A-Za-z0-9]"
LETTER = rf"(?:(?![{NUMERIC_SYMBOLS}])[^\W\d_]|[{COMBINING_MARKS}])"
ALNUM = rf"(?:(?![{NUMERIC_SYMBOLS}])[^\W_]|[{COMBINING_MARKS}])"
APOSTROPHE = "['\u2019\x92]"
NOT_IN_WORD = rf"(?!{ASCII_LETTER})"

# Windows-1252 punctuation that arrives as control characters is read as punctuation, not as a blank.
_CP1252_PUNCTUATION = frozenset({0x80, 0x85, 0x91, 0x92, 0x93, 0x94, 0x96, 0x97})
_CONTROLS = (code for code in (*range(0x21), *range(0x7F, 0xA1)) if code not in _CP1252_PUNCTUATION)
_UNICODE_BLANKS = (
    *(0x95, 0x1680, 0x180E, 0x202F, 0x205F, 0x2060, 0x3000, 0xFEFF),
    *range(0x2000, 0x2010),  # en quad to right-to-left mark
    *range(0x2028, 0x202F),  # line and paragraph separators, embeddings
    *range(0xD800, 0xF900),  # lone surrogates and private use
)
_SOFT_HYPHEN = 0xAD
_TO_BLANK: dict[int, str | None] = dict.fromkeys((*_CONTROLS, *_UNICODE_BLANKS), " ") | {_SOFT_HYPHEN: None}
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")


def blank_out(caption: str) -> str:
    r"""Turn everything the tokenizer skips (controls, odd blanks, emoji, lone surrogates) into blanks.

    >>> blank_out("left\u2028lung\x0b\U0001fa7b")
    'left lung  '
    """
    if caption.isascii():
        return caption if caption.isprintable() else caption.translate(_TO_BLANK)
    return _ASTRAL.sub(" ", caption.translate(_TO_BLANK))
