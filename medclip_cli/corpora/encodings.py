"""The encoding of a text that is not UTF-8, told by its bytes; not told when unsure: noise is no caption.

Western text has single letters with marks inside words ("Ménière"); two bytes a character read as Western are
runs of capitals and symbols ("ÐØ²¿Õý"). Chinese and Japanese text is nearly all of the characters that
schools teach, which stand apart in both standards; Korean, Big5, Cyrillic and the rest fit neither and are
refused.
"""

from __future__ import annotations

import re

TITLES = {"cp1252": "Windows-1252", "gb18030": "GBK", "cp932": "Shift-JIS"}

_MARKS = "\xa0“”‘’–—…•·°«»§´"  # that stand in rows in Western text
_LETTERS = "À-ÖØ-öø-ÿŠŒŽšœžŸ"
_CONTINUATION = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# What Windows-1252 shows of other encodings.
_NOT_WESTERN = re.compile(
    "|".join(
        (
            rf"(?:[{_MARKS}]*[^\x00-\x7f{_MARKS}]){{3}}",  # two bytes a character, or another alphabet
            rf"(?<![A-Za-z])[{_LETTERS}]{{2}}(?![A-Za-z])",  # one character of two bytes, alone
            r"[à-öø-ÿ][À-ÖØ-Þ]",
            r"[a-z][À-ÖØ-ÞŠŽŸ£¥¯³¹¼¾‚ƒ„†‡ˆ‰][a-z]",  # Central European, or that of DOS or an old Mac
            rf"[ÂÃ][{_CONTINUATION}]|[à-ï][{_CONTINUATION}]{{2}}",  # UTF-8, damaged elsewhere
        )
    )
)
_COMMON = 0.8  # of all characters; rare ones are 1 in 50 in Chinese and Japanese, and half of a wrong guess
_FOREIGN = 0.1


def encoding_of(content: bytes) -> str | None:
    """Return the encoding of text that is not UTF-8; None when unsure.

    >>> encoding_of("Ménière’s".encode("cp1252")), encoding_of("胸部正位片".encode("gbk"))
    ('cp1252', 'gb18030')
    """
    western = _decoded(content, "cp1252")
    if western is not None and not _NOT_WESTERN.search(western):
        return "cp1252"
    fits = [name for name, fit in (("gb18030", _is_chinese), ("cp932", _is_japanese)) if fit(content)]
    return fits[0] if len(fits) == 1 else None


def _decoded(content: bytes, encoding: str) -> str | None:
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _first_bytes(text: str, encoding: str) -> list[int]:
    """Return the first of the two bytes of each ideograph."""
    ideographs = [c.encode(encoding, "ignore") for c in text if "\u4e00" <= c <= "\u9fff"]
    return [code[0] for code in ideographs if len(code) == 2] + [0] * sum(len(c) != 2 for c in ideographs)


def _is_chinese(content: bytes) -> bool:
    text = _decoded(content, "gb18030")
    if text is None or any("\u3040" <= c <= "\u30ff" for c in text):  # kana: Japan's EUC
        return False
    firsts = _first_bytes(text, "gb2312")
    common = sum(0xB0 <= first <= 0xD7 for first in firsts)
    # Korean fills the first half of the common ones alone.
    second_half = sum(0xC9 <= first <= 0xD7 for first in firsts)
    return bool(firsts) and common >= _COMMON * len(firsts) and second_half >= _FOREIGN * len(firsts)


def _is_japanese(content: bytes) -> bool:
    text = _decoded(content, "cp932")
    if text is None:
        return False
    foreign = [c for c in text if not c.isascii()]
    halves = sum("\uff61" <= c <= "\uff9f" for c in foreign)  # what bytes of others look like
    firsts = _first_bytes(text, "cp932")
    common = sum(0x88 <= first <= 0x97 for first in firsts)
    kana = sum("\u3040" <= c <= "\u30ff" for c in foreign)
    if halves > _FOREIGN * len(foreign) or not firsts and not kana:
        return False
    return common >= _COMMON * len(firsts)
