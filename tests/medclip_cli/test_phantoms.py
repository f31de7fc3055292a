import csv

import numpy as np
import pytest

from medclip_cli.phantoms import SIDES, Phantom, describe, draw, draw_dataset, kinds


def test_every_kind_has_a_caption_of_its_own():
    captions = [describe(kind) for kind in kinds()]
    assert len(captions) == len(set(captions)) == 45


def test_the_same_seed_draws_the_same_picture():
    kind = Phantom("MR", "Axial", "left", "small")
    pictures = [draw(kind, np.random.default_rng(seed), 64) for seed in (1, 1, 2)]
    assert np.array_equal(pictures[0], pictures[1])
    assert not np.array_equal(pictures[0], pictures[2])


@pytest.mark.parametrize("plane", ["Axial", "Coronal"])
@pytest.mark.parametrize("modality", ["CT", "MR", "XR"])
def test_a_lesion_of_the_patients_left_is_on_the_right_of_the_picture(plane, modality):
    # The same seed gives the same body, so that the difference is the lesion alone.
    plain = draw(Phantom(modality, plane), np.random.default_rng(5)).astype(float)
    brighter = {}
    for side in SIDES[plane]:
        drawn = draw(Phantom(modality, plane, side, "large"), np.random.default_rng(5)).astype(float)
        columns = np.clip(_smooth(drawn) - _smooth(plain), 0, None).sum(axis=0)
        brighter[side] = np.average(np.arange(128), weights=columns**4)
    assert brighter["left"] > brighter["right"] + 20


def _smooth(picture):
    return sum(np.roll(picture, shift, axis) for shift in (-2, -1, 0, 1, 2) for axis in (0, 1)) / 10


def test_a_data_set_has_a_table_and_two_pictures_a_patient(tmp_path):
    table = draw_dataset(tmp_path, images=45, side_pixels=16)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert len(rows) == len({row["caption"] for row in rows}) == 45, "every kind before any comes again"
    assert all((tmp_path / row["image"]).is_file() for row in rows)
    assert [row["patient"] for row in rows[:4]] == ["P0000", "P0000", "P0001", "P0001"]
