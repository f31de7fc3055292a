"""BLEU-1 to 4 (Papineni et al. 2002, https://aclanthology.org/P02-1040) with COCO's conventions.

The counts are clipped by the reference that has most of an n-gram, and the reference nearest in length sets
the brevity penalty (the shorter of two equally near). The corpus value is sacrebleu's, from the summed
counts; an item's is COCO's, which adds 1e-9 and 1e-15 to the counts where sacrebleu would smooth or give 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from medclip_cli.scoring.ngrams import MAX_ORDER, CaptionPairs, Floats, Ints, NgramCounts, ReferenceRows

Counts = Ints | Floats  # sums of a resample come as floats that hold whole numbers
_ADDED_TO_GUESSES = 1e-9
_ADDED_TO_MATCHES = 1e-15


@dataclass(frozen=True, slots=True)
class BleuCounts:
    """What BLEU needs to know of each item; sums over items are what it needs of a corpus.

    Attributes:
        matches: [n, 4] clipped n-gram matches by order.
        guesses: [n, 4] n-grams in the candidate by order.
        candidate_length: [n] words.
        reference_length: [n] words of the reference nearest in length.
    """

    matches: Counts
    guesses: Counts
    candidate_length: Counts
    reference_length: Counts


def clipped_matches(pairs: CaptionPairs, counts: NgramCounts, joined: ReferenceRows) -> Ints:
    """[n] n-grams of each candidate that some reference has, each counted at most as often as there."""
    hit = joined.candidate_row >= 0
    candidate_row = joined.candidate_row[hit]
    item = pairs.item[joined.pair[hit]]
    clipped = np.minimum(counts.count[candidate_row], counts.count[joined.row[hit]])
    if len(pairs.reference) > pairs.items and len(
        item
    ):  # several references: the best of them, n-gram by n-gram
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
    return BleuCounts(
        matches=np.stack(matches, axis=1),
        guesses=np.maximum(0, length[:, None] - np.arange(MAX_ORDER)),
        candidate_length=length,
        reference_length=_nearest_lengths(pairs),
    )


def _nearest_lengths(pairs: CaptionPairs) -> Ints:
    reference = pairs.lengths[pairs.reference]
    distance = np.abs(reference - pairs.lengths[pairs.paired_candidate])
    order = np.lexsort((reference, distance, pairs.item))
    first = np.flatnonzero(np.diff(pairs.item[order], prepend=-1))
    return reference[order][first]


def coco_bleu(counts: BleuCounts) -> Floats:
    """[n, 4] BLEU-1 to 4 of each row of counts, by COCO's arithmetic."""
    precision = (counts.matches + _ADDED_TO_MATCHES) / (counts.guesses + _ADDED_TO_GUESSES)
    bleu: Floats = np.cumprod(precision, axis=1) ** (1.0 / np.arange(1, MAX_ORDER + 1))
    ratio = (counts.candidate_length + _ADDED_TO_MATCHES) / (counts.reference_length + _ADDED_TO_GUESSES)
    penalty: Floats = np.exp(np.minimum(0.0, 1.0 - 1.0 / ratio))
    return bleu * penalty[:, None]


def corpus_counts(counts: BleuCounts) -> BleuCounts:
    """The sums over the items, as one row."""
    return BleuCounts(
        matches=counts.matches.sum(axis=0, keepdims=True),
        guesses=counts.guesses.sum(axis=0, keepdims=True),
        candidate_length=counts.candidate_length.sum(keepdims=True),
        reference_length=counts.reference_length.sum(keepdims=True),
    )


def corpus_bleu(counts: BleuCounts) -> list[float]:
    """BLEU-1 to 4 of the corpus, between 0 and 1: sacrebleu's value of the summed counts.

    Where an order has no match at all sacrebleu gives 0 for it and those above, and COCO its tiny counts;
    then COCO's value stands, so that a corpus of one item scores what the item does.
    """
    from sacrebleu.metrics.bleu import BLEU

    total = corpus_counts(counts)
    matches, guesses = total.matches[0].tolist(), total.guesses[0].tolist()
    scores: list[float] = coco_bleu(total)[0].tolist()
    for order in range(1, MAX_ORDER + 1):
        if matches[order - 1] > 0:
            scores[order - 1] = (
                BLEU.compute_bleu(
                    correct=matches[:order],
                    total=guesses[:order],
                    sys_len=int(total.candidate_length[0]),
                    ref_len=int(total.reference_length[0]),
                    max_ngram_order=order,
                ).score
                / 100.0
            )
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
