"""Bootstrap intervals: right on known distributions, and the same as resampling the slow way."""

import numpy as np
import pytest

from medclip_cli.scoring.bootstrap import (
    confidence_intervals,
    item_draws,
    percentile_interval,
    resampled_scores,
)
from medclip_cli.scoring.captions import score_captions
from medclip_cli.scoring.score_table import ScoreTable, table_of

PREDICTIONS = ["a b c d", "a b x d e", "c c c", "", "e d c b a"] * 4
REFERENCES = [["a b c d e"], ["a b c d e", "a x d"], ["c d"], ["e"], ["a b c d e"]] * 4


def test_draws_are_whole_items_with_replacement():
    draws = np.concatenate(list(item_draws(7, 50, seed=3)))
    assert draws.shape == (50, 7)
    assert (draws.sum(axis=1) == 7).all()
    assert draws.max() > 1


def test_draws_in_blocks_hold_the_memory_down(monkeypatch):
    monkeypatch.setattr("medclip_cli.scoring.bootstrap._DRAWS_AT_ONCE", 20)
    blocks = list(item_draws(7, 5, seed=3))
    assert [len(block) for block in blocks] == [2, 2, 1]


def test_resampled_scores_equal_scoring_the_resampled_captions():
    scores = score_captions(PREDICTIONS, REFERENCES, tokenize="none")
    drawn = resampled_scores(table_of(scores), resamples=6, seed=1)
    for number, draws in enumerate(np.concatenate(list(item_draws(len(PREDICTIONS), 6, seed=1)))):
        chosen = np.repeat(np.arange(len(PREDICTIONS)), draws.astype(int))
        again = score_captions(
            [PREDICTIONS[i] for i in chosen], [REFERENCES[i] for i in chosen], tokenize="none"
        )
        for name in ("bleu1", "bleu4", "rouge_l"):
            assert drawn[name][number] == pytest.approx(again.corpus[name], abs=1e-9)


def test_intervals_hold_the_score_and_repeat_with_the_seed():
    scores = score_captions(PREDICTIONS, REFERENCES, tokenize="none")
    table = table_of(scores)
    intervals = confidence_intervals(table, resamples=500, seed=5)
    assert intervals.keys() == scores.corpus.keys()
    for name, (low, high) in intervals.items():
        assert low <= scores.corpus[name] <= high, name
    assert confidence_intervals(table, resamples=500, seed=5) == intervals
    assert confidence_intervals(table, resamples=500, seed=6) != intervals


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=4_000)
    table = ScoreTable(("mean",), np.column_stack([values, np.ones((len(values), 10))]))
    drawn = resampled_scores(table, resamples=4_000, seed=0)["mean"]
    low, high = percentile_interval(drawn)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
