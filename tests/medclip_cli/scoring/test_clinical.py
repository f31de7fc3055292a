"""Fields and findings of captions, by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medclip_cli.errors import ScoringError
from medclip_cli.scoring.clinical import clinical_scores, field_agreement, label_scores
from medclip_cli.scoring.clinical_words import (
    CHEST,
    CHEST_FINDINGS,
    all_structured,
    fields_in,
    parse_structured,
    parse_vocabulary,
)


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("There is a pleural effusion.", "pleural effusion"),
        ("Small effusions and fractures", "fracture, pleural effusion"),
        ("No pleural effusion, pneumothorax or consolidation.", ""),
        ("No effusion. Edema is present.", "edema"),
        ("no fracture but edema", "edema"),
        ("Effusion not seen; oedema noted", "edema"),
        ("The previously seen pneumothorax has resolved.", ""),
        ("Pneumonia is unlikely", ""),
        ("not consistent with edema", ""),
        ("consistent with pneumonia", "pneumonia"),
        ("cardiomegaly without edema", "cardiomegaly"),
        ("No fracture, with a chest tube in place", "support devices"),
        ("No change in the right pleural effusion", "pleural effusion"),
        ("No significant interval change of atelectasis", "atelectasis"),
        ("no evidence of edema, however atelectasis", "atelectasis"),
        ("Free of consolidation", ""),
        ("edematous", ""),
        ("", ""),
    ],
)
def test_findings_of_a_sentence(caption, expected):
    assert ", ".join(sorted(CHEST.find(caption))) == expected


@given(st.sampled_from(sorted(CHEST_FINDINGS)))
def test_every_finding_is_found_by_its_name_and_denied_by_no(finding):
    assert CHEST.find(f"There is {finding.upper()}.") == {finding}
    assert CHEST.find(f"There is no {finding}.") == frozenset()


def test_a_vocabulary_of_ones_own():
    mine = parse_vocabulary("# tumours\nGlioma: astrocytoma, glioblastoma\nmeningioma\n\n", "mine.txt")
    assert mine.name == "mine.txt"
    assert mine.find("Glioblastoma, no meningioma") == {"glioma"}
    with pytest.raises(ScoringError, match="mine.txt holds no findings: write one a line"):
        parse_vocabulary("# nothing\n : x\n", "mine.txt")


@pytest.mark.parametrize(
    ("caption", "fields", "labels"),
    [
        ("ap/pa: pa, diagnosis: lung opacity, edema", {"ap/pa": "pa"}, {"lung opacity", "edema"}),
        ("Modality: MR, Plane: Sagittal", {"modality": "mr", "plane": "sagittal"}, set()),
        ("diagnosis: no finding.", {}, {"no finding"}),
        ("frontal/lateral: lateral, diagnosis: ", {"frontal/lateral": "lateral"}, set()),
    ],
)
def test_structured_captions(caption, fields, labels):
    parsed = parse_structured(caption)
    assert (parsed.fields, parsed.labels) == (fields, labels)


@pytest.mark.parametrize(
    "caption", ["a mass", "", "Impression: normal", "finding: a. plane: b", "a, diagnosis: b", "3:1, 4:2"]
)
def test_sentences_are_not_structured(caption):
    assert parse_structured(caption) is None


def test_all_structured_needs_one():
    assert all_structured(["a: b, c: d", " "])
    assert not all_structured([" "])
    assert not all_structured(["a: b, c: d", "a mass"])


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a Sagittal plane MR scan of Spine", {"modality": "MR", "view": "Sagittal", "region": "Spine"}),
        ("PA and lateral chest x-ray", {"modality": "XR", "view": "PA+Lateral", "region": "Chest"}),
        ("US shows us a pa", {"modality": "US"}),
        ("T1 vertebra", {"region": "Spine"}),
        ("lateral ventricle", {}),
    ],
)
def test_fields_of_a_sentence(caption, expected):
    assert fields_in(caption) == expected


def test_field_agreement_and_confusion():
    predicted = [{"view": "PA"}, {"view": "AP"}, {}, {"view": "PA"}]
    true = [{"view": "PA"}, {"view": "PA"}, {"view": "AP"}, {"view": None}]
    (found,) = field_agreement(predicted, true).values()
    assert (found.agreement, found.items) == (pytest.approx(1 / 3), 3)
    assert found.values == ("-", "AP", "PA")
    assert found.confusion.tolist() == [[0, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert found.to_dict()["confusion"]["counts"] == found.confusion.tolist()


LABELS = st.frozensets(st.sampled_from("abcd"))


@given(st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=8))
def test_label_scores_equal_counting(pairs):
    predicted, true = map(list, zip(*pairs, strict=True))
    scores = label_scores(predicted, true)

    def prf(hits, guessed, there):
        precision, recall = hits / guessed if guessed else 0.0, hits / there if there else 0.0
        return precision, recall, 2 * hits / (guessed + there) if guessed + there else 0.0

    counts = {
        label: [
            sum(label in p and label in t for p, t in pairs),
            sum(label in p for p in predicted),
            sum(label in t for t in true),
        ]
        for label in scores.labels
    }
    for number, label in enumerate(scores.labels):
        expected = prf(*counts[label])
        assert (scores.precision[number], scores.recall[number], scores.f1[number]) == pytest.approx(expected)
    assert scores.micro == pytest.approx(
        prf(*map(sum, zip(*counts.values(), strict=True))) if counts else (0, 0, 0)
    )
    assert scores.macro == pytest.approx(
        np.mean([prf(*c) for c in counts.values()], axis=0) if counts else (0, 0, 0)
    )
    assert scores.exact_match == pytest.approx(np.mean([p == t for p, t in pairs]))
    labelled = [p == t for p, t in pairs if t]
    assert (scores.labelled, scores.exact_match_labelled) == (
        len(labelled),
        pytest.approx(np.mean(labelled) if labelled else 0.0),
    )


def test_no_items_have_no_scores():
    scores = label_scores([], [])
    assert (scores.labels, scores.micro, scores.exact_match) == ((), (0.0, 0.0, 0.0), 0.0)


def test_nothing_found_where_nothing_is_is_right_and_told_apart():
    scores = label_scores([set(), set(), {"edema"}, set()], [set(), set(), {"edema"}, {"mass"}])
    assert scores.exact_match == 0.75
    assert (scores.labelled, scores.exact_match_labelled) == (2, 0.5)


def test_structured_captions_are_compared_as_such():
    true = [["ap/pa: pa, diagnosis: lung opacity, edema"], ["ap/pa: ap, diagnosis: no finding"]]
    scores = clinical_scores(["ap/pa: pa, diagnosis: edema", "nonsense"], true)
    assert scores.form == "structured"
    assert scores.fields["ap/pa"].agreement == 0.5
    assert scores.findings.micro == pytest.approx((1.0, 1 / 3, 0.5))
    assert scores.findings.exact_match == 0.0


def test_sentences_are_read_with_their_negations():
    scores = clinical_scores(
        ["Axial CT without effusion", "edema"], [["Axial CT with effusion"], ["no edema", "mild edema"]]
    )
    assert scores.form == "sentences"
    assert scores.fields["view"].agreement == 1.0
    assert scores.to_dict()["findings"]["labels"]["pleural effusion"]["recall"] == 0.0
    assert scores.findings.exact_match == 0.5
    assert "not its labeller" in scores.vocabulary
