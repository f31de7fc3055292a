"""Options that make no sense are refused with the flag to change; recipes fill in the rest."""

import pytest

from encoders.errors import OptionsError
from encoders.presets import PRESETS, preset_named
from trainers.augmentation import NO_AUGMENTATION, Augmentation
from trainers.options import ContrastiveOptions, options_for

TINY = preset_named("tiny")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"loss": "triplet"}, "loss is 'triplet': give one of infonce, matched, soft, sigmoid"),
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"freeze": "heads"}, "freeze is 'heads'"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"cache_chunk": 0}, "cache_chunk is 0"),
        ({"patience": 0}, "patience is 0"),
        ({"checkpoint_steps": 0}, "checkpoint_steps is 0"),
        ({"epochs": 0}, "epochs is 0: give at least 1"),
        ({"batch_size": 1}, "batch_size is 1: give at least 2"),
        ({"seed": -1}, "seed is -1"),
        ({"warmup_fraction": 1.0}, "warmup_fraction is 1.0"),
        ({"label_agreement": 1.5}, "label_agreement is 1.5"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0"),
        ({"max_logit_scale": 0.0}, "max_logit_scale is 0.0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"image_learning_rate": 2.0}, "image_learning_rate is 2.0"),
        ({"schedule": "step"}, "schedule is 'step': give one of cosine, plateau"),
        ({"ema": 1.0}, "ema is 1.0: give a share between 0 and 1"),
        ({"label_weight": -1.0}, "label_weight is -1.0"),
        ({"view_weight": -1.0}, "view_weight is -1.0"),
        ({"image_epochs": 30}, "image_epochs is 30: give 0 or more, fewer than epochs"),
        ({"view_weight": 1.0, "freeze": "image"}, "a frozen image tower sees one view"),
        ({"image_epochs": 1, "augmentation": NO_AUGMENTATION}, "need two views: switch augmentation on"),
        ({"time_limit_minutes": 0.0}, "time_limit_minutes is 0.0"),
    ],
)
def test_refuses(given, message):
    with pytest.raises(OptionsError, match=message):
        ContrastiveOptions(preset=TINY, **given)


@pytest.mark.parametrize("given", [{"rotation_degrees": 180.0}, {"zoom": 1.0}, {"contrast": -0.1}])
def test_refuses_augmentation_out_of_range(given):
    with pytest.raises(OptionsError, match=f"augmentation: {next(iter(given))} = .* is out of range"):
        Augmentation(**given)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_has_a_recipe_that_holds(name):
    options = options_for(preset_named(name), epochs=3, batch_size=None)
    assert options.epochs == 3
    assert options.batch_size > 1


def test_from_scratch_gives_both_towers_the_same_rate():
    base = preset_named("base")
    assert options_for(base).image_learning_rate is not None
    assert options_for(base, from_scratch=True).image_learning_rate is None


def test_augmentation_is_made_stronger_as_a_whole():
    assert Augmentation().times(0.0) == NO_AUGMENTATION
    assert Augmentation(rotation_degrees=10.0, zoom=0.1).times(2.0).rotation_degrees == 20.0
    with pytest.raises(OptionsError, match="augmentation: contrast = 1.2 is out of range"):
        Augmentation(contrast=0.3).times(4.0)
