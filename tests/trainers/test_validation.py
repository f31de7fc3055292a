"""Recall of the right answers, both ways."""

import pytest
import torch
from torch.nn import functional as F

from trainers.validation import first_ranks, retrieval_recall


def names(count):
    return [f"caption {number}" for number in range(count)]


def test_ranks_of_the_own_partner():
    queries = F.normalize(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), dim=-1)
    candidates = F.normalize(torch.tensor([[1.0, 0.2], [1.0, 0.0], [1.0, 0.9]]), dim=-1)
    # query 1 likes candidate 2, then 0, then its own
    assert first_ranks(queries, candidates, torch.eye(3, dtype=torch.bool)).tolist() == [2, 3, 1]


def test_equal_captions_are_right_answers_and_other_ties_count_against():
    queries = F.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1], [0.0, 1.0]]), dim=-1)
    candidates = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    shared = retrieval_recall(queries, candidates, ["same", "same", "other"])
    assert shared.image_to_text.r1 == 1.0
    apart = retrieval_recall(queries, candidates, names(3))
    assert apart.image_to_text.r1 == pytest.approx(1 / 3)


def test_recall_and_median_of_a_perfect_and_of_a_blind_model():
    perfect = retrieval_recall(torch.eye(12), torch.eye(12), names(12))
    assert (perfect.image_to_text.r1, perfect.text_to_image.median_rank, perfect.pool) == (1.0, 1.0, 12)
    assert perfect.mean_recall == 1.0
    blind = retrieval_recall(torch.ones(12, 1), torch.ones(12, 1), names(12))
    assert blind.image_to_text.median_rank == 12
    assert blind.mean_recall == 0


def test_against_a_loop():
    generator = torch.Generator().manual_seed(0)
    images, texts = (F.normalize(torch.randn(30, 4, generator=generator), dim=-1) for _ in range(2))
    similarity = (images @ texts.T).tolist()
    ranks = [1 + sum(other > row[i] for other in row) for i, row in enumerate(similarity)]
    found = retrieval_recall(images, texts, names(30))
    assert found.image_to_text.r5 == pytest.approx(sum(rank <= 5 for rank in ranks) / 30)
    assert found.image_to_text.median_rank == pytest.approx(float(torch.tensor(ranks).double().quantile(0.5)))
    assert found.to_dict()["mean_recall"] == found.mean_recall


def test_queries_compared_in_parts_rank_as_all_at_once(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    images, texts = (F.normalize(torch.randn(23, 4, generator=generator), dim=-1) for _ in range(2))
    captions = [f"caption {number % 19}" for number in range(23)]  # equal ones stand in different parts
    whole = retrieval_recall(images, texts, captions)
    monkeypatch.setattr("trainers.validation.QUERIES_AT_ONCE", 5)
    assert retrieval_recall(images, texts, captions) == whole
