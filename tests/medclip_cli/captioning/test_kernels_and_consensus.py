import doctest

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclip_cli.captioning import consensus as consensus_module
from medclip_cli.captioning.consensus import bleu_kernel, consensus, distinct, similarity_weights, vote
from medclip_cli.records import Neighbour

CAPTIONS = st.lists(st.text(alphabet="abc ", max_size=12), min_size=1, max_size=6)


def test_examples_in_the_docstrings():
    outcome = doctest.testmod(consensus_module, extraglobs={"np": np})
    assert outcome.attempted > 0
    assert outcome.failed == 0


@given(captions=CAPTIONS)
def test_the_kernel_is_symmetric_and_within_bounds(captions):
    similarity = bleu_kernel(captions)
    assert similarity.shape == (len(captions), len(captions))
    np.testing.assert_allclose(similarity, similarity.T, atol=1e-12)
    assert similarity.min() >= 0
    assert similarity.max() <= 1 + 1e-9


def test_equal_captions_have_similarity_one_and_foreign_ones_none():
    similarity = bleu_kernel(["axial CT of the chest", "axial CT of the chest", "left knee MR scan"])
    assert similarity[0, 1] == pytest.approx(1.0)
    assert similarity[0, 2] == 0


def test_bleu_by_hand():
    """'a b' and 'a c': F1 1/2 of unigrams, (0 + 1) / (1 + 1) of bigrams, longer n-grams (0 + 1) / (0 + 1)."""
    assert bleu_kernel(["a b", "a c"])[0, 1] == pytest.approx((0.5 * 0.5) ** 0.25)


def test_consensus_is_what_most_say_not_what_stands_first():
    captions = ["a fracture of the wrist", "axial CT of the chest", "CT of the chest", "chest CT, axial"]
    assert consensus(captions, np.full(4, 0.25)).index != 0


def test_a_neighbour_that_is_much_nearer_decides_alone():
    captions = ["a fracture of the wrist", "axial CT of the chest", "CT of the chest", "chest CT, axial"]
    weights = similarity_weights([0.9, 0.1, 0.1, 0.1], temperature=0.05)
    assert consensus(captions, weights).index == 0


def test_repeated_captions_count_as_often_as_they_stand():
    captions = ["knee MR", "chest CT", "knee MR"]
    chosen = consensus(captions, np.full(3, 1 / 3))
    assert chosen.index == 0
    assert chosen.support.tolist() == pytest.approx([2 / 3, 1 / 3, 2 / 3])


def test_consensus_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least one caption"):
        consensus([], np.zeros(0))


def test_captions_without_words_are_no_trouble():
    assert consensus(["...", "!"], np.full(2, 0.5)).index == 0


def test_weights_of_nothing():
    assert similarity_weights([]).shape == (0,)
    assert similarity_weights([0.5, 0.45], temperature=0.05)[0] == pytest.approx(np.e / (1 + np.e))


def test_findings_are_voted_on_one_by_one_and_unknown_fields_weigh_nothing():
    fields = [{"findings": ["edema", "mass"]}, {"findings": ("edema",), "view": "PA"}, {"view": ""}]
    found = vote(fields, np.array([0.5, 0.3, 0.2]))
    assert dict(found["findings"].shares) == pytest.approx({"edema": 0.8, "mass": 0.5})
    assert found["view"].share == pytest.approx(0.3)
    assert "modality" not in found


def neighbours_with(*captions):
    return [
        Neighbour(rank, 1 - rank / 1000, str(rank), caption, "i.png", "c", "g", {})
        for rank, caption in enumerate(captions, start=1)
    ]


def test_each_caption_speaks_once_by_its_nearest_image():
    found = distinct(neighbours_with("a", "a", "b", "a", "c"))
    assert [(neighbour.rank, neighbour.caption) for neighbour in found] == [(1, "a"), (3, "b"), (5, "c")]
    assert [neighbour.caption for neighbour in distinct(neighbours_with("a", "a", "b", "c"), 2)] == ["a", "b"]


def test_the_slices_of_one_case_do_not_outvote_the_others():
    captions = ["an axial CT of a cyst"] * 9 + ["a sagittal MR of a tear", "a sagittal MR of a sprain"]
    near = distinct(neighbours_with(*captions))
    agreed = consensus([one.caption for one in near], similarity_weights([one.score for one in near]))
    assert "sagittal MR" in near[agreed.index].caption
