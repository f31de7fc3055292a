"""Scoring captions against references: the numbers of COCO caption evaluation, corpus and item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from medclip_cli.errors import ScoringError
from medclip_cli.scoring.bleu import (
    BleuCounts,
    bleu_counts,
    clipped_matches,
    coco_bleu,
    corpus_bleu,
    sacrebleu_signature,
)
from medclip_cli.scoring.cider import cider_d
from medclip_cli.scoring.ngrams import (
    MAX_ORDER,
    CaptionPairs,
    Floats,
    Tokens,
    count_ngrams,
    join_references,
    pair_up,
)
from medclip_cli.scoring.ptb import INNER_BLANK
from medclip_cli.scoring.rouge import rouge_l
from medclip_cli.scoring.tokenizers import tokenize_once, tokenizer_named

BLEU_NAMES = tuple(f"bleu{order}" for order in range(1, MAX_ORDER + 1))


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        corpus: the value of each score over all items. BLEU is that of the summed counts, the others are
            means.
        items: [n] the value of each score for each item, in the order of the input.
        variants: which definition, tokenizer and version each number is.
        bleu_counts: what BLEU was computed from, for resampling it.
    """

    corpus: dict[str, float]
    items: dict[str, Floats]
    variants: dict[str, str]
    bleu_counts: BleuCounts

    def variant_of(self, score: str) -> str:
        """Which definition a score follows: its own entry, or that of its family (``bleu`` for ``bleu4``)."""
        return next(text for name, text in reversed(self.variants.items()) if score.startswith(name))

    def __len__(self) -> int:
        """Number of items."""
        return len(self.bleu_counts.candidate_length)


def score_captions(
    predictions: Sequence[str], references: Sequence[Sequence[str]], *, tokenize: str = "ptb"
) -> CaptionScores:
    """BLEU-1 to 4, ROUGE-L (precision, recall, COCO's F and F1) and CIDEr.

    Args:
        predictions: one caption per item; an empty one scores 0 and counts in every mean.
        references: the true captions of each item, at least one.
        tokenize: ``ptb`` (COCO's), ``none`` (already tokens) or ``13a`` (sacrebleu's).

    Raises:
        ScoringError: there is nothing to score, or an item has no reference.
        UsageError: no such tokenizer.

    >>> scores = score_captions(["a mass in the lung"], [["a mass in the left lung"]])
    >>> round(scores.corpus["bleu1"], 4), round(scores.corpus["rouge_l_r"], 4)
    (0.8187, 0.8333)
    """
    _check(predictions, references)
    candidates, reference_tokens = _tokens(predictions, references, tokenize)
    whole = pair_up(candidates, reference_tokens)
    pairs = _at_every_blank(whole, candidates, reference_tokens)
    matches, cider = [], np.zeros(pairs.items)
    for counts in count_ngrams(pairs):
        joined = join_references(pairs, counts)
        matches.append(clipped_matches(pairs, counts, joined))
        cider += cider_d(pairs, counts, joined) / MAX_ORDER
    bleu = bleu_counts(pairs, matches)
    rouge = rouge_l(whole)
    items = dict(zip(BLEU_NAMES, coco_bleu(bleu).T, strict=True)) | {
        "rouge_l": rouge.f_coco,
        "rouge_l_p": rouge.precision,
        "rouge_l_r": rouge.recall,
        "rouge_l_f1": rouge.f1,
        "cider": cider,
    }
    corpus = {name: float(values.mean()) for name, values in items.items()}
    corpus.update(zip(BLEU_NAMES, corpus_bleu(bleu), strict=True))
    return CaptionScores(corpus, items, _variants(tokenize, references), bleu)


def _check(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(predictions) != len(references):
        raise ScoringError(
            f"{len(predictions)} predictions but {len(references)} sets of references: they must pair up"
        )
    if not predictions:
        raise ScoringError("no captions to score: the set is empty")
    for position, captions in enumerate(references):
        if isinstance(captions, str) or not captions:
            raise ScoringError(f"item {position} needs a list of at least one reference caption")


def _tokens(
    predictions: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> tuple[list[Tokens], list[list[Tokens]]]:
    flat = [*predictions, *(caption for captions in references for caption in captions)]
    tokens = iter(tokenize_once(flat, tokenizer_named(tokenize)))
    candidates = [next(tokens) for _ in predictions]
    return candidates, [[next(tokens) for _ in captions] for captions in references]


def _at_every_blank(
    whole: CaptionPairs, candidates: Sequence[Tokens], references: Sequence[Sequence[Tokens]]
) -> CaptionPairs:
    """The words that BLEU and CIDEr count: COCO cuts ``1 1/2``, one token to ROUGE-L, at its inner blank."""
    if not any(INNER_BLANK in word for word in whole.vocabulary):
        return whole
    return pair_up(
        [_cut(tokens) for tokens in candidates], [[_cut(tokens) for tokens in item] for item in references]
    )


def _cut(tokens: Tokens) -> Tokens:
    return tuple(word for token in tokens for word in token.split(INNER_BLANK))


def _variants(tokenize: str, references: Sequence[Sequence[str]]) -> dict[str, str]:
    per_item = {len(captions) for captions in references}
    signature = sacrebleu_signature(
        "13a" if tokenize == "13a" else "none", per_item.pop() if len(per_item) == 1 else None
    )
    return {
        "tokenizer": tokenize,
        "bleu": signature,
        "bleu_per_item": "coco, counts + 1e-15 / 1e-9",
        "rouge_l": "coco beta=1.2",
        "rouge_l_f1": "of the best precision and the best recall",
        "cider": "CIDEr-D n=4 sigma=6, document frequencies of these references",
    }
