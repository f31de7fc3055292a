r"""What Stanford's PTBTokenizer takes for a letter, a blank, a token: character classes and the token rules.

At each position of a chunk the rule that reaches furthest wins. Each rule carries an example that it
matches whole, and the tests hold it to that: read the table from left to right, a name, an example, how
it is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

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


class Rule(NamedTuple):
    """One kind of token; tried only on chunks that hold one of the characters it needs, if it names any."""

    name: str
    example: str
    needs: str
    pattern: str


_HYPHENS = "-\u058a\u2010\u2011"
_APOSTROPHES = "'\u2019\x92"
_A, _Z = ASCII_ALNUM, ASCII_LETTER
_HYPHENATED = rf"{ALNUM}(?:{ALNUM}|[.,]|_(?={ALNUM}))*(?:[-\u058a\u2010\u2011](?:{ALNUM}|_(?={ALNUM}))+)+"
_URL, _URL_END = r"[^\s\"<>|(){}]", r"[^\s\"<>|.!?(){},\-]"
_HOST = r"(?:[^\s\"<>|.!?(){},:/]+\.)+"
_FILE_TYPES = (
    "c|h|x|gz|pl|ps|py|bat|bmp|cgi|cpp|dll|doc|exe|gif|htm|jar|jpg|mov|mp3|pdf|php|png|ppt|sql|tar|txt|wav|xml|zip"
    "|docx|html|java|jpeg|class"
)
_TAG_NAME = rf"{_Z}[A-Za-z0-9_:.-]*"
_TAG_ATTRIBUTE = rf"{GLUE}+{_TAG_NAME}(?:=(?:'[^']*'|\"[^\"]*\"))?"

_WORDS = (
    Rule("word, or words joined by . ! ?", "word.Word", "", rf"{LETTER}{ALNUM}*(?:[.!?]{LETTER}{ALNUM}*)*"),
    Rule("letters and digits, joined by _", "4mm_thick", "", rf"{ALNUM}+(?:_{ALNUM}+)*"),
    Rule("hyphenated", "T1-weighted", _HYPHENS, _HYPHENATED),
    Rule("hyphenated, ending in initials", "post-a.b.", _HYPHENS, rf"{_HYPHENATED}(?<=-{_Z})(?:\.{_Z})+\."),
    Rule("slashed", "ap/pa", "/", rf"{_A}+(?:-{_Z}+){{0,2}}(?:/{_A}+(?:-{_Z}+){{0,2}}){{1,2}}"),
    Rule("initials", "e.g.", ".", rf"(?:{_Z}\.)+"),
    Rule("ampersand", "AT&T", "+&", r"[A-Z]+(?:(?:[+&]|&[Aa][Mm][Pp];)[A-Z]+)+"),
    Rule(
        "name with a prefix",
        "L\u2019Hermitte",
        _APOSTROPHES,
        rf"[dDlLoOnN]{APOSTROPHE}{LETTER}{ALNUM}+(?:-{ALNUM}+)*",
    ),
    Rule("French c'est", "c'est", "'", r"[cC]'est"),
    Rule(
        "word with an inner apostrophe",
        "o'clock",
        _APOSTROPHES,
        rf"[oO]{APOSTROPHE}(?:clock|CLOCK|Clock)|[mM]a{APOSTROPHE}am|[nN]e{APOSTROPHE}er|[oO]{APOSTROPHE}er"
        rf"|[eE]{APOSTROPHE}er|[hH]allowe{APOSTROPHE}en|[xX]i{APOSTROPHE}an|[bB]a{APOSTROPHE}ath|[sS]a{APOSTROPHE}id",
    ),
    Rule("programming language", "C++", "+#", r"[Cc]\+\+|[CcFf]#"),
)
_NUMBERS = (
    Rule("number", "-1,000.5", "", r"[-+]?\d+(?:[.,:]\d+)*"),
    Rule("number without a leading digit", ".5", ".,:", r"[-+]?\d*(?:[.,:]\d+)+"),
    Rule("fraction", f"1{GLUE}1/2", "/\u2044", rf"\d{{1,4}}(?:[-{GLUE}]?\d{{1,4}})?(?:/|\u2044)\d{{1,4}}"),
    Rule("date", "11/12/2004", "/", r"\d{1,2}/\d{1,2}/\d{2,4}"),
    Rule(
        "telephone",
        f"(555){GLUE}123-4567",
        f"-({GLUE}",
        rf"(?:\+\d{{2,4}}{GLUE})?(?:\d{{2,4}}[-{GLUE}]|\(\d{{2,3}}\)[-{GLUE}]?)\d{{3,4}}[-{GLUE}]?\d{{3,5}}",
    ),
    Rule("dollars", "US$", "$", r"(?:[A-Z]{1,3})?\$"),
    Rule(
        "superscripts, circled numbers, fractions that keep their sign",
        "\u00b2\u00b3",
        "",
        rf"(?:(?![{SPELT_FRACTIONS}])[{NUMERIC_SYMBOLS}])+",
    ),
    Rule(
        "decade or year", "'90s", _APOSTROPHES, rf"{APOSTROPHE}[2-9]0s{NOT_IN_WORD}|{APOSTROPHE}\d\ds?(?=$)"
    ),
)
# What an apostrophe cuts off the word before it, or starts a word with.
_CLITICS = (
    Rule(
        "ending",
        "'s",
        _APOSTROPHES,
        rf"{APOSTROPHE}(?:[sSmMdD]|ll|LL|re|RE|ve|VE){NOT_IN_WORD}|[\u2019\x92]s",
    ),
    Rule(
        "prefix before a letter",
        "d'",
        _APOSTROPHES,
        rf"[dDlLjJyY]{APOSTROPHE}(?={_Z})|{APOSTROPHE}[tT](?=is{NOT_IN_WORD}|was{NOT_IN_WORD})",
    ),
    Rule("clipped and", "'n'", _APOSTROPHES, rf"{APOSTROPHE}n{APOSTROPHE}"),
    Rule(
        "clipped word",
        "'em",
        _APOSTROPHES,
        rf"{APOSTROPHE}(?:em|EM|[nN]|[tT]il+|TIL+|cause|CAUSE){NOT_IN_WORD}",
    ),
)
_SIGNS = (
    Rule(
        "word or number with its period, before , ; :",
        "etc.",
        ".",
        rf"(?:{LETTER}{ALNUM}*(?:[._]{ALNUM}+)*|{_HYPHENATED}|{ALNUM}+|[A-Z]+[+&][A-Z]+)\.(?=[,;:])",
    ),
    Rule("ellipsis", "...", ".", r"\.{3,5}"),
    Rule("dashes", "--", "-", r"-{2,}"),
    Rule("exclamation", "?!", "?!", r"[?!]+"),
    Rule("stars", "**", "*", r"\*+"),
    Rule("underscores", "__", "_", r"_+"),
    Rule("hashes", "##", "#", r"#+"),
    Rule("angle quotes", "<<", "<>", r"<<|>>"),
    Rule("double curly quotes", "\u201c\u201d", "", "[\u201c\u201d\u00ab\u00bb\u201e\x93\x94]{2}"),
    Rule("smiley with a nose", ":-)", ":;=", rf"[:;=][-o']?[)(@DOP\\dp|]{NOT_IN_WORD}"),
    Rule("smiley with a bracket", ":-]", ":;=", r"[:;=]-?[\][{]"),
    Rule("smiley, eastern", "^_^", "_", r"[-^x=~<>]_[-^x=~<>']"),
)
_WEB = (
    Rule("hashtag or handle", "@name", "#@", rf"#{LETTER}+|@[A-Za-z_]\w*"),
    Rule(
        "address with a scheme", "http://rad.example.org/case?id=5", ":", rf"(?i:https?)://{_URL}+{_URL_END}"
    ),
    Rule(
        "address by its domain",
        "example.org/case",
        ".",
        rf"(?:{_Z}{_A}*\.)+(?:com|net|org|edu)[/?]{_URL}+{_URL_END}",
    ),
    Rule(
        "www address with a path",
        "www.example.org/case",
        ".",
        rf"(?i:www)\.{_HOST}{_Z}{{2,4}}[/?]{_URL}+{_URL_END}",
    ),
    Rule(
        "www address",
        "www.example.org",
        ".",
        rf"(?i:www)\.(?:[^\s\"<>|.!?(){{}},]+\.)+{_Z}{{2,4}}(?:/{_URL}+{_URL_END})?",
    ),
    Rule(
        "electronic mail",
        "john@example.com",
        "@",
        rf"(?:mailto:)?{_A}[^\s\"<>|(){{}},;:@]*@(?:[^\s\"<>|().@]+\.)*[^\s\"<>|().,;:]+|<{_A}[^\s\"<>|()]*@[^\s\"<>|()]+>",
    ),
    Rule(
        "tag",
        f"<a{GLUE}href='x'>",
        "<",
        rf"</?{_TAG_NAME}(?:{_TAG_ATTRIBUTE})*{GLUE}*/?>|<[!?]{_Z}[^>]*>|<!--.*?-->",
    ),
    Rule("file name", "image.png", ".", rf"{_A}+(?:\.{_A}+)*\.(?i:{_FILE_TYPES})(?![A-Za-z0-9])"),
    Rule("character reference", "&#945;", "&", r"&#\d+;"),
)
RULES = (*_WORDS, *_NUMBERS, *_CLITICS, *_SIGNS, *_WEB)
_compiled = cache(re.compile)  # most rules are never needed, and compiling them all would slow every start


def rules_for(chunk: str) -> list[re.Pattern[str]]:
    """The rules that could match somewhere in the chunk; most chunks hold few signs, so few are left."""
    characters = set(chunk)
    return [
        _compiled(rule.pattern) for rule in RULES if not rule.needs or not characters.isdisjoint(rule.needs)
    ]


def longest_match(rules: Sequence[re.Pattern[str]], chunk: str, start: int) -> int:
    """Where the longest token that starts at ``start`` ends; a character that no rule knows stands alone."""
    end = start + 1
    for pattern in rules:
        match = pattern.match(chunk, start)
        if match and match.end() > end:
            end = match.end()
    return end
