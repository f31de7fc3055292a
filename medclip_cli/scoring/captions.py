"""Scoring captions against references: the numbers of COCO caption evaluation, corpus and item."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from medclip_cli.errors import ScoringError, UsageError
from medclip_cli.scoring import meteor
from medclip_cli.scoring.measures import (
    BleuCounts,
    bleu_counts,
    cider_d,
    clipped_matches,
    coco_bleu,
    corpus_bleu,
    rouge_l,
    sacrebleu_signature,
)
from medclip_cli.scoring.ngrams import MAX_ORDER, Floats, Tokens, count_ngrams, join_references, pair_up
from medclip_cli.scoring.ptb import INNER_BLANK, PtbTokenizer

BLEU_NAMES = tuple(f"bleu{order}" for order in range(1, MAX_ORDER + 1))
TokenizerName = Literal["ptb", "none", "13a"]

# Whatever breaks a line somewhere. COCO's scripts hand captions to Java a line each and replace only "\n", so
# that any of the others shifts every later caption by one; here each is a blank and captions stay apart. (The
# PTB tokenizer makes blanks of them itself, but for U+0085, which is the ellipsis of Windows-1252 to it.)
_LINE_BREAKS = str.maketrans(dict.fromkeys("\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029", " "))


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


def score_captions(
    predictions: Sequence[str],
    references: Sequence[Sequence[str]],
    *,
    tokenize: str = "ptb",
    meteor_program: meteor.MeteorProgram | None = None,
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
    if len(predictions) != len(references):
        raise ScoringError(
            f"{len(predictions)} predictions but {len(references)} sets of references: they must pair up"
        )
    if not predictions:
        raise ScoringError("no captions to score: the set is empty")
    for position, captions in enumerate(references):
        if isinstance(captions, str) or not captions:
            raise ScoringError(f"item {position} needs a list of at least one reference caption")

    flat = [*predictions, *(caption for captions in references for caption in captions)]
    tokens = iter(tokenize_captions(flat, tokenize))
    candidates = [next(tokens) for _ in predictions]
    truths = [[next(tokens) for _ in captions] for captions in references]
    pairs = words = pair_up(candidates, truths)
    if any(INNER_BLANK in word for word in pairs.vocabulary):
        # `1 1/2` is one token to ROUGE-L, and two words to BLEU and CIDEr.
        words = pair_up(
            [_words(caption) for caption in candidates],
            [[_words(caption) for caption in captions] for captions in truths],
        )
    matches, cider = [], np.zeros(words.items)
    for counts in count_ngrams(words):  # one pass over the n-grams serves BLEU and CIDEr
        joined = join_references(words, counts)
        matches.append(clipped_matches(words, counts, joined))
        cider += cider_d(words, counts, joined) / MAX_ORDER
    bleu = bleu_counts(words, matches)
    items = dict(zip(BLEU_NAMES, coco_bleu(bleu).T, strict=True)) | rouge_l(pairs)
    of_corpus = dict(zip(BLEU_NAMES, corpus_bleu(bleu), strict=True))
    if meteor_program is not None:
        found = meteor.meteor(meteor_program, candidates, truths)
        items["meteor"], of_corpus["meteor"] = found.items, found.corpus
    items["cider"] = cider

    per_item = {len(captions) for captions in references}
    variants = {
        "tokenizer": tokenize,
        "bleu": sacrebleu_signature(
            "13a" if tokenize == "13a" else "none", per_item.pop() if len(per_item) == 1 else None
        ),
        "bleu_per_item": "coco, counts + 1e-15 / 1e-9",
        "rouge_l": "coco beta=1.2",
        "rouge_l_f1": "of the best precision and the best recall",
        **({"meteor": meteor.VARIANT} if "meteor" in items else {}),
        "cider": "CIDEr-D n=4 sigma=6, document frequencies of these references",
    }
    corpus = {name: of_corpus.get(name, float(values.mean())) for name, values in items.items()}
    return CaptionScores(corpus, items, variants, bleu)


def tokenize_captions(captions: Sequence[str], tokenize: str = "ptb") -> list[Tokens]:
    r"""The tokens of each caption; retrieval returns the same ones again and again, so each is cut once.

    Args:
        captions: any texts; whatever breaks a line in one of them is a blank.
        tokenize: ``ptb`` as COCO caption evaluation does (lower case, punctuation dropped); ``13a`` is
            sacrebleu's default, case and punctuation kept; ``none`` cuts at blanks what is tokens already.

    Raises:
        UsageError: no tokenizer has that name.

    >>> tokenize_captions(["Left\u2028lung, clear."]), tokenize_captions(["left  lung\u2028clear"], "none")
    ([('left', 'lung', 'clear')], [('left', 'lung', 'clear')])
    """
    cut: Callable[[str], Tokens]
    if tokenize == "ptb":
        cut = PtbTokenizer()
    elif tokenize == "none":

        def cut(caption: str) -> Tokens:
            return tuple(caption.split())
    elif tokenize == "13a":
        from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

        cut_13a = Tokenizer13a()

        def cut(caption: str) -> Tokens:
            return tuple(cut_13a(caption.translate(_LINE_BREAKS)).split())
    else:
        names = ", ".join(get_args(TokenizerName))
        raise UsageError(f"unknown tokenizer {tokenize!r}: choose one of {names}")
    known = {caption: cut(caption) for caption in dict.fromkeys(captions)}
    return [known[caption] for caption in captions]


def words_of(captions: Sequence[str], tokenize: str = "ptb") -> list[Tokens]:
    """The words of captions, as BLEU and CIDEr count them."""
    return [_words(tokens) for tokens in tokenize_captions(captions, tokenize)]


def _words(tokens: Tokens) -> Tokens:
    return tuple(word for token in tokens for word in token.split(INNER_BLANK))
