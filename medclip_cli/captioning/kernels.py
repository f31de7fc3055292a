"""How alike captions are to each other: the kernels that consensus captioning sums.

Both compare token n-grams of order 1 to 4 and give 1 for two equal captions, 0 for two with no word in
common. Small and dense, for the tens of captions around one image; `scoring` judges whole corpora.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Kernel = Callable[[Sequence[str]], Floats]

MAX_ORDER = 4
_NOTHING = 1e-12
_WORD = re.compile(r"\w+(?:[-'.]\w+)*")


def words_of(caption: str) -> list[str]:
    """Return the lower-cased words of a caption, without punctuation; ``T2-weighted`` and ``3.5`` are one.

    >>> words_of("Axial T2-weighted MR, 3.5 cm mass.")
    ['axial', 't2-weighted', 'mr', '3.5', 'cm', 'mass']
    """
    return _WORD.findall(caption.lower())


def cider_kernel(captions: Sequence[str]) -> Floats:
    """Mean cosine of the TF-IDF weighted n-grams of each pair (CIDEr, https://arxiv.org/abs/1411.5726).

    Document frequencies are those of the captions themselves, smoothed so that words which all of them share
    still count a little: where everybody agrees, agreement must not weigh nothing.

    Args:
        captions: k captions, at least one.

    Returns:
        float64 ``[k, k]``, symmetric, 0 to 1.
    """
    total = np.zeros((len(captions), len(captions)))
    orders = np.zeros_like(total)  # a caption of two words has no n-grams of three
    for counts in _counts_by_order(captions):
        rarity = np.log1p(len(captions) / np.maximum(1, (counts > 0).sum(axis=0)))
        total += _cosine(counts * rarity)
        has_any = counts.sum(axis=1) > 0
        orders += has_any[:, None] | has_any[None, :]
    return np.divide(total, orders, out=total, where=orders > 0)


def bleu_kernel(captions: Sequence[str]) -> Floats:
    """Symmetric BLEU-4 of each pair: geometric mean of the F1 of clipped n-gram matches, add-one smoothed.

    BLEU itself (Papineni et al., ACL 2002) rewards the precision of one side and needs a brevity penalty; the
    mean of both directions needs none. Orders above 1 are smoothed as by Lin and Och, COLING 2004.

    Args:
        captions: k captions, at least one.

    Returns:
        float64 ``[k, k]``, symmetric, 0 to 1.
    """
    logarithms = np.zeros((len(captions), len(captions)))
    for order, counts in enumerate(_counts_by_order(captions), start=1):
        smoothing = float(order > 1)
        matches = np.stack([np.minimum(counts, row).sum(axis=1) for row in counts])
        lengths = counts.sum(axis=1)
        mean_length = (lengths[:, None] + lengths[None, :]) / 2
        share = (matches + smoothing) / np.maximum(mean_length + smoothing, _NOTHING)
        logarithms += np.log(np.maximum(share, _NOTHING)) / MAX_ORDER
    # No word in common is no likeness, whatever smoothing says of the longer n-grams.
    return np.where(logarithms > np.log(_NOTHING) / MAX_ORDER, np.exp(logarithms), 0.0)


def _counts_by_order(captions: Sequence[str]) -> list[Floats]:
    """For each order 1 to 4: how often each distinct n-gram stands in each caption, ``[k, n-grams]``."""
    sentences = [words_of(caption) for caption in captions]
    by_order = []
    for order in range(1, MAX_ORDER + 1):
        columns: dict[tuple[str, ...], int] = {}
        rows = [Counter(zip(*(words[i:] for i in range(order)), strict=False)) for words in sentences]
        for row in rows:
            for ngram in row:
                columns.setdefault(ngram, len(columns))
        counts = np.zeros((len(captions), len(columns)))
        for place, row in enumerate(rows):
            counts[place, [columns[ngram] for ngram in row]] = list(row.values())
        by_order.append(counts)
    return by_order


def _cosine(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return np.asarray(unit @ unit.T)


KERNELS: dict[str, Kernel] = {"cider": cider_kernel, "bleu": bleu_kernel}
