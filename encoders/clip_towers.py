"""The two halves of a transformers CLIP or SigLIP model as towers (torch).

Unlike the towers that medclip trains, these pool by themselves: CLIP by its class and end tokens
(arXiv 2103.00020), SigLIP by attention over the patches and by its last token (arXiv 2303.15343).
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from encoders.errors import PresetError

KIND = "transformers-pooled"

# The public classes of transformers by the model type of their configuration.
_CLASSES = {
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModel"),
    "clip_text_model": ("CLIPTextConfig", "CLIPTextModel"),
    "siglip_vision_model": ("SiglipVisionConfig", "SiglipVisionModel"),
    "siglip_text_model": ("SiglipTextConfig", "SiglipTextModel"),
}


class PooledImageTower(nn.Module):
    """The vision half."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Build it with random weights; ``config`` holds a transformers configuration and its ``model_type``.

        Raises:
            PresetError: nobody knows the model type.
        """
        super().__init__()
        self.model = _build(config)
        self.feature_dim = int(self.model.config.hidden_size)
        self.architecture: dict[str, Any] = {"kind": KIND, "config": config}

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, 3, H, W] -> [b, f]``."""
        features: Tensor = self.model(pixel_values=pixels).pooler_output
        return features


class PooledTextTower(nn.Module):
    """The text half."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Build it with random weights; ``config`` holds a transformers configuration and its ``model_type``.

        Raises:
            PresetError: nobody knows the model type.
        """
        super().__init__()
        self.model = _build(config)
        shape = self.model.config
        # SigLIP's own head changes the width; CLIP's projection is the dual encoder's head.
        self.feature_dim = int(getattr(shape, "projection_size", None) or shape.hidden_size)
        # SigLIP was trained on rows padded to full length, the padding visible.
        self.reads_mask = config["model_type"] == "clip_text_model"
        self.architecture: dict[str, Any] = {"kind": KIND, "config": config}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[b, s], [b, s] -> [b, f]``."""
        attention_mask = mask if self.reads_mask else None
        features: Tensor = self.model(input_ids=ids, attention_mask=attention_mask).pooler_output
        return features


def _build(config: dict[str, Any]) -> Any:  # noqa: ANN401 (transformers is untyped)
    import transformers

    model_type = str(config.get("model_type"))
    if model_type not in _CLASSES:
        raise PresetError(
            f"'{model_type}' is no half of a CLIP or SigLIP model: use one of {', '.join(_CLASSES)}"
        )
    config_class, model_class = (getattr(transformers, name) for name in _CLASSES[model_type])
    return model_class(config_class(**{key: value for key, value in config.items() if key != "model_type"}))
