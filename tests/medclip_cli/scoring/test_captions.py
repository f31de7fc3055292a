"""Caption scores worked by hand, against sacrebleu, and against a slow way of computing them."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medclip_cli.errors import ScoringError, UsageError
from medclip_cli.scoring.captions import score_captions
from medclip_cli.scoring.measures import lcs_length

WORDS = st.lists(st.sampled_from("a b c d e".split()), max_size=7).map(" ".join)
CORPORA = st.lists(st.tuples(WORDS, st.lists(WORDS, min_size=1, max_size=3)), min_size=1, max_size=6)


def scored(prediction, *references, **options):
    return score_captions([prediction], [list(references)], **options)


def test_bleu_by_hand():
    # "the the the" against "the cat": one "the" counts; 3 unigrams guessed, and no brevity penalty.
    assert scored("the the the", "the cat").corpus["bleu1"] == pytest.approx(1 / 3)
    # 4 of 4 unigrams, 2 of 3 bigrams, and exp(1 - 5/4) for being short.
    short = scored("a b c d", "a b x c d")
    assert short.corpus["bleu1"] == pytest.approx(math.exp(-1 / 4))
    assert short.corpus["bleu2"] == pytest.approx(math.sqrt(2 / 3) * math.exp(-1 / 4))


def test_bleu_takes_the_nearest_reference_length_and_the_shorter_of_two():
    assert scored("a b c", "a b", "a b c d").corpus["bleu1"] == pytest.approx(1.0)
    assert scored("a b c", "a b c d", "a b c d e f").corpus["bleu1"] == pytest.approx(math.exp(1 - 4 / 3))


def test_bleu_clips_by_the_reference_that_has_most():
    assert scored("a a a a", "a b c d", "a a b c").corpus["bleu1"] == pytest.approx(2 / 4)


def test_rouge_l_by_hand():
    rouge = scored("a x b c", "a b c d e").items
    precision, recall = 3 / 4, 3 / 5
    assert rouge["rouge_l_p"] == pytest.approx(precision)
    assert rouge["rouge_l_r"] == pytest.approx(recall)
    assert rouge["rouge_l"] == pytest.approx((1 + 1.44) * precision * recall / (recall + 1.44 * precision))
    assert rouge["rouge_l_f1"] == pytest.approx(2 * precision * recall / (precision + recall))


def test_cider_by_hand():
    # Two items with nothing in common: every n-gram is in one of two documents, so each weighs log 2; the
    # perfect caption has cosine 1 in all four orders, times 10, and the other has 0.
    scores = score_captions(["a b c d", "x"], [["a b c d"], ["e f g h"]])
    assert scores.items["cider"] == pytest.approx([10.0, 0.0])
    # In a corpus of one item every n-gram is in every document and weighs nothing.
    assert scored("a b c d", "a b c d").corpus["cider"] == 0.0


@pytest.mark.parametrize("blank", ["", "   ", "\r\n", ". , ;"])
def test_an_empty_prediction_scores_zero_and_counts(blank):
    scores = score_captions(["a mass", blank], [["a mass"], ["a mass"]])
    for name, values in scores.items.items():
        assert values[1] == pytest.approx(0.0, abs=1e-6), name
    assert scores.corpus["rouge_l"] == pytest.approx(0.5)


@pytest.mark.parametrize("code", [0x0B, 0x0C, 0x0D, 0x1C, 0x1D, 0x1E, 0x0A, 0x2028, 0x2029])
@pytest.mark.parametrize("tokenize", ["ptb", "none", "13a"])
def test_a_line_break_in_a_caption_is_a_blank_and_shifts_nothing(code, tokenize):
    references = [["left lung"], ["right lung"], ["no mass"]]
    broken = score_captions([f"left{chr(code)}lung", "right lung", "no mass"], references, tokenize=tokenize)
    assert broken.items["rouge_l"] == pytest.approx([1.0, 1.0, 1.0])


def test_tokenizers_differ_as_they_should():
    assert scored("A Lung.", "a lung").corpus["bleu1"] == pytest.approx(1.0)
    assert scored("A Lung.", "a lung", tokenize="none").corpus["bleu1"] == pytest.approx(0.0, abs=1e-6)
    assert scored("a mass.", "a mass .", tokenize="13a").corpus["bleu1"] == pytest.approx(1.0)
    assert scored("a mass.", "a mass .", tokenize="none").corpus["bleu1"] == pytest.approx(
        1 / 2 * math.exp(-1 / 2)
    )


def test_variants_name_definition_and_version():
    scores = score_captions(["a", "b"], [["a"], ["b", "c"]], tokenize="13a")
    assert scores.variants["tokenizer"] == "13a"
    assert scores.variant_of("bleu4").startswith("nrefs:var|case:mixed|eff:no|tok:13a|smooth:none|version:")
    assert scores.variant_of("rouge_l_p") == "coco beta=1.2"
    assert "CIDEr-D" in scores.variant_of("cider")


def test_corpus_bleu_is_sacrebleus():
    from sacrebleu.metrics.bleu import BLEU

    predictions = ["a b c d e f", "a c d e g", "f e d c b a"]
    references = [["a b c d f e", "a b"], ["a c d e", "c d e g"], ["f e d c a b", "f"]]
    ours = score_captions(predictions, references, tokenize="none").corpus
    for order in range(1, 5):
        metric = BLEU(tokenize="none", smooth_method="none", max_ngram_order=order)
        theirs = metric.corpus_score(predictions, [list(column) for column in zip(*references, strict=True)])
        assert ours[f"bleu{order}"] == pytest.approx(theirs.score / 100, abs=1e-12)


def test_a_corpus_of_one_scores_what_its_item_does():
    scores = scored("a mass", "a mass")
    for name, values in scores.items.items():
        assert scores.corpus[name] == pytest.approx(values[0], abs=1e-8), name


def naive_lcs(first, second):
    table = [[0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i, a in enumerate(first):
        for j, b in enumerate(second):
            table[i + 1][j + 1] = table[i][j] + 1 if a == b else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


@given(st.lists(st.integers(0, 3), max_size=12), st.lists(st.integers(0, 3), max_size=12))
@settings(max_examples=200, deadline=None)
def test_lcs_equals_the_textbook_table(first, second):
    assert lcs_length(first, second) == naive_lcs(first, second)


def grams(text, order):
    words = text.split()
    return Counter(tuple(words[i : i + order]) for i in range(len(words) - order + 1))


def naive_cider(corpus):
    """CIDEr-D straight from section 5 of the paper, caption by caption."""
    total = np.zeros(len(corpus))
    for order in range(1, 5):
        frequency = Counter(g for _, refs in corpus for g in {g for ref in refs for g in grams(ref, order)})

        def vector(text, order=order, frequency=frequency):
            return {
                g: n * (math.log(len(corpus)) - math.log(max(1, frequency[g])))
                for g, n in grams(text, order).items()
            }

        for index, (prediction, refs) in enumerate(corpus):
            guess = vector(prediction)
            for ref in refs:
                true = vector(ref)
                dot = sum(min(weight, true.get(g, 0.0)) * true.get(g, 0.0) for g, weight in guess.items())
                norms = math.hypot(*guess.values()) * math.hypot(*true.values())
                lengths = [max(0, len(text.split()) - 1) for text in (prediction, ref)]
                damping = math.exp(-((lengths[0] - lengths[1]) ** 2) / 72)
                total[index] += 10 / 4 * (dot / norms * damping if norms else 0.0) / len(refs)
    return total


@given(CORPORA)
@settings(max_examples=100, deadline=None)
def test_cider_equals_the_slow_way(corpus):
    scores = score_captions([p for p, _ in corpus], [refs for _, refs in corpus], tokenize="none")
    np.testing.assert_allclose(scores.items["cider"], naive_cider(corpus), atol=1e-9)


@given(CORPORA)
@settings(max_examples=100, deadline=None)
def test_bleu_counts_equal_the_slow_way(corpus):
    counts = score_captions([p for p, _ in corpus], [refs for _, refs in corpus], tokenize="none").bleu_counts
    for index, (prediction, refs) in enumerate(corpus):
        for order in range(1, 5):
            most = Counter()
            for ref in refs:
                most |= grams(ref, order)
            assert counts.matches[index, order - 1] == (grams(prediction, order) & most).total()
            assert counts.guesses[index, order - 1] == grams(prediction, order).total()


def test_a_long_caption_is_scored():
    words = " ".join(f"word{i % 977}" for i in range(150_000))
    scores = scored(words, words)
    assert len(words) > 1_000_000
    assert scores.corpus["bleu4"] == pytest.approx(1.0)
    assert scores.corpus["rouge_l"] == pytest.approx(1.0)


def test_what_cannot_be_scored():
    with pytest.raises(ScoringError, match="2 predictions but 1 sets of references"):
        score_captions(["a", "b"], [["a"]])
    with pytest.raises(ScoringError, match="no captions to score: the set is empty"):
        score_captions([], [])
    with pytest.raises(ScoringError, match="item 1 needs a list of at least one reference"):
        score_captions(["a", "b"], [["a"], []])
    with pytest.raises(ScoringError, match="item 0 needs a list"):
        score_captions(["a"], ["a"])
    with pytest.raises(UsageError, match="unknown tokenizer 'moses': choose one of ptb, none, 13a"):
        score_captions(["a"], [["a"]], tokenize="moses")
