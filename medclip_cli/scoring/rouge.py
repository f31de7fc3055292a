"""ROUGE-L (Lin 2004, https://aclanthology.org/W04-1013) with COCO's conventions.

Precision and recall are the best over the references, each by itself; COCO's F weighs recall by beta = 1.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medclip_cli.scoring.ngrams import CaptionPairs, Floats

BETA = 1.2
_EMPTY = [-1]  # COCO cuts "" at blanks into one empty word, so two empty captions agree


@dataclass(frozen=True, slots=True)
class RougeL:
    """[n] each: precision, recall, COCO's F (beta 1.2) and F1 of the items."""

    precision: Floats
    recall: Floats
    f_coco: Floats
    f1: Floats


def lcs_length(first: Sequence[int], second: Sequence[int]) -> int:
    """Length of the longest common subsequence.

    Bit-parallel (Hyyro 2004): bit i of ``row`` is 0 where the table of the textbook algorithm steps up at
    i, and a whole row is one addition on Python's integers.

    >>> lcs_length([1, 2, 3, 4], [2, 4, 3])
    2
    """
    if len(first) < len(second):
        first, second = second, first
    positions: dict[int, int] = {}
    for bit, word in enumerate(second):
        positions[word] = positions.get(word, 0) | 1 << bit
    full = (1 << len(second)) - 1
    row = full
    for word in first:
        matching = row & positions.get(word, 0)
        row = (row + matching | row - matching) & full
    return len(second) - row.bit_count()


def rouge_l(pairs: CaptionPairs) -> RougeL:
    """ROUGE-L of every item."""
    sentences = _sentences(pairs)
    both = np.stack([pairs.paired_candidate, pairs.reference])
    distinct, number = np.unique(both, axis=1, return_inverse=True)
    common = np.array(
        [lcs_length(sentences[a], sentences[b]) for a, b in distinct.T.tolist()], dtype=np.float64
    )
    lengths = np.maximum(1, pairs.lengths)
    precision = _best(common[number] / lengths[pairs.paired_candidate], pairs)
    recall = _best(common[number] / lengths[pairs.reference], pairs)
    return RougeL(precision, recall, _f_measure(precision, recall, BETA), _f_measure(precision, recall, 1.0))


def _sentences(pairs: CaptionPairs) -> list[list[int]]:
    tokens, ends = pairs.tokens.tolist(), np.cumsum(pairs.lengths).tolist()
    return [tokens[start:end] or _EMPTY for start, end in zip([0, *ends], ends, strict=False)]


def _best(values: Floats, pairs: CaptionPairs) -> Floats:
    if not len(values):
        return values
    first: Floats = np.maximum.reduceat(values, np.flatnonzero(np.diff(pairs.item, prepend=-1)))
    return first


def _f_measure(precision: Floats, recall: Floats, beta: float) -> Floats:
    weight = beta**2
    below = recall + weight * precision
    above = (1 + weight) * precision * recall
    return np.divide(above, below, out=np.zeros_like(above), where=above > 0)
