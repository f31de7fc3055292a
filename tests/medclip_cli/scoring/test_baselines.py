"""Baselines: each gives indices into the pool, and the ones it should."""

import numpy as np

from medclip_cli.scoring.baselines import (
    most_frequent_baseline,
    pixel_nearest_baseline,
    random_baseline,
    same_fields,
    unit_thumbnails,
)


def test_random_reaches_the_whole_pool_and_repeats_with_the_seed():
    drawn = random_baseline(500, 7, np.random.default_rng(1))
    assert set(drawn.tolist()) == set(range(7))
    assert (drawn == random_baseline(500, 7, np.random.default_rng(1))).all()


def test_most_frequent():
    assert most_frequent_baseline(3, ["a", "b", "c", "b"]).tolist() == [1, 1, 1]


def test_pixel_nearest_sees_structure_not_brightness_or_contrast():
    rng = np.random.default_rng(0)
    pool = rng.integers(0, 256, size=(6, 32, 32)).astype(np.uint8)
    queries = (pool[[4, 2]] * 0.4 + 60).astype(np.uint8)
    assert pixel_nearest_baseline(queries, pool).tolist() == [4, 2]


def test_unit_thumbnails():
    units = unit_thumbnails(np.stack([np.arange(16).reshape(4, 4), np.full((4, 4), 9)]))
    np.testing.assert_allclose(np.linalg.norm(units, axis=1), [1.0, 0.0], atol=1e-6)
    np.testing.assert_allclose(units.sum(axis=1), 0.0, atol=1e-6)


def test_upper_bound_draws_among_equals_and_falls_back_field_by_field():
    pool = [("CT", "Axial", "Chest"), ("CT", "Axial", "Head"), ("CT", "Axial", "Head"), ("MR", None, "Head")]
    rng = np.random.default_rng(0)
    queries = [("CT", "Axial", "Head")] * 200
    assert set(same_fields(queries, pool, rng).tolist()) == {1, 2}
    assert same_fields([("MR", None, "Spine")], pool, rng).tolist() == [3]
    assert set(same_fields([("CT", "Axial", "Spine")] * 200, pool, rng).tolist()) == {0, 1, 2}
    assert set(same_fields([("US", None, None)] * 200, pool, rng).tolist()) == {0, 1, 2, 3}
