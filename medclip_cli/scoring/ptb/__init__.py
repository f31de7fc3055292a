"""The tokens of COCO caption evaluation, without Java.

COCO tokenizes captions with Stanford's PTBTokenizer 3.4.1 (``-preserveLines -lowerCase``) and then drops 18
punctuation tokens. This package gives the same tokens. It was written from what that program prints, by
comparing outputs; its grammar was not read. A caption goes down this road:

    blanks      characters that count as blanks become blanks        characters.py
    context     the few tokens that reach across a blank are joined  context.py
    chunks      the caption is cut at blanks; each chunk is cached   tokenizer.py
    lexing      the longest rule wins, again and again               lexer.py, rules.py, abbreviations.py
    spelling    brackets, quotes, dashes get their Penn names        spelling.py
"""

from medclip_cli.scoring.ptb.tokenizer import INNER_BLANK, PtbTokenizer

__all__ = ["INNER_BLANK", "PtbTokenizer"]
