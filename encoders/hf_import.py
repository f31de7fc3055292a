"""Whole CLIP and SigLIP models of transformers as model folders: indexing with no training at all (torch)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from encoders.bundle import ModelBundle, ModelConfig, check_replaceable
from encoders.dual import DualEncoder
from encoders.errors import PresetError, WeightsError
from encoders.export import public_name, save_bundle
from encoders.preprocessing import Fit, ImagePreprocessing, Resample
from encoders.presets import Projection
from encoders.weights import (
    State,
    from_cache_or_hub,
    load_state,
    pretrained_config,
    pretrained_model,
    pretrained_tokenizer,
)

HUB_PREFIX = "hf:"
# By the model type of the whole.
_HEADS: dict[str, Projection] = {"clip": "linear", "siglip": "none"}
# Pillow's numbers, in which preprocessor configurations name their filters.
_RESAMPLE: dict[int, Resample] = {1: "lanczos", 2: "bilinear", 3: "bicubic"}


def convert_whole_model(
    name: str, path: Path | str, *, offline: bool = False, force: bool = False
) -> ModelBundle:
    """Make a model folder of a transformers CLIP or SigLIP model.

    ``name`` is a folder or a hub name, with or without ``hf:`` before it.

    Raises:
        WeightsError: the model, its tokenizer or its preprocessing is nowhere to be had.
        PresetError: it is neither CLIP nor SigLIP.
        BundleError: the folder exists and may not be replaced, or cannot be written.
        ExportError: a graph disagrees with torch.
    """
    name = name.removeprefix(HUB_PREFIX)
    check_replaceable(Path(path), force=force)
    # The configuration first: a model of another kind may be very large.
    shape = pretrained_config(name, offline=offline)
    model_type = shape.model_type
    if model_type not in _HEADS:
        raise PresetError(
            f"'{name}' is a {model_type} model: only whole {' and '.join(_HEADS)} models are read"
        )
    from transformers import AutoModel

    whole = pretrained_model(name, AutoModel, shape, offline=offline)
    text = whole.config.text_config
    model = _as_dual_encoder(whole, source=name)
    tokenizer = pretrained_tokenizer(
        name, int(text.max_position_embeddings), fixed_length=model_type == "siglip", offline=offline
    )
    if tokenizer.vocab_size > text.vocab_size:
        raise WeightsError(
            f"model '{name}' knows {text.vocab_size} tokens and its tokenizer gives {tokenizer.vocab_size}: "
            "use the tokenizer it was trained with"
        )
    config = ModelConfig(
        preset=HUB_PREFIX + public_name(name),
        image_encoder=f"{model_type}_vision_model",
        text_encoder=f"{model_type}_text_model",
        embedding_dim=model.embedding_dim,
        projection=_HEADS[model_type],
        image=_image_preprocessing(name, int(whole.config.vision_config.image_size), offline=offline),
        max_tokens=tokenizer.max_tokens,
        vocab_size=tokenizer.vocab_size,
        architecture=model.architecture,
        trained_on={"model": public_name(name)},
    )
    return save_bundle(path, model, tokenizer, config, force=force)


def _as_dual_encoder(whole: Any, *, source: str) -> DualEncoder:  # noqa: ANN401
    state: State = whole.state_dict()
    image_tower = PooledImageTower(_half_config(whole.config.vision_config))
    text_tower = PooledTextTower(_half_config(whole.config.text_config))
    load_state(image_tower.model, state, source=source)
    load_state(text_tower.model, state, source=source)
    head = _HEADS[whole.config.model_type]
    model = DualEncoder(
        image_tower,
        text_tower,
        embedding_dim=int(whole.config.projection_dim) if head == "linear" else text_tower.feature_dim,
        projection=head,
        temperature=math.exp(-whole.logit_scale.item()),
    )
    if head == "linear":
        model.image_head.load_state_dict(whole.visual_projection.state_dict())
        model.text_head.load_state_dict(whole.text_projection.state_dict())
    return model.eval()


def _half_config(config: Any) -> dict[str, Any]:  # noqa: ANN401
    shape: dict[str, Any] = config.to_diff_dict()
    return shape | {"model_type": config.model_type}


def _image_preprocessing(name: str, image_size: int, *, offline: bool) -> ImagePreprocessing:
    def load(local: bool) -> dict[str, Any]:
        from transformers import AutoImageProcessor

        processor = AutoImageProcessor.from_pretrained(name, local_files_only=local, trust_remote_code=False)
        settings: dict[str, Any] = processor.to_dict()
        return settings

    settings = from_cache_or_hub(name, load, offline=offline)
    cropped = settings.get("do_center_crop") or "shortest_edge" in (settings.get("size") or {})
    fit: Fit = "crop" if cropped else "squash"
    normalised = settings.get("do_normalize", True)
    return ImagePreprocessing(
        size=image_size,
        mean=_three(settings["image_mean"]) if normalised else (0.0, 0.0, 0.0),
        std=_three(settings["image_std"]) if normalised else (1.0, 1.0, 1.0),
        fit=fit,
        resample=_RESAMPLE.get(int(settings.get("resample") or 3), "bicubic"),
    )


def _three(values: Any) -> tuple[float, float, float]:  # noqa: ANN401
    red, green, blue = (float(value) for value in values)
    return red, green, blue


# The public classes of transformers by the model type of their configuration.
_HALVES = {
    "clip_vision_model": ("CLIPVisionConfig", "CLIPVisionModel"),
    "clip_text_model": ("CLIPTextConfig", "CLIPTextModel"),
    "siglip_vision_model": ("SiglipVisionConfig", "SiglipVisionModel"),
    "siglip_text_model": ("SiglipTextConfig", "SiglipTextModel"),
}


class PooledImageTower(nn.Module):
    """The vision half."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.model = _build(config)
        self.feature_dim = int(self.model.config.hidden_size)
        self.architecture: dict[str, Any] = {"kind": "transformers-pooled", "config": config}

    def forward(self, pixels: Tensor) -> Tensor:
        """``[b, 3, H, W] -> [b, f]``."""
        features: Tensor = self.model(pixel_values=pixels).pooler_output
        return features


class PooledTextTower(nn.Module):
    """The text half."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.model = _build(config)
        shape = self.model.config
        # SigLIP's own head changes the width; CLIP's projection is the dual encoder's head.
        self.feature_dim = int(getattr(shape, "projection_size", None) or shape.hidden_size)
        # SigLIP was trained on rows padded to full length, the padding visible.
        self.reads_mask = config["model_type"] == "clip_text_model"
        self.architecture: dict[str, Any] = {"kind": "transformers-pooled", "config": config}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[b, s], [b, s] -> [b, f]``."""
        attention_mask = mask if self.reads_mask else None
        features: Tensor = self.model(input_ids=ids, attention_mask=attention_mask).pooler_output
        return features


def pooled_tower(config: dict[str, Any]) -> nn.Module:
    """The half that a configuration describes, with random weights."""
    is_text = str(config.get("model_type")).endswith("_text_model")
    return PooledTextTower(config) if is_text else PooledImageTower(config)


def _build(config: dict[str, Any]) -> Any:  # noqa: ANN401 (transformers is untyped)
    """With random weights, from a transformers configuration and its ``model_type``."""
    import transformers

    model_type = str(config.get("model_type"))
    if model_type not in _HALVES:
        raise PresetError(
            f"'{model_type}' is not half of a CLIP or SigLIP model: use one of {', '.join(_HALVES)}"
        )
    config_class, model_class = (getattr(transformers, name) for name in _HALVES[model_type])
    return model_class(config_class(**{key: value for key, value in config.items() if key != "model_type"}))
