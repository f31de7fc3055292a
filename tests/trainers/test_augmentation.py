"""Augmentation moves what it should, how far it should, and nothing else."""

import numpy as np
import pytest
import torch

from encoders.preprocessing import ImagePreprocessing, normalize_image
from trainers.augmentation import NO_AUGMENTATION, Augmentation, augment, draw, to_pixels
from trainers.randomness import generator

SPEC = ImagePreprocessing(size=33, mean=(0.5, 0.4, 0.3), std=(0.25, 0.2, 0.1))


def only(**amounts):
    none = {"rotation_degrees": 0, "zoom": 0, "shift": 0, "brightness": 0, "contrast": 0}
    return Augmentation(**(none | amounts))


def draws(**values):
    names = ("rotation", "zoom", "across", "down", "brightness", "contrast")
    return torch.tensor([[values.get(name, 0.0) for name in names]])


def spot(x, y):
    image = torch.zeros(1, 1, 33, 33)
    image[0, 0, y, x] = 1.0
    return image


def brightest(image):
    y, x = divmod(int(image[0, 0].argmax()), 33)
    return x, y


def test_no_amount_changes_nothing():
    image = torch.rand(2, 1, 33, 33)
    assert augment(image, draw(2, torch.Generator()), NO_AUGMENTATION) is image
    torch.testing.assert_close(augment(image, torch.zeros(2, 6), Augmentation()), image)


def test_a_full_draw_rotates_by_the_largest_angle():
    turned = augment(spot(26, 16), draws(rotation=1.0), only(rotation_degrees=90))
    assert brightest(turned) in {(16, 6), (16, 26)}
    other = augment(spot(26, 16), draws(rotation=-1.0), only(rotation_degrees=90))
    assert {brightest(turned), brightest(other)} == {(16, 6), (16, 26)}


def test_a_full_draw_shifts_by_the_largest_share_of_the_side():
    moved = augment(spot(16, 16), draws(across=1.0), only(shift=0.25))
    assert brightest(moved) == (8, 16)  # a quarter of 33 pixels
    assert brightest(augment(spot(16, 16), draws(down=-1.0), only(shift=0.25))) == (16, 24)


def test_zoom_keeps_the_centre_and_moves_the_rim():
    assert brightest(augment(spot(16, 16), draws(zoom=1.0), only(zoom=0.5))) == (16, 16)
    image = spot(28, 16) + spot(29, 16) + spot(27, 16)
    assert brightest(augment(image, draws(zoom=1.0), only(zoom=0.5)))[0] == 24  # 12 from the centre becomes 8


def test_contrast_and_brightness_change_the_window():
    image = torch.rand(1, 1, 33, 33)
    louder = augment(image, draws(contrast=1.0), only(contrast=0.5))
    torch.testing.assert_close(louder.mean(), image.mean())
    torch.testing.assert_close(louder.std(), 1.5 * image.std())
    brighter = augment(image, draws(brightness=-1.0), only(brightness=0.1))
    torch.testing.assert_close(brighter, image - 0.1)


def test_each_image_has_its_own_draw_and_the_same_seed_the_same():
    first, again = (draw(100, generator(0, "augmentation", 7)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (100, 6)
    assert len(first.unique(dim=0)) == 100
    assert first.abs().max() <= 1
    assert not torch.equal(first, draw(100, generator(0, "augmentation", 8)))


@pytest.mark.parametrize("amounts", [NO_AUGMENTATION, Augmentation()])
def test_grey_and_coloured_images_of_one_batch(amounts):
    random = np.random.default_rng(0)
    grey = random.integers(0, 256, (33, 33, 1), dtype=np.uint8).repeat(3, axis=2)
    colour = random.integers(0, 256, (33, 33, 3), dtype=np.uint8)
    images, moves = torch.from_numpy(np.stack([colour, grey])), draw(2, torch.Generator().manual_seed(1))
    together = to_pixels(images, SPEC, moves, amounts)
    for row in range(2):
        alone = to_pixels(images[row : row + 1], SPEC, moves[row : row + 1], amounts)
        torch.testing.assert_close(together[row : row + 1], alone)
    assert together.is_contiguous(memory_format=torch.channels_last)


def test_without_augmentation_training_sees_what_asking_sees():
    square = np.random.default_rng(0).integers(0, 256, (33, 33, 3), dtype=np.uint8)
    trained = to_pixels(torch.from_numpy(square[None]), SPEC, torch.zeros(1, 6), NO_AUGMENTATION)
    torch.testing.assert_close(trained[0], torch.from_numpy(normalize_image(square, SPEC)))
