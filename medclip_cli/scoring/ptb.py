"""The tokens of COCO caption evaluation, without Java.

COCO tokenizes captions with Stanford's PTBTokenizer 3.4.1 (``-preserveLines -lowerCase``) and then drops 18
punctuation tokens. `PtbTokenizer` gives the same tokens. It was written from what that program prints, by
comparing outputs; its grammar was not read. A caption passes through these steps:

    blank_out             characters that count as blanks become blanks
    join_across_blanks    the few tokens that reach across a blank are joined
    split at blanks       each distinct chunk is cut into tokens once and remembered
    lex                   the longest rule of `ptb_rules` wins, again and again
    spell                 brackets, quotes and dashes get their Penn Treebank names
"""

from __future__ import annotations

import re

from medclip_cli.scoring.ptb_rules import (
    APOSTROPHE,
    ASCII_LETTER,
    GLUE,
    KEEP_PERIOD,
    blank_out,
    longest_match,
    rules_for,
)

INNER_BLANK = "\u00a0"
"""The blank inside the few tokens that have one, such as ``1 1/2``."""

_LONGEST_CHUNK = 500
"""Characters. A longer run without a blank is cut: the rules look ahead, so its cost would grow with its
square."""

_LENGTHS_OF_SPLIT_WORDS = (5, 6)  # gonna, cannot: see spelling


class PtbTokenizer:
    """PTBTokenizer 3.4.1 as COCO caption evaluation uses it: lower case, punctuation dropped.

    Chunks between blanks repeat from caption to caption, so each distinct one is lexed once and remembered.

    >>> PtbTokenizer()("Crohn\u2019s disease (3.5-cm mass), T1-weighted.")
    ('crohn', "'s", 'disease', '-lrb-', '3.5-cm', 'mass', '-rrb-', 't1-weighted')
    """

    def __init__(self) -> None:
        """Start with nothing remembered."""
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, caption: str) -> tuple[str, ...]:
        """The tokens of one caption; empty when it holds no word."""
        known = self._known
        tokens: list[str] = []
        for chunk in join_across_blanks(blank_out(caption)).split(" "):
            found = known.get(chunk)
            if found is None:
                found = known[chunk] = _chunk_tokens(chunk)
            tokens += found
        return tuple(tokens)


def _chunk_tokens(chunk: str) -> tuple[str, ...]:
    if chunk.isascii() and chunk.isalpha() and len(chunk) not in _LENGTHS_OF_SPLIT_WORDS:
        return (chunk.lower(),)  # nearly every chunk
    tokens: list[str] = []
    for start in range(0, len(chunk), _LONGEST_CHUNK):
        tokens += lex(chunk[start : start + _LONGEST_CHUNK].removesuffix(KEEP_PERIOD))
    if chunk.endswith(KEEP_PERIOD):
        tokens[-1] += "."
    lowered = (token.lower().replace(GLUE, INNER_BLANK) for token in tokens)
    return tuple(token for token in lowered if token not in PUNCTUATION)


# Tokens that reach across a blank: telephone numbers, mixed fractions, tags, initials, spaced dots.

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


def lex(chunk: str) -> list[str]:
    """Cut a chunk into tokens, in its own case, punctuation included.

    >>> lex("(doesn't)")
    ['-LRB-', 'does', "n't", '-RRB-']
    """
    tokens: list[str] = []
    rules = rules_for(chunk)
    start = 0
    while start < len(chunk):
        entity = ENTITY.match(chunk, start)
        if entity:
            tokens.extend(ENTITIES[entity.group().lower()])
            start = entity.end()
            continue
        end = abbreviation_end(chunk, start, longest_match(rules, chunk, start))
        negation = NEGATION.match(chunk, start)
        if negation and negation.end() >= end:
            tokens.extend(straighten(part) for part in negation.groups() if part)
            start = negation.end()
            continue
        tokens.extend(spell(chunk[start:end]))
        start = end
    return tokens


# Abbreviations, whose period belongs to the word: ``vs.``, ``Dr.``, ``etc.``, but not ``approx``.

_ALWAYS = frozenset(
    """
    al cf co ct dr ft ga jr ky lt md mo mr ms mt ph rd rt sq sr st va vs vt wm
    adj adm adv ala apr aug ave bhd cie col cos cpl dak dec det drs ens esq est etc ext feb fla fri gen gov
    hon inc ind jan jos jul jun kan ltd maj mar mfg mme mon mrs mtg neb nev nov oct pfc plc pte pty pvt rep
    rev sen sep seq sfc sgt spc ste sys tel thu tue wed wis wyo alex ariz assn asst atty bldg blvd brig bros
    capt cmdr colo conn corp dept elec govs insp intl invt kans mich minn mlle mont msgr natl okla penn ppte
    ppty pres prof ptes ptys reps sens sept supt tenn tues univ wisc assoc calif ph.d ed.d
    """.split()
)
# Of these, the ones that give way to a token one character longer (`st.a` is one token, `etc.a` is two).
_GIVES_WAY = frozenset(
    """
    ph st dr mr ms mt cf ft lt vs wm adj adm adv ave cie col cpl det drs ens gen gov hon jos maj mfg mme mrs
    mtg pfc pvt rep rev sen sfc sgt spc ste alex asst atty brig capt cmdr dept elec govs insp invt mlle msgr
    natl pres prof reps sens supt assoc
    """.split()
)
_WHEN_CAPITALISED = frozenset("az la pa ark del ill ore tex mass miss wash".split())  # states, not words

_CANDIDATE = re.compile(r"([Pp][Hh]\.[Dd]|[Ee][Dd]\.[Dd]|[A-Za-z]{2,5})\.")
_BEFORE_NUMBER = "ca|no|op|pp|art|fig|nos|figs|prop"
_TOUCHING_NUMBER = re.compile(rf"(?:{_BEFORE_NUMBER})\.(?=\d)", re.IGNORECASE)
_SPACED_NUMBER = re.compile(rf"(?<![A-Za-z0-9])({_BEFORE_NUMBER})\. (?=\d)", re.IGNORECASE)


def abbreviation_end(chunk: str, start: int, end: int) -> int:
    """End of the token at ``start``, with an abbreviation's period if it has one.

    Args:
        chunk: text without blanks.
        start: where the token starts.
        end: where the longest rule ends.
    """
    number = _TOUCHING_NUMBER.match(chunk, start)
    if number and number.end() >= end:
        return number.end()
    match = _CANDIDATE.match(chunk, start)
    if not match or match.end() + 1 < end:
        return end
    word, reaches = match[1], match.end() >= end
    known = word.lower() in _ALWAYS or (word.lower() in _WHEN_CAPITALISED and word[0].isupper())
    return match.end() if known and (reaches or word.lower() not in _GIVES_WAY) else end


def mark_numbered(caption: str) -> str:
    """Mark the abbreviations that keep their period because a number follows: ``No. 5``, ``Fig. 3``."""
    return _SPACED_NUMBER.sub(rf"\1{KEEP_PERIOD} ", caption)


# How tokens are written: brackets, quotes, dashes and currencies get their Penn Treebank names.

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
