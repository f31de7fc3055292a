"""Retrieval scores by hand and against sorting."""

import numpy as np
import pytest

from medclip_cli.scoring.retrieval import (
    both_directions,
    first_ranks,
    relevance_of,
    retrieval_scores,
    scores_of_ranks,
)


def test_by_hand():
    similarity = np.array([[0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.9, 0.1, 0.5], [0.9, 0.1, 0.5]])
    relevant = relevance_of(["x", "y", "z", "absent"], ["x", "y", "z"])
    scores = retrieval_scores(similarity, relevant, ks=(1, 2))
    # x is first, z second, y third; the fourth query has no answer in the pool and is left out.
    assert scores.recall == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}
    assert (scores.median_rank, scores.mean_rank, scores.queries, scores.pool) == (2.0, 2.0, 3, 3)
    assert scores.mrr == pytest.approx((1 + 1 / 2 + 1 / 3) / 3)
    assert scores.chance == {1: pytest.approx(1 / 3), 2: pytest.approx(2 / 3)}


def test_ranks_equal_sorting():
    rng = np.random.default_rng(0)
    similarity, relevant = rng.normal(size=(40, 30)), rng.random((40, 30)) < 0.1
    for row, rank in enumerate(first_ranks(similarity, relevant)):
        order = np.argsort(-similarity[row])
        places = np.flatnonzero(relevant[row][order])
        assert rank == (places[0] + 1 if len(places) else 0)


def test_a_model_that_cannot_tell_gets_no_credit():
    scores = retrieval_scores(np.ones((5, 5)), np.eye(5, dtype=bool))
    assert scores.recall[1] == 0.0
    assert scores.median_rank == 5.0


def test_ties_among_right_answers_are_no_harm():
    assert first_ranks(np.array([[1.0, 1.0, 0.0]]), np.array([[True, True, False]])).tolist() == [1]


def test_both_directions_differ_as_they_should():
    images = np.array([[1.0, 0.0], [0.8, 0.6]])
    texts = np.array([[1.0, 0.0], [0.96, 0.28]])
    scores = both_directions(images, texts, ["p", "q"], ks=(1,))
    assert scores["image_to_text"].recall[1] == 1.0
    assert scores["text_to_image"].recall[1] == 0.5
    merged = both_directions(images, texts, ["p", "p"], ks=(1,))
    assert merged["text_to_image"].recall[1] == 1.0


def test_no_answer_anywhere():
    scores = scores_of_ranks(np.zeros(3, dtype=np.int64), pool=0)
    assert scores.recall == {1: 0.0, 5: 0.0, 10: 0.0}
    assert scores.chance == {1: 0.0, 5: 0.0, 10: 0.0}
    assert np.isnan(scores.median_rank)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"similarity is \(2, 3\) but relevance is \(2, 2\)"):
        retrieval_scores(np.ones((2, 3)), np.ones((2, 2), dtype=bool))
