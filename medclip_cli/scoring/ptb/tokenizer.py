"""A caption to the tokens that COCO scores."""

from __future__ import annotations

from medclip_cli.scoring.ptb.characters import GLUE, KEEP_PERIOD, blank_out
from medclip_cli.scoring.ptb.context import join_across_blanks
from medclip_cli.scoring.ptb.lexer import lex
from medclip_cli.scoring.ptb.spelling import PUNCTUATION

INNER_BLANK = "\u00a0"
"""Stands inside the few tokens that hold a blank, such as ``1 1/2``."""

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
