"""Recall of the right answers, in both directions."""

import numpy as np
import pytest

from encoders.retrieval import first_ranks, retrieval_recall


def unit(rows):
    rows = np.asarray(rows, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def names(count):
    return [f"caption {number}" for number in range(count)]


def test_ranks_of_the_own_partner():
    queries, candidates = unit([[1, 0], [0, 1], [1, 1]]), unit([[1, 0.2], [1, 0], [1, 0.9]])
    # query 1 likes candidate 2, then 0, then its own
    assert first_ranks(queries @ candidates.T, np.eye(3, dtype=bool)).tolist() == [2, 3, 1]


def test_a_query_without_a_right_answer_has_rank_0_and_rounding_is_a_tie():
    similarity = np.array([[0.5, 0.5 - 1e-9, 0.1], [0.5, 0.4, 0.3]])
    assert first_ranks(similarity, np.array([[True, False, False], [False] * 3])).tolist() == [2, 0]


def test_equal_captions_are_right_answers_and_other_ties_count_against():
    queries, candidates = unit([[1, 0.1], [1, -0.1], [0, 1]]), unit([[1, 0], [1, 0], [0, 1]])
    assert retrieval_recall(queries, candidates, ["same", "same", "other"]).image_to_text.r1 == 1.0
    assert retrieval_recall(queries, candidates, names(3)).image_to_text.r1 == pytest.approx(1 / 3)


def test_recall_and_median_of_a_perfect_and_of_a_blind_model():
    perfect = retrieval_recall(np.eye(12), np.eye(12), names(12))
    assert (perfect.image_to_text.r1, perfect.text_to_image.median_rank, perfect.pool) == (1.0, 1.0, 12)
    assert perfect.mean_recall == perfect.to_dict()["mean_recall"] == 1.0
    blind = retrieval_recall(np.ones((12, 1)), np.ones((12, 1)), names(12))
    assert (blind.image_to_text.median_rank, blind.mean_recall) == (12, 0)


def test_queries_compared_in_parts_rank_as_in_a_loop(monkeypatch):
    images, texts = (unit(np.random.default_rng(seed).normal(size=(30, 4))) for seed in (0, 1))
    captions = [f"caption {number % 26}" for number in range(30)]  # equal ones are in different parts
    similarity = images.astype(float) @ texts.T.astype(float)
    ranks = []
    for row, caption in zip(similarity, captions, strict=True):
        right = [other == caption for other in captions]
        best = max(value for value, is_right in zip(row, right, strict=True) if is_right)
        ranks.append(1 + sum(v > best and not r for v, r in zip(row, right, strict=True)))
    monkeypatch.setattr("encoders.retrieval.QUERIES_AT_ONCE", 7)
    found = retrieval_recall(images, texts, captions).image_to_text
    assert found.r5 == pytest.approx(np.mean(np.array(ranks) <= 5))
    assert found.median_rank == np.median(ranks)
