"""The options a preset trains best with: what a run does unless it is told otherwise."""

from __future__ import annotations

from typing import Any

from encoders.presets import EncoderPreset
from trainers.augmentation import NO_AUGMENTATION
from trainers.options import ContrastiveOptions

RECIPES: dict[str, dict[str, Any]] = {
    # Found on MedPix 2.0, see docs/quality.md.
    "tiny": {
        "epochs": 200,
        "batch_size": 128,
        "loss": "matched",
        "label_agreement": 1.0,
        "label_weight": 1.0,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
    },
    # Pretrained towers move ten and fifty times slower than the new heads.
    "base": {
        "epochs": 20,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "image_learning_rate": 1e-4,
        "text_learning_rate": 2e-5,
    },
    "seed": {
        "epochs": 20,
        "batch_size": 12,
        "loss": "soft",
        "learning_rate": 1e-3,
        "image_learning_rate": 1e-4,
        "text_learning_rate": 1e-5,
        "weight_decay": 1e-3,
        "schedule": "plateau",
        "augmentation": NO_AUGMENTATION,
        "precision": "fp32",
    },
}
# Towers that start at random need one rate for all, whatever the preset.
SCRATCH: dict[str, Any] = {"image_learning_rate": None, "text_learning_rate": None}


def options_for(preset: EncoderPreset, **given: Any) -> ContrastiveOptions:  # noqa: ANN401 - any option
    """The preset's recipe, with every given option that is not None in its place.

    Raises:
        OptionsError: an option is out of range.
    """
    recipe = dict(RECIPES.get(preset.name, {}))
    if given.get("from_scratch") and preset.name != "seed":
        recipe |= SCRATCH
    recipe |= {name: value for name, value in given.items() if value is not None}
    return ContrastiveOptions(preset=preset, **recipe)
