"""Counting n-grams of a whole corpus at once, for BLEU and CIDEr.

Captions repeat, so every distinct one is numbered and counted once; an item is a candidate sentence and one
or more reference sentences, by number. All of it is arrays, and the cost is that of sorting the n-grams.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Tokens = tuple[str, ...]

MAX_ORDER = 4


@dataclass(frozen=True, slots=True)
class CaptionPairs:
    """Candidates and their references, as numbers of distinct sentences.

    Shapes: n items, p pairs of an item's candidate with one of its references, s sentences, t tokens.
    """

    vocabulary: tuple[str, ...]  # the distinct words, by number
    tokens: Ints  # [t] word numbers of all distinct sentences, one after the other
    lengths: Ints  # [s] words in each sentence
    candidate: Ints  # [n] the sentence that was predicted for each item
    reference: Ints  # [p] the reference sentence of each pair
    item: Ints  # [p] the item of each pair, ascending

    @property
    def items(self) -> int:
        """Number of items."""
        return len(self.candidate)

    @property
    def paired_candidate(self) -> Ints:
        """[p] the candidate sentence of each pair."""
        return self.candidate[self.item]


def pair_up(candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]) -> CaptionPairs:
    """Number the distinct sentences and their words.

    Args:
        candidates: one token sequence per item.
        references: the reference token sequences of each item, at least one.
    """
    sentences = _Numbering()
    candidate = [sentences[tokens] for tokens in candidates]
    reference = [sentences[tokens] for item in references for tokens in item]
    words = _Numbering()
    flat = [words[word] for tokens in sentences for word in tokens]
    return CaptionPairs(
        vocabulary=tuple(words),
        tokens=np.array(flat, dtype=np.int64),
        lengths=np.array([len(tokens) for tokens in sentences], dtype=np.int64),
        candidate=np.array(candidate, dtype=np.int64),
        reference=np.array(reference, dtype=np.int64),
        item=np.repeat(np.arange(len(candidates)), [len(item) for item in references]),
    )


class _Numbering(defaultdict):  # type: ignore[type-arg]
    """Numbers things in the order they first come."""

    def __missing__(self, key: object) -> int:
        number = self[key] = len(self)
        return number


@dataclass(frozen=True, slots=True)
class NgramCounts:
    """How often each sentence has each n-gram of one order: one row for each that it has.

    Rows are sorted by sentence, then by n-gram.
    """

    distinct: int  # number of distinct n-grams; they are numbered from 0
    sentence: Ints  # [rows]
    ngram: Ints  # [rows]
    count: Ints  # [rows]
    first_row: Ints  # [s + 1] where the rows of each sentence begin


def count_ngrams(pairs: CaptionPairs) -> Iterator[NgramCounts]:
    """The counts of the distinct sentences' n-grams, for orders 1 to 4 in turn."""
    sentences = len(pairs.lengths)
    sentence = np.repeat(np.arange(sentences), pairs.lengths)
    ends = np.cumsum(pairs.lengths)[sentence]
    start = np.arange(len(pairs.tokens))  # where each n-gram begins
    ngram = pairs.tokens
    for order in range(1, MAX_ORDER + 1):
        if order > 1:  # grow each (n-1)-gram by the word after it, where its sentence has one
            fits = start + order <= ends[start]
            start = start[fits]
            longer = ngram[fits] * len(pairs.vocabulary) + pairs.tokens[start + order - 1]
            ngram = np.unique(longer, return_inverse=True)[1]
        distinct = int(ngram.max(initial=-1)) + 1
        rows, count = np.unique(sentence[start] * distinct + ngram, return_counts=True)
        row_sentence, row_ngram = np.divmod(rows, max(distinct, 1))
        first_row = np.searchsorted(row_sentence, np.arange(sentences + 1))
        yield NgramCounts(distinct, row_sentence, row_ngram, count, first_row)


@dataclass(frozen=True, slots=True)
class ReferenceRows:
    """The n-grams of every reference, beside what the candidate of the same item has of them.

    One row for each n-gram of each pair's reference.
    """

    pair: Ints  # [rows] ascending
    row: Ints  # [rows] the reference's row in the ``NgramCounts``
    candidate_row: Ints  # [rows] the candidate's row in the ``NgramCounts``, -1 where it lacks the n-gram


def join_references(pairs: CaptionPairs, counts: NgramCounts) -> ReferenceRows:
    """Look every n-gram of every reference up in the candidate of the same item."""
    begin = counts.first_row[pairs.reference]
    length = counts.first_row[pairs.reference + 1] - begin
    pair = np.repeat(np.arange(len(pairs.reference)), length)
    row = np.arange(len(pair)) + np.repeat(begin - (np.cumsum(length) - length), length)
    table = counts.sentence * counts.distinct + counts.ngram
    wanted = pairs.paired_candidate[pair] * counts.distinct + counts.ngram[row]
    position = np.searchsorted(table, wanted)
    found = table[np.minimum(position, len(table) - 1)] == wanted
    return ReferenceRows(pair, row, np.where(found, position, -1))
