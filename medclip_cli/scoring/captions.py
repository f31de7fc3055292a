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
from medclip_cli.scoring.meteor import VARIANT, MeteorProgram, meteor
from medclip_cli.scoring.ngrams import (
    MAX_ORDER,
    CaptionPairs,
    Floats,
    Ints,
    Tokens,
    count_ngrams,
    join_references,
    pair_up,
)
from medclip_cli.scoring.ptb import INNER_BLANK
from medclip_cli.scoring.rouge import rouge_l
from medclip_cli.scoring.tokenizers import tokenize_once, tokenizer_named

BLEU_NAMES = tuple(f"bleu{order}" for order in range(1, MAX_ORDER + 1))
NOT_MEANS = frozenset({*BLEU_NAMES, "meteor"})
"""Scores whose corpus value comes from summed counts, not from the items' values."""


@dataclass(frozen=True, slots=True)
class CaptionScores:
    """Scores of a set of captions.

    Attributes:
        corpus: the value of each score over all items: from summed counts for BLEU and METEOR, else a mean.
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
        family = max((name for name in self.variants if score.startswith(name)), key=len)
        return self.variants[family]

    def with_score(self, name: str, values: Floats, variant: str) -> CaptionScores:
        """The same with one more score, the mean of these values."""
        return CaptionScores(
            corpus=self.corpus | {name: float(values.mean())},
            items=self.items | {name: values},
            variants=self.variants | {name: variant},
            bleu_counts=self.bleu_counts,
        )

    def __len__(self) -> int:
        """Number of items."""
        return len(self.bleu_counts.candidate_length)


@dataclass(frozen=True, slots=True)
class TokenizedCaptions:
    """Candidates and references as tokens: what every score starts from."""

    candidates: list[Tokens]
    references: list[list[Tokens]]

    def pairs(self) -> CaptionPairs:
        """Numbered, with tokens whole, as ROUGE-L compares them."""
        return pair_up(self.candidates, self.references)

    def words(self, whole: CaptionPairs) -> CaptionPairs:
        """Numbered, as BLEU and CIDEr count: ``1 1/2``, one token to ROUGE-L, is two words to them."""
        if not any(INNER_BLANK in word for word in whole.vocabulary):
            return whole
        return pair_up(
            [_cut(tokens) for tokens in self.candidates],
            [[_cut(tokens) for tokens in captions] for captions in self.references],
        )


def score_captions(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "ptb",
    meteor_program: MeteorProgram | None = None,
) -> CaptionScores:
    """BLEU-1 to 4, ROUGE-L (precision, recall, COCO's F and F1), CIDEr, and METEOR if its program is given.

    Args:
        predictions: one caption per item; an empty one scores 0 and counts in every mean.
        references: the true captions of each item, at least one.
        tokenize: ``ptb`` (COCO's), ``none`` (already tokens) or ``13a`` (sacrebleu's).
        meteor_program: of `find_meteor`; it takes seconds to start.

    Raises:
        ScoringError: there is nothing to score, an item has no reference, or METEOR fails.
        UsageError: no such tokenizer.

    >>> scores = score_captions(["a mass in the lung"], [["a mass in the left lung"]])
    >>> round(scores.corpus["bleu1"], 4), round(scores.corpus["rouge_l_r"], 4)
    (0.8187, 0.8333)
    """
    _check(predictions, references)
    tokens = _tokenize(predictions, references, tokenize)
    whole = tokens.pairs()
    words = tokens.words(whole)
    matches, cider = _count(words)
    bleu, rouge = bleu_counts(words, matches), rouge_l(whole)
    items = dict(zip(BLEU_NAMES, coco_bleu(bleu).T, strict=True)) | {
        "rouge_l": rouge.f_coco,
        "rouge_l_p": rouge.precision,
        "rouge_l_r": rouge.recall,
        "rouge_l_f1": rouge.f1,
    }
    corpus = dict(zip(BLEU_NAMES, corpus_bleu(bleu), strict=True))
    if meteor_program is not None:
        judged = meteor(meteor_program, tokens.candidates, tokens.references)
        items["meteor"], corpus["meteor"] = judged.items, judged.corpus
    items["cider"] = cider
    ordered_map = {name: corpus.get(name, float(values.mean())) for name, values in items.items()}
    return CaptionScores(ordered_map, items, _variants(tokenize, references, "meteor" in items), bleu)


def _count(words: CaptionPairs) -> tuple[list[Ints], Floats]:
    """[n] BLEU's clipped matches for each order, and [n] CIDEr-D: one pass over the n-grams serves both."""
    matches, cider = [], np.zeros(words.items)
    for counts in count_ngrams(words):
        joined = join_references(words, counts)
        matches.append(clipped_matches(words, counts, joined))
        cider += cider_d(words, counts, joined) / MAX_ORDER
    return matches, cider


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


def _tokenize(
    predictions: Sequence[str], references: Sequence[Sequence[str]], tokenize: str
) -> TokenizedCaptions:
    flat = [*predictions, *(caption for captions in references for caption in captions)]
    tokens = iter(tokenize_once(flat, tokenizer_named(tokenize)))
    candidates = [next(tokens) for _ in predictions]
    return TokenizedCaptions(candidates, [[next(tokens) for _ in captions] for captions in references])


def words_of(captions: Sequence[str], tokenize: str = "ptb") -> list[Tokens]:
    """The words of captions, as BLEU and CIDEr count them."""
    return [_cut(tokens) for tokens in tokenize_once(captions, tokenizer_named(tokenize))]


def _cut(tokens: Tokens) -> Tokens:
    return tuple(word for token in tokens for word in token.split(INNER_BLANK))


def _variants(tokenize: str, references: Sequence[Sequence[str]], has_meteor: bool) -> dict[str, str]:
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
        **({"meteor": VARIANT} if has_meteor else {}),
        "cider": "CIDEr-D n=4 sigma=6, document frequencies of these references",
    }
