"""The counts of `benchmarks.refusals`: what is drawn, and how limits are set without the judged half."""

import numpy as np

from benchmarks.refusals import count_refused_by_halves, draw_strangers
from medclip_cli.captioning.calibrate import Examples
from medclip_cli.records import CaptionedImage, Neighbour


def test_a_hundred_different_pictures_are_drawn(tmp_path):
    drawn = draw_strangers(tmp_path, np.random.default_rng(0))
    assert {kind: len(paths) for kind, paths in drawn.items()} == {
        "stripes": 34,
        "noise": 33,
        "pages of text": 33,
    }
    contents = {path.read_bytes() for paths in drawn.values() for path in paths}
    assert len(contents) == 100


def examples(looks, scores):
    rows = [
        CaptionedImage(f"d/{n}", f"{n}.png", "CT", ("CT",), "CT", f"case {n:02d}", "val", "drawn", "CC0")
        for n in range(len(looks))
    ]
    near = [[Neighbour(1, score, "n", "CT", "n.png", "c", "g")] for score in scores]
    known = np.random.default_rng(1).normal(size=(200, 3))
    return Examples(rows, near, looks, list(known))


def test_a_half_is_judged_by_the_limits_of_the_other():
    looks = list(np.random.default_rng(0).normal(size=(40, 3)) / 4)
    alike = examples(looks, [0.8] * 40)
    assert count_refused_by_halves(alike) == 0
    strange = [*looks[:-1], np.full(3, 50.0)]  # of the second half, whose own limits it would widen
    assert count_refused_by_halves(examples(strange, [0.8] * 40)) == 1
    # The first half lies nearer than the second: by its floor all of the second are strangers.
    assert count_refused_by_halves(examples(looks, [0.8, 0.6] * 20)) == 20
