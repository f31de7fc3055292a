"""Scores of one caption at a time, as it is written: BLEU, ROUGE-L and CIDEr beside its references.

CIDEr weighs an n-gram by how few captions have it, which one caption's references do not give: the captions
that count are known beforehand, those of a collection or a corpus.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medclip_cli.scoring.captions import score_captions, words_of
from medclip_cli.scoring.measures import SCALE, SIGMA
from medclip_cli.scoring.ngrams import MAX_ORDER, Tokens


@dataclass(frozen=True, slots=True)
class DocumentFrequencies:
    """How many images have each n-gram of one to four words in their captions."""

    documents: int  # how many images there are
    counts: Mapping[Tokens, int]  # of the images that have an n-gram; the others have none

    @classmethod
    def of(cls, captions: Iterable[Sequence[str]]) -> DocumentFrequencies:
        """Count the captions of each image; an n-gram counts once, however many of them have it."""
        texts = [list(of_one) for of_one in captions]
        tokens = iter(words_of([caption for of_one in texts for caption in of_one]))
        counts: Counter[Tokens] = Counter()
        for of_one in texts:
            counts.update({ngram for _ in of_one for part in _ngrams(next(tokens)) for ngram in part})
        return cls(len(texts), counts)


def score_caption(
    prediction: str, references: Sequence[str], known: DocumentFrequencies | None = None
) -> dict[str, float]:
    """Score one caption.

    Args:
        prediction: may be empty; it then scores 0.
        references: its true captions, at least one.
        known: document frequencies for CIDEr; None leaves it out.

    Returns:
        Every score of `score_captions` but METEOR, by name.

    >>> known = DocumentFrequencies.of([["a mass in the lung"], ["a cyst in the liver"], ["a normal heart"]])
    >>> round(score_caption("a mass in the lung", ["a mass in the lung"], known)["cider"], 3)
    10.0
    """
    scores = dict(score_captions([prediction], [references]).corpus)
    del scores["cider"]
    if known is not None:
        candidate, *true = words_of([prediction, *references])
        scores["cider"] = _cider_d(candidate, true, known)
    return scores


def _cider_d(candidate: Tokens, references: Sequence[Tokens], known: DocumentFrequencies) -> float:
    """CIDEr-D of one caption: the mean over its references and over the four orders, as in `cider`."""
    total = 0.0
    ours = _weighted(candidate, known)
    for reference in references:
        difference = max(0, len(candidate) - 1) - max(0, len(reference) - 1)
        theirs = _weighted(reference, known)
        cosines = sum(_clipped_cosine(own, true) for own, true in zip(ours, theirs, strict=True))
        total += cosines * math.exp(-(difference**2) / (2 * SIGMA**2))
    return SCALE * total / (MAX_ORDER * len(references))


def _clipped_cosine(ours: Mapping[Tokens, float], theirs: Mapping[Tokens, float]) -> float:
    norms = math.sqrt(sum(w * w for w in ours.values()) * sum(w * w for w in theirs.values()))
    shared = sum(min(ours[ngram], weight) * weight for ngram, weight in theirs.items() if ngram in ours)
    return shared / norms if norms else 0.0


def _weighted(words: Tokens, known: DocumentFrequencies) -> list[dict[Tokens, float]]:
    """Each order's n-grams, weighted by how often they occur here and how rarely elsewhere."""
    everywhere = math.log(max(known.documents, 1))
    return [
        {
            ngram: count * (everywhere - math.log(max(1, known.counts.get(ngram, 0))))
            for ngram, count in part.items()
        }
        for part in _ngrams(words)
    ]


def _ngrams(words: Tokens) -> list[Counter[Tokens]]:
    """The n-grams of each order 1 to 4, with their counts."""
    return [
        Counter(zip(*(words[start:] for start in range(order)), strict=False))
        for order in range(1, MAX_ORDER + 1)
    ]
