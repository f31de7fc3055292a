"""Retrieval scores by hand and against sorting."""

import numpy as np
import pytest

from encoders.retrieval import first_ranks
from medclip_cli.scoring import retrieval
from medclip_cli.scoring.retrieval import (
    average_precision,
    chance_recall,
    label_overlap,
    ndcg,
    rank_queries,
)

IMAGES = np.array([[1.0, 0.0], [0.8, 0.6]])
TEXTS = np.array([[1.0, 0.0], [0.96, 0.28]])


def test_by_hand():
    pool = np.eye(3)
    queries = np.array([[0.9, 0.1, 0.5]] * 4)
    ranked = rank_queries(queries, pool, (["x", "y", "z", "absent"], ["x", "y", "z"]))
    # x is first, z second, y third; the fourth query has no answer in the pool and is left out.
    assert ranked.rank.tolist() == [1, 3, 2, 0]
    scores = ranked.scores(ks=(1, 2))
    assert scores["r@1"] == scores["chance_r@1"] == pytest.approx(1 / 3)
    assert scores["r@2"] == scores["chance_r@2"] == pytest.approx(2 / 3)
    assert [scores[name] for name in ("median_rank", "mean_rank", "queries", "pool")] == [2.0, 2.0, 3, 3]
    assert scores["mrr"] == scores["map"] == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert np.isnan(scores["ndcg@10"])
    some = ranked.only(np.array([True, False, False, True])).scores(ks=(1,))
    assert (some["r@1"], some["queries"], some["pool"]) == (1.0, 1, 3)


def test_ranks_and_precisions_equal_sorting():
    rng = np.random.default_rng(0)
    similarity, relevant = rng.normal(size=(40, 30)), rng.random((40, 30)) < 0.1
    precisions = average_precision(similarity, relevant)
    for row, rank in enumerate(first_ranks(similarity, relevant)):
        places = np.flatnonzero(relevant[row][np.argsort(-similarity[row])]) + 1
        assert rank == (places[0] if len(places) else 0)
        expected = (
            np.mean([(number + 1) / place for number, place in enumerate(places)]) if len(places) else 0.0
        )
        assert precisions[row] == pytest.approx(expected)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    queries, pool = rng.normal(size=(7, 4)), rng.normal(size=(5, 4))
    groups = (list("abcabca"), list("abcab"))
    labels = (
        [{"x"}, {"y"}, {"x", "y"}, set(), {"z"}, {"x"}, {"y"}],
        [{"x"}, {"y"}, {"z"}, set(), {"x", "z"}],
    )
    whole = rank_queries(queries, pool, groups, labels)
    monkeypatch.setattr(retrieval, "_SIMILARITIES_AT_ONCE", 10)
    parts = rank_queries(queries, pool, groups, labels)
    np.testing.assert_array_equal(whole.rank, parts.rank)
    np.testing.assert_allclose(whole.ndcg, parts.ndcg)
    np.testing.assert_allclose(whole.average_precision, parts.average_precision)


def test_a_model_that_cannot_tell_gets_no_credit():
    same = np.ones((5, 2))
    scores = rank_queries(same, same, (range(5), range(5))).scores()
    assert (scores["r@1"], scores["median_rank"]) == (0.0, 5.0)
    assert scores["map"] == pytest.approx(1 / 5)


def test_ties_among_right_answers_are_no_harm():
    assert first_ranks(np.array([[1.0, 1.0, 0.0]]), np.array([[True, True, False]])).tolist() == [1]


def test_the_two_directions_differ_as_they_should():
    pair = (["p", "q"], ["p", "q"])
    assert rank_queries(IMAGES, TEXTS, pair).recall([1]) == {1: 1.0}
    assert rank_queries(TEXTS, IMAGES, pair).recall([1]) == {1: 0.5}
    assert rank_queries(TEXTS, IMAGES, (["p", "p"], ["p", "p"])).recall([1]) == {1: 1.0}


def test_ndcg_by_hand():
    gain = np.array([[0.0, 0.5, 1.0]])
    best, worst = ndcg(np.array([[1.0, 2.0, 3.0]]), gain), ndcg(np.array([[3.0, 2.0, 1.0]]), gain)
    assert best == pytest.approx(1.0)
    assert worst == pytest.approx((0.5 / np.log2(3) + 1 / np.log2(4)) / (1 + 0.5 / np.log2(3)))
    assert ndcg(np.zeros((1, 3)), gain) == pytest.approx(worst), "ties count against"
    assert ndcg(np.ones((1, 3)), np.zeros((1, 3))).tolist() == [0.0]


def test_label_overlap_is_jaccard():
    overlap = label_overlap(
        np.array([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]), np.array([[0.0, 1.0, 1.0], [1.0, 1.0, 0.0]])
    )
    assert overlap == pytest.approx(np.array([[1 / 3, 1.0], [0.0, 0.0]]))


def test_chance_equals_drawing():
    rng = np.random.default_rng(0)
    drawn = [rng.permutation(20)[:5].min() < 3 for _ in range(4_000)]
    assert chance_recall(np.array([3, 0]), 20, (5,))[5] == pytest.approx(np.mean(drawn), abs=0.03)


def test_no_answer_anywhere():
    scores = rank_queries(IMAGES, TEXTS, (["a", "b"], ["c", "d"])).scores()
    assert [scores[f"{kind}r@{k}"] for kind in ("", "chance_") for k in (1, 5, 10)] == [0.0] * 6
    assert np.isnan(scores["median_rank"])
    assert rank_queries(IMAGES[:0], TEXTS, ([], ["c", "d"])).scores()["queries"] == 0


def test_groups_must_agree():
    with pytest.raises(ValueError, match="2 queries and 2 candidates do not agree with their groups"):
        rank_queries(IMAGES, TEXTS, (["a"], ["c", "d"]))
