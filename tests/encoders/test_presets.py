import pytest

from encoders.dual import build_dual_encoder
from encoders.errors import PresetError
from encoders.presets import IMAGENET_MEAN, PRESETS, EncoderPreset, preset_named


def test_the_three_presets():
    assert list(PRESETS) == ["tiny", "base", "original"]
    assert all(name == preset.name for name, preset in PRESETS.items())
    original = PRESETS["original"]
    assert preset_named("seed") == original, "its name until 0.1"
    assert (original.image_encoder, original.text_pooling, original.projection) == (
        "resnet50",
        "cls",
        "residual",
    )
    assert (original.text_pooling, original.max_tokens, original.temperature) == ("cls", 200, 1 / 256)


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
    with pytest.raises(PresetError, match="unknown preset 'huge': use one of tiny, base, original"):
        preset_named("huge")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 8}, "image size 8 is too small"),
        ({"max_tokens": 2}, "2 caption tokens are too few"),
        ({"embedding_dim": 0}, "embedding dimension 0 is not positive"),
        (
            {"image_widths": (8, 16), "image_blocks": (1, 2, 2)},
            r"image widths \(8, 16\) and blocks \(1, 2, 2\) do not fit",
        ),
        ({"image_widths": (), "image_blocks": ()}, "do not fit: give as many of each"),
        ({"image_widths": (8, 8, 8), "image_blocks": (1, 0, 1)}, "all positive"),
        ({"text_width": 48}, "text width 48 is no multiple of 32"),
        ({"text_layers": 0}, "0 text layers are too few"),
    ],
)
def test_impossible_shapes_are_refused(change, message):
    with pytest.raises(PresetError, match=message):
        EncoderPreset(name="x", image_encoder="resnet18", text_encoder="small-transformer", **change)


def test_the_sizes_of_the_small_towers_are_the_presets():
    preset = preset_named("tiny", image_widths=(8, 16), image_blocks=(1, 3), text_width=64, text_layers=2)
    model = build_dual_encoder(preset, vocab_size=50)
    image, text = model.image_tower.architecture, model.text_tower.architecture
    assert (image["widths"], image["blocks"]) == ([8, 16], [1, 3])
    assert (text["width"], text["layers"], text["heads"]) == (64, 2, 2)
