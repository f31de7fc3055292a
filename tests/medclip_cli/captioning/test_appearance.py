import numpy as np
import pytest
from PIL import Image, ImageDraw

from medclip_cli.captioning.appearance import QUANTILES, appearance, learn_appearance, quantiles
from medclip_cli.captioning.calibration import Calibration

SIDE = 64


def drawn_scan(rng):
    """A soft bright oval with a few soft spots and a little noise, on black."""
    y, x = np.mgrid[:SIDE, :SIDE] / SIDE - 0.5
    body = (x / rng.uniform(0.25, 0.42)) ** 2 + (y / rng.uniform(0.3, 0.45)) ** 2
    grey = 90.0 / (1 + np.exp((body - 1) * 12)) * rng.uniform(0.8, 1.3)
    for _ in range(rng.integers(3, 7)):
        cx, cy, size = *rng.uniform(-0.25, 0.25, 2), rng.uniform(0.03, 0.12)
        grey += rng.uniform(-50, 90) * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / size**2)
    grey += rng.normal(0, 4, grey.shape)
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def stripes(rng):
    y, x = np.mgrid[:SIDE, :SIDE]
    angle, step = rng.uniform(0, np.pi), rng.uniform(0.3, 1.5)
    grey = 127 + 127 * np.sign(np.sin((x * np.cos(angle) + y * np.sin(angle)) * step))
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def noise(rng):
    return rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def page(rng):
    picture = Image.new("RGB", (SIDE, SIDE), "white")
    for y in range(2, SIDE, 9):
        ImageDraw.Draw(picture).text((2, y), "".join(rng.choice(list("abcde fgh"), 12)), fill="black")
    return np.asarray(picture)


@pytest.fixture(scope="module")
def known():
    rng = np.random.default_rng(0)
    train, val = ([appearance(drawn_scan(rng)) for _ in range(count)] for count in (150, 60))
    return learn_appearance(train, val, 0.02)


@pytest.mark.parametrize("draw", [stripes, noise, page])
def test_what_is_no_scan_looks_foreign(known, draw):
    rng = np.random.default_rng(1)
    assert all(known.is_foreign(appearance(draw(rng))) for _ in range(20))


def test_new_scans_do_not(known):
    rng = np.random.default_rng(2)
    assert np.mean([known.is_foreign(appearance(drawn_scan(rng))) for _ in range(100)]) <= 0.06


def test_fewer_held_out_scans_widen_the_limit():
    rng = np.random.default_rng(3)
    train, val = ([appearance(drawn_scan(rng)) for _ in range(count)] for count in (80, 100))
    wide, narrow = (learn_appearance(train, val[:count], 0.1).limit for count in (4, 100))
    assert wide > 1.2 * narrow
    assert learn_appearance(train, val, 0.3).limit < narrow


def test_a_turned_or_mirrored_picture_looks_the_same():
    scan = drawn_scan(np.random.default_rng(4))
    for turned in (scan[:, ::-1], scan[::-1]):
        np.testing.assert_allclose(appearance(turned), appearance(scan), atol=0.15)


@pytest.mark.parametrize("square", [np.zeros((SIDE, SIDE, 3)), np.full((SIDE, SIDE, 3), 255)])
def test_an_empty_picture_has_an_appearance_too(square):
    assert np.isfinite(appearance(square.astype(np.uint8))).all()


def test_a_larger_model_sees_much_the_same():
    scan = drawn_scan(np.random.default_rng(5))
    large = np.asarray(Image.fromarray(scan).resize((256, 256), Image.Resampling.BICUBIC))
    assert appearance(large).shape == appearance(scan).shape


def test_without_images_nothing_is_learned():
    with pytest.raises(ValueError, match="are needed to learn how scans look"):
        learn_appearance([], [np.zeros(3)], 0.1)
    with pytest.raises(ValueError, match="are needed to learn how scans look"):
        learn_appearance([np.zeros(3)], [], 0.1)


def test_a_calibration_without_a_measure_refuses_nothing(known):
    square = noise(np.random.default_rng(6))
    assert not Calibration(5, 0.0).looks_foreign(square)
    assert not Calibration(5, 0.0, appearance=known).looks_foreign(None)
    assert Calibration(5, 0.0, appearance=known).looks_foreign(square)


@pytest.mark.parametrize("side", [1, 2, 17, 64])
def test_quantiles_are_numpys_to_the_last_bit(side):
    values = np.random.default_rng(side).normal(size=(side, side))
    np.testing.assert_array_equal(quantiles(values), np.quantile(values, QUANTILES))
