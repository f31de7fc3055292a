"""One caption at a time scores what it scores among many, if the same captions are known."""

import pytest

from medclip_cli.scoring.captions import score_captions
from medclip_cli.scoring.per_caption import DocumentFrequencies, score_caption

REFERENCES = [
    ["Axial CT of the chest, with a mass.", "a mass in the left lung"],
    ["Sagittal MR of the knee", "knee with effusion"],
    ["PA view of the chest, 1 1/2 cm nodule"],
    ["axial CT of the abdomen", "axial CT", "the liver is normal"],
]
PREDICTIONS = ["Axial CT of the chest", "MR of the knee, knee", "", "PA view, 1 1/2 cm nodule"]


def test_it_scores_as_among_the_same_captions():
    known = DocumentFrequencies.of(REFERENCES)
    together = score_captions(PREDICTIONS, REFERENCES)
    assert together.items["cider"].max() > 1
    for place, (prediction, references) in enumerate(zip(PREDICTIONS, REFERENCES, strict=True)):
        alone = score_caption(prediction, references, known)
        assert alone["cider"] == pytest.approx(together.items["cider"][place], abs=1e-9)
        assert alone["rouge_l"] == pytest.approx(together.items["rouge_l"][place])


def test_an_image_counts_once_however_many_of_its_captions_have_a_word():
    known = DocumentFrequencies.of([["a mass", "the mass"], ["a cyst"]])
    assert known.documents == 2
    assert known.counts[("mass",)] == 1
    assert known.counts[("a",)] == 2


def test_what_nobody_counted_is_left_out():
    scores = score_caption("a mass", ["a mass"])
    assert "cider" not in scores
    assert scores["bleu1"] == pytest.approx(1)


def test_what_every_caption_says_counts_nothing():
    known = DocumentFrequencies.of([["axial CT"], ["axial CT"]])
    assert score_caption("axial CT", ["axial CT"], known)["cider"] == 0
