import pytest

from encoders.errors import PresetError
from encoders.presets import IMAGENET_MEAN, PRESETS, EncoderPreset, preset_named


def test_the_three_presets():
    assert list(PRESETS) == ["tiny", "base", "seed"]
    assert all(name == preset.name for name, preset in PRESETS.items())
    seed = PRESETS["seed"]
    assert (seed.image_encoder, seed.text_pooling, seed.projection) == ("resnet50", "cls", "residual")
    assert (seed.image_size, seed.max_tokens, seed.temperature) == (224, 200, 1 / 256)


def test_fields_are_overridden_by_name():
    preset = preset_named("base", image_encoder="densenet121", text_encoder="folder", max_tokens=32)
    assert (preset.image_encoder, preset.text_encoder, preset.max_tokens) == ("densenet121", "folder", 32)
    assert preset.embedding_dim == PRESETS["base"].embedding_dim
    assert preset_named("base") is not None and preset_named("base") == PRESETS["base"]


def test_the_normalisation_follows_the_image_encoder():
    assert preset_named("tiny").image_preprocessing.mean == (0.5, 0.5, 0.5)
    assert preset_named("tiny", image_encoder="resnet18").image_preprocessing.mean == IMAGENET_MEAN
    assert preset_named("tiny", image_size=64).image_preprocessing.size == 64


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(PresetError, match="unknown preset 'huge': use one of tiny, base, seed"):
        preset_named("huge")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 8}, "image size 8 is too small"),
        ({"max_tokens": 2}, "2 caption tokens are too few"),
        ({"embedding_dim": 0}, "embedding dimension 0 is not positive"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(PresetError, match=message):
        EncoderPreset(name="x", image_encoder="resnet18", text_encoder="small-transformer", **change)
