"""BLEU, ROUGE-L and CIDEr with COCO's conventions, from n-grams counted once for the whole corpus.

* BLEU-1 to 4 (Papineni et al. 2002, https://aclanthology.org/P02-1040): counts are clipped by the
  reference that has most of an n-gram, and the reference nearest in length sets the brevity penalty (the
  shorter of two equally near). The corpus value is sacrebleu's, from the summed counts; an item's is
  COCO's, which adds 1e-9 and 1e-15 to the counts where sacrebleu would smooth or give 0.
* ROUGE-L (Lin 2004, https://aclanthology.org/W04-1013): precision and recall are the best over the
  references, each by itself; COCO's F weighs recall by beta = 1.2.
* CIDEr is CIDEr-D (Vedantam et al. 2015, https://arxiv.org/abs/1411.5726), as COCO prints it. Document
  frequencies come from the references being scored, so values of two corpora, or of two subsets of one,
  cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medclip_cli.scoring.ngrams import MAX_ORDER, CaptionPairs, Floats, Ints, NgramCounts, ReferenceRows

SIGMA, SCALE = 6.0, 10.0  # of CIDEr
BETA = 1.2  # of ROUGE-L
_ADDED_TO_GUESSES, _ADDED_TO_MATCHES = 1e-9, 1e-15
_EMPTY = [-1]  # COCO cuts "" at blanks into one empty word, so two empty captions agree


@dataclass(frozen=True, slots=True)
class BleuCounts:
    """What BLEU needs to know of each item; sums over items are what it needs of a corpus."""

    # Sums of a resample come as floats that hold whole numbers.
    matches: Ints | Floats  # [n, 4] clipped n-gram matches by order
    guesses: Ints | Floats  # [n, 4] n-grams in the candidate by order
    candidate_length: Ints | Floats  # [n] words
    reference_length: Ints | Floats  # [n] words of the reference nearest in length


def clipped_matches(pairs: CaptionPairs, counts: NgramCounts, joined: ReferenceRows) -> Ints:
    """[n] n-grams of each candidate that some reference has, each counted at most as often as there."""
    hit = joined.candidate_row >= 0
    candidate_row = joined.candidate_row[hit]
    item = pairs.item[joined.pair[hit]]
    clipped = np.minimum(counts.count[candidate_row], counts.count[joined.row[hit]])
    if len(pairs.reference) > pairs.items and len(item):
        # Several references: the best of them, n-gram by n-gram.
        key = item * len(counts.count) + candidate_row
        order = np.argsort(key, kind="stable")
        first = np.flatnonzero(np.diff(key[order], prepend=-1))
        clipped, item = np.maximum.reduceat(clipped[order], first), item[order][first]
    return np.bincount(item, clipped, minlength=pairs.items).astype(np.int64)


def bleu_counts(pairs: CaptionPairs, matches: list[Ints]) -> BleuCounts:
    """Put the matches of the four orders beside the lengths.

    Args:
        pairs: the items.
        matches: [n] clipped matches for each order.
    """
    length = pairs.lengths[pairs.candidate]
    reference = pairs.lengths[pairs.reference]
    distance = np.abs(reference - pairs.lengths[pairs.paired_candidate])
    order = np.lexsort((reference, distance, pairs.item))
    nearest = np.flatnonzero(np.diff(pairs.item[order], prepend=-1))
    return BleuCounts(
        matches=np.stack(matches, axis=1),
        guesses=np.maximum(0, length[:, None] - np.arange(MAX_ORDER)),
        candidate_length=length,
        reference_length=reference[order][nearest],
    )


def coco_bleu(counts: BleuCounts) -> Floats:
    """[n, 4] BLEU-1 to 4 of each row of counts, by COCO's arithmetic."""
    precision = (counts.matches + _ADDED_TO_MATCHES) / (counts.guesses + _ADDED_TO_GUESSES)
    bleu: Floats = np.cumprod(precision, axis=1) ** (1.0 / np.arange(1, MAX_ORDER + 1))
    ratio = (counts.candidate_length + _ADDED_TO_MATCHES) / (counts.reference_length + _ADDED_TO_GUESSES)
    penalty: Floats = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return bleu * penalty[:, None]


def corpus_bleu(counts: BleuCounts) -> list[float]:
    """BLEU-1 to 4 of the corpus, between 0 and 1: sacrebleu's value of the summed counts.

    Where an order has no match at all sacrebleu gives 0 for it and those above, and COCO its tiny counts;
    then COCO's value stands, so that a corpus of one item scores what the item does.
    """
    from sacrebleu.metrics.bleu import BLEU

    total = BleuCounts(
        matches=counts.matches.sum(axis=0, keepdims=True),
        guesses=counts.guesses.sum(axis=0, keepdims=True),
        candidate_length=counts.candidate_length.sum(keepdims=True),
        reference_length=counts.reference_length.sum(keepdims=True),
    )
    matches, guesses = total.matches[0].tolist(), total.guesses[0].tolist()
    scores: list[float] = coco_bleu(total)[0].tolist()
    for order in range(1, MAX_ORDER + 1):
        if matches[order - 1] > 0:
            found = BLEU.compute_bleu(
                correct=matches[:order],
                total=guesses[:order],
                sys_len=int(total.candidate_length[0]),
                ref_len=int(total.reference_length[0]),
                max_ngram_order=order,
            )
            scores[order - 1] = found.score / 100.0
    return scores


def sacrebleu_signature(tokenize: str, references_per_item: int | None) -> str:
    """What sacrebleu prints beside its scores, so that others can repeat them.

    Args:
        tokenize: sacrebleu's name of the tokenizer; ``none`` when the tokens were made before.
        references_per_item: None when it varies.
    """
    from sacrebleu.metrics.bleu import BLEU

    metric: Any = BLEU(tokenize=tokenize, smooth_method="none")
    metric.num_refs = -1 if references_per_item is None else references_per_item
    return str(metric.get_signature())


def rouge_l(pairs: CaptionPairs) -> dict[str, Floats]:
    """[n] each: COCO's F (beta 1.2), precision, recall and F1 of the items.

    Each distinct pair of sentences is compared once.
    """
    tokens, ends = pairs.tokens.tolist(), np.cumsum(pairs.lengths).tolist()
    sentences = [tokens[start:end] or _EMPTY for start, end in zip([0, *ends], ends, strict=False)]
    both = np.stack([pairs.paired_candidate, pairs.reference])
    distinct, number = np.unique(both, axis=1, return_inverse=True)
    common = np.array(
        [lcs_length(sentences[a], sentences[b]) for a, b in distinct.T.tolist()], dtype=np.float64
    )[number]
    lengths = np.maximum(1, pairs.lengths)
    first_pair = np.flatnonzero(np.diff(pairs.item, prepend=-1))
    precision: Floats = np.maximum.reduceat(common / lengths[pairs.paired_candidate], first_pair)
    recall: Floats = np.maximum.reduceat(common / lengths[pairs.reference], first_pair)
    return {
        "rouge_l": _f_measure(precision, recall, BETA),
        "rouge_l_p": precision,
        "rouge_l_r": recall,
        "rouge_l_f1": _f_measure(precision, recall, 1.0),
    }


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


def _f_measure(precision: Floats, recall: Floats, beta: float) -> Floats:
    weight = beta**2
    below = recall + weight * precision
    above = (1 + weight) * precision * recall
    return np.divide(above, below, out=np.zeros_like(above), where=above > 0)


def cider_d(pairs: CaptionPairs, counts: NgramCounts, joined: ReferenceRows) -> Floats:
    """[n] the share of one n-gram order in each item's CIDEr-D; the score is the mean over the four orders.

    A candidate's weight is clipped at the reference's, their cosine is damped by how far the lengths
    differ, and the references are averaged.
    """
    ngram = counts.ngram[joined.row]
    if len(pairs.reference) > pairs.items:  # an item counts once, however many of its references have it
        ngram = np.unique(pairs.item[joined.pair] * counts.distinct + ngram) % max(counts.distinct, 1)
    documents = np.bincount(ngram, minlength=counts.distinct).astype(np.float64)
    rarity = np.log(max(pairs.items, 1)) - np.log(np.maximum(1.0, documents))
    weight = counts.count * rarity[counts.ngram]
    norm = np.sqrt(np.bincount(counts.sentence, weight**2, minlength=len(pairs.lengths)))

    hit = joined.candidate_row >= 0
    reference_weight = weight[joined.row[hit]]
    shared = np.minimum(weight[joined.candidate_row[hit]], reference_weight) * reference_weight
    product = np.bincount(joined.pair[hit], shared, minlength=len(pairs.reference))
    norms = norm[pairs.paired_candidate] * norm[pairs.reference]
    cosine = np.divide(product, norms, out=np.zeros(len(product)), where=norms > 0)

    bigrams = np.maximum(0, pairs.lengths - 1)  # COCO measures length in bigrams
    difference = bigrams[pairs.paired_candidate] - bigrams[pairs.reference]
    damped = cosine * np.exp(-(difference**2) / (2 * SIGMA**2))
    references = np.maximum(1, np.bincount(pairs.item, minlength=pairs.items))
    return np.asarray(SCALE * np.bincount(pairs.item, damped, minlength=pairs.items) / references)
