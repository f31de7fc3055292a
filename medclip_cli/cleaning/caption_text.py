"""Free text as a caption: one line, composed characters, no de-identification marks if not wanted."""

from __future__ import annotations

import re
import unicodedata

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
