"""Bootstrap intervals and paired tests: right on known distributions, equal to the slow way."""

import itertools
import json

import numpy as np
import pytest

from medclip_cli.scoring.captions import score_captions
from medclip_cli.scoring.resampling import (
    ScoreTable,
    compare,
    confidence_intervals,
    item_draws,
    percentile_interval,
)

PREDICTIONS = ["a b c d", "a b x d e", "c c c", "", "e d c b a"] * 4
REFERENCES = [["a b c d e"], ["a b c d e", "a x d"], ["c d"], ["e"], ["a b c d e"]] * 4


def test_draws_are_whole_items_with_replacement():
    draws = np.concatenate(list(item_draws(7, 50, seed=3)))
    assert draws.shape == (50, 7)
    assert (draws.sum(axis=1) == 7).all()
    assert draws.max() > 1


def test_draws_in_blocks_hold_the_memory_down(monkeypatch):
    monkeypatch.setattr("medclip_cli.scoring.resampling._NUMBERS_AT_ONCE", 20)
    blocks = list(item_draws(7, 5, seed=3))
    assert [len(block) for block in blocks] == [2, 2, 1]


def test_resampled_scores_equal_scoring_the_resampled_captions():
    scores = score_captions(PREDICTIONS, REFERENCES, tokenize="none")
    drawn = ScoreTable.of(scores).resampled(6, 1)
    for number, draws in enumerate(np.concatenate(list(item_draws(len(PREDICTIONS), 6, seed=1)))):
        chosen = np.repeat(np.arange(len(PREDICTIONS)), draws.astype(int))
        again = score_captions(
            [PREDICTIONS[i] for i in chosen], [REFERENCES[i] for i in chosen], tokenize="none"
        )
        for name in ("bleu1", "bleu4", "rouge_l"):
            assert drawn[name][number] == pytest.approx(again.corpus[name], abs=1e-9)


def test_intervals_hold_the_score_and_repeat_with_the_seed():
    scores = score_captions(PREDICTIONS, REFERENCES, tokenize="none")
    table = ScoreTable.of(scores)
    intervals = confidence_intervals(table, resamples=500, seed=5)
    assert intervals.keys() == scores.corpus.keys()
    for name, (low, high) in intervals.items():
        assert low <= scores.corpus[name] <= high, name
    assert confidence_intervals(table, resamples=500, seed=5) == intervals
    assert confidence_intervals(table, resamples=500, seed=6) != intervals


def test_the_interval_of_a_mean_is_the_normal_one():
    values = np.random.default_rng(0).normal(size=4_000)
    table = ScoreTable(("mean",), np.column_stack([values, np.ones((len(values), 10))]))
    drawn = table.resampled(4_000, 0)["mean"]
    low, high = percentile_interval(drawn)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


TRUE = [[f"a mass of {i} cm in the left lung"] for i in range(40)]
GOOD = [f"a mass of {i} cm in the right lung" for i in range(40)]
BAD = [f"no finding in image {i}" for i in range(40)]


def table(predictions):
    return ScoreTable.of(score_captions(predictions, TRUE))


def test_a_clear_difference_is_found_on_every_score():
    for name, found in compare(table(GOOD), table(BAD), resamples=300).items():
        assert found.value > 0, name
        assert found.interval[0] > 0, name
        assert found.p_value < 0.01, name


def test_it_is_the_same_the_other_way_round():
    one, other = compare(table(GOOD), table(BAD)), compare(table(BAD), table(GOOD))
    for name in one:
        assert one[name].value == pytest.approx(-other[name].value)
        assert one[name].interval == pytest.approx(tuple(-x for x in reversed(other[name].interval)))


def test_a_system_is_no_better_than_itself():
    for found in compare(table(GOOD), table(GOOD), resamples=50).values():
        assert (found.value, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)


def means(values):
    return ScoreTable(("mean",), np.column_stack([values, np.zeros((len(values), 10))]))


def test_the_p_value_is_that_of_all_swaps():
    first, second = np.array([3.0, 1.0, 4.0, 1.5, 5.0, 2.0]), np.array([2.0, 1.5, 2.0, 1.0, 4.0, 2.5])
    found = abs((first - second).mean())
    swaps = [abs(((first - second) * signs).mean()) for signs in itertools.product([1, -1], repeat=6)]
    exact = np.mean(np.array(swaps) >= found - 1e-12)
    assert compare(means(first), means(second), resamples=20_000)["mean"].p_value == pytest.approx(
        exact, abs=0.02
    )


def test_chance_differences_are_found_as_often_as_chance_allows():
    rng = np.random.default_rng(0)
    p_values = [
        compare(means(rng.normal(size=30)), means(rng.normal(size=30)), resamples=200, seed=i)["mean"].p_value
        for i in range(200)
    ]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.06)


def test_only_scores_that_both_have_are_compared():
    with_one_more = ScoreTable.of(score_captions(GOOD, TRUE).with_score("extra", np.ones(40), "mine"))
    assert "extra" in with_one_more.means
    assert "extra" not in compare(with_one_more, table(BAD), resamples=10)


def test_tables_of_different_items_cannot_be_paired():
    with pytest.raises(ValueError, match="2 items cannot be paired with 3"):
        compare(means(np.ones(2)), means(np.ones(3)))


def test_tables_survive_json():
    stored = table(GOOD)
    again = ScoreTable.from_dict(json.loads(json.dumps(stored.to_dict())))
    assert again.means == stored.means
    np.testing.assert_allclose(again.columns, stored.columns, atol=1e-6)
    assert again.to_dict() == stored.to_dict()


@pytest.mark.parametrize(
    "stored", [{}, {"means": 3, "bleu_counts": []}, {"means": {"a": [1]}, "bleu_counts": [[1]]}]
)
def test_what_is_no_table(stored):
    with pytest.raises(ValueError, match="no table of item scores"):
        ScoreTable.from_dict(stored)
