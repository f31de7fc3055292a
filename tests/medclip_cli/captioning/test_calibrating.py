"""When an answer counts as right, and beyond what an image is not a scan."""

from dataclasses import replace

import numpy as np
import pytest

from medclip_cli.captioning.calibrate import Examples, evaluate_generated, is_right, spelled_out
from medclip_cli.captioning.calibration import Calibration
from medclip_cli.records import CaptionedImage, Neighbour


def scan(number=0, **given):
    caption = given.pop("caption", "an Axial US of the Chest, Pulmonary")
    values = {"modality": "US", "view": "Axial", "region": "Chest, Pulmonary"} | given
    return CaptionedImage(
        id=f"drawn/{number}",
        image=f"{number}.png",
        caption=caption,
        captions=(caption,),
        group=f"case {number}",
        split="val",
        source="drawn",
        licence="CC0",
        **values,
    )


@pytest.mark.parametrize(
    ("caption", "right"),
    [
        ("Axial US of Chest, Pulmonary", True),
        ("it shows us an Axial CT of Chest, Pulmonary", False),
        ("Axial USA of Chest, Pulmonary", False),
        ("Coronal US of Chest, Pulmonary", False),
        ("", False),
    ],
)
def test_a_written_caption_must_name_what_the_true_one_names(caption, right):
    row = scan()
    vote = {"modality": "US", "view": "Axial", "region": "Chest, Pulmonary"}
    assert is_right(row, vote | spelled_out(row, caption)) is right


def test_what_the_true_caption_does_not_name_is_left_to_the_vote():
    row = scan(caption="an ultrasound, Axial")
    assert spelled_out(row, "Coronal CT") == {"view": None}
    assert spelled_out(row, "Axial CT") == {"view": "Axial"}


def test_a_modality_that_nobody_named_is_no_right_answer():
    unknown = scan(modality="OT", view=None, region=None, caption="a film")
    assert is_right(unknown, {"modality": "OT"}) is None
    assert is_right(scan(modality="OT"), {"view": "Axial", "region": "Chest, Pulmonary"}) is True


def test_without_fields_to_judge_by_nobody_is_sure():
    many = examples(tuple(np.linspace(0.5, 0.9, 12)))
    bare = [scan(number, modality="OT", view=None, region=None, caption="a film") for number in range(12)]
    record = evaluate_generated(replace(many, rows=bare), ["a film"] * 12)
    assert (record.platt, record.answers) == (None, 0)
    assert not Calibration(20, 0.5, {"generate": record}).knows_confidence


def neighbours(score, region):
    fields = {"modality": "US", "view": "Axial", "region": region}
    return [Neighbour(1, score, "n", "Axial US of Chest, Pulmonary", "n.png", "c", "g", fields)]


def examples(scores=(0.9, 0.8, 0.7, 0.6)):
    rng = np.random.default_rng(0)
    rows = [scan(number) for number in range(len(scores))]
    near = [neighbours(score, "Chest, Pulmonary") for score in scores]
    return Examples(rows, near, list(rng.normal(size=(len(scores), 3))), list(rng.normal(size=(50, 3))))


def test_written_captions_are_judged_by_what_they_say():
    many = examples(tuple(np.linspace(0.5, 0.9, 12)))
    said = ["Axial US of Chest, Pulmonary"] * 9 + ["Axial CT of Chest, Pulmonary"] * 3
    record = evaluate_generated(many, said)
    assert (record.right, record.answers) == (0.75, 12)


def test_limits_are_set_by_the_images_that_are_named():
    four = examples()
    assert four.limits([0, 1]).domain_floor == pytest.approx(0.8 * (1 - 2**-0.5), abs=0.01)
    assert four.limits().domain_floor == pytest.approx(0.6 * (1 - 4**-0.5), abs=0.01)
    far = Examples(
        four.rows, four.neighbours, [*four.appearances[:3], np.full(3, 9.0)], four.known_appearances
    )
    assert far.limits([0, 1, 2]).appearance.is_foreign(far.appearances[3])
    assert not far.limits([0, 1, 2]).appearance.is_foreign(far.known_appearances[0])
