"""From a chunk without blanks to its tokens."""

from __future__ import annotations

from medclip_cli.scoring.ptb.abbreviations import abbreviation_end
from medclip_cli.scoring.ptb.rules import longest_match, rules_for
from medclip_cli.scoring.ptb.spelling import ENTITIES, ENTITY, NEGATION, spell, straighten


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
