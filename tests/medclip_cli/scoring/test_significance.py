"""Paired tests: they find what is there, and not what is not."""

import itertools

import numpy as np
import pytest

from medclip_cli.scoring.captions import score_captions
from medclip_cli.scoring.score_table import ScoreTable, table_of
from medclip_cli.scoring.significance import compare

REFERENCES = [[f"a mass of {i} cm in the left lung"] for i in range(40)]
GOOD = [f"a mass of {i} cm in the right lung" for i in range(40)]
BAD = [f"no finding in image {i}" for i in range(40)]


def table(predictions):
    return table_of(score_captions(predictions, REFERENCES))


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
    with_one_more = table_of(score_captions(GOOD, REFERENCES).with_score("extra", np.ones(40), "mine"))
    assert "extra" in with_one_more.means
    assert "extra" not in compare(with_one_more, table(BAD), resamples=10)


def test_tables_of_different_items_cannot_be_paired():
    with pytest.raises(ValueError, match="2 items cannot be paired with 3"):
        compare(means(np.ones(2)), means(np.ones(3)))


def test_tables_survive_json():
    import json

    stored = table(GOOD)
    again = ScoreTable.from_json(json.loads(json.dumps(stored.to_json())))
    assert again.means == stored.means
    np.testing.assert_allclose(again.columns, stored.columns, atol=1e-6)
    assert again.to_json() == stored.to_json()


@pytest.mark.parametrize(
    "stored", [{}, {"means": 3, "bleu_counts": []}, {"means": {"a": [1]}, "bleu_counts": [[1]]}]
)
def test_what_is_no_table(stored):
    with pytest.raises(ValueError, match="no table of item scores"):
        ScoreTable.from_json(stored)
