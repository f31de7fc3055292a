"""CIDEr as COCO prints it, which is CIDEr-D (Vedantam et al. 2015, https://arxiv.org/abs/1411.5726).

Document frequencies come from the references of the corpus being scored, so values of two corpora, or of two
subsets of one, cannot be compared.
"""

from __future__ import annotations

import numpy as np

from medclip_cli.scoring.ngrams import CaptionPairs, Floats, NgramCounts, ReferenceRows

SIGMA = 6.0
SCALE = 10.0


def document_frequency(pairs: CaptionPairs, counts: NgramCounts, joined: ReferenceRows) -> Floats:
    """[distinct] in how many items' references each n-gram stands."""
    ngram = counts.ngram[joined.row]
    if len(pairs.reference) > pairs.items:  # an item counts once, however many of its references have it
        ngram = np.unique(pairs.item[joined.pair] * counts.distinct + ngram) % max(counts.distinct, 1)
    return np.bincount(ngram, minlength=counts.distinct).astype(np.float64)


def cider_d(pairs: CaptionPairs, counts: NgramCounts, joined: ReferenceRows) -> Floats:
    """[n] the share of one n-gram order in each item's CIDEr-D; the score is the mean over the four orders.

    A candidate's weight is clipped at the reference's, their cosine is damped by how far the lengths
    differ, and the references are averaged.
    """
    frequency = document_frequency(pairs, counts, joined)
    inverse_frequency = np.log(max(pairs.items, 1)) - np.log(np.maximum(1.0, frequency))
    weight = counts.count * inverse_frequency[counts.ngram]
    norm = np.sqrt(np.bincount(counts.sentence, weight**2, minlength=len(pairs.lengths)))

    hit = joined.candidate_row >= 0
    reference_weight = weight[joined.row[hit]]
    shared = np.minimum(weight[joined.candidate_row[hit]], reference_weight) * reference_weight
    product = np.bincount(joined.pair[hit], shared, minlength=len(pairs.reference))
    norms = norm[pairs.paired_candidate] * norm[pairs.reference]
    cosine = np.divide(product, norms, out=np.zeros(len(product)), where=norms > 0)
    references = np.maximum(1, np.bincount(pairs.item, minlength=pairs.items))
    total = np.bincount(pairs.item, cosine * _length_damping(pairs), minlength=pairs.items)
    return np.asarray(SCALE * total / references)


def _length_damping(pairs: CaptionPairs) -> Floats:
    bigrams = np.maximum(0, pairs.lengths - 1)  # COCO measures length in bigrams
    difference = bigrams[pairs.paired_candidate] - bigrams[pairs.reference]
    return np.asarray(np.exp(-(difference**2) / (2 * SIGMA**2)))
