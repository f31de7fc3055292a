"""The tokenizers a caption can be scored with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

from medclip_cli.errors import UsageError
from medclip_cli.scoring.ptb import PtbTokenizer

TokenizerName = Literal["ptb", "none", "13a"]
TOKENIZERS: tuple[TokenizerName, ...] = get_args(TokenizerName)
Tokenizer = Callable[[str], tuple[str, ...]]

# Whatever breaks a line somewhere. COCO's scripts hand captions to Java a line each and replace only "\n", so
# that any of the others shifts every later caption by one; here each is a blank and captions stay apart.
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", " "))
# To the PTB tokenizer U+0085 is the ellipsis of Windows-1252, and it makes a blank of all the others itself.


def tokenizer_named(name: str) -> Tokenizer:
    """The tokenizer of that name.

    * ``ptb``: as COCO caption evaluation does (lower case, punctuation dropped).
    * ``13a``: sacrebleu's default, case and punctuation kept.
    * ``none``: the captions are tokens already; they are cut at blanks.

    Raises:
        UsageError: no tokenizer has that name.
    """
    if name == "ptb":
        return PtbTokenizer()
    if name == "none":
        return split_at_blanks
    if name == "13a":
        return _sacrebleu_13a()
    raise UsageError(f"unknown tokenizer {name!r}: choose one of {', '.join(TOKENIZERS)}")


def split_at_blanks(caption: str) -> tuple[str, ...]:
    r"""The words between blanks.

    >>> split_at_blanks("left  lung\u2028clear")
    ('left', 'lung', 'clear')
    """
    return tuple(caption.split())


def tokenize_once(captions: Sequence[str], tokenizer: Tokenizer) -> list[tuple[str, ...]]:
    """Tokenize each distinct caption once; retrieval returns the same ones again and again."""
    known = {caption: tokenizer(caption) for caption in dict.fromkeys(captions)}
    return [known[caption] for caption in captions]


def _sacrebleu_13a() -> Tokenizer:
    from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

    tokenize = Tokenizer13a()

    def tokens(caption: str) -> tuple[str, ...]:
        return tuple(tokenize(caption.translate(_LINE_BREAKS)).split())

    return tokens
