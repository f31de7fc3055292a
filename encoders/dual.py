"""The dual encoder: an image tower and a text tower that end in one space (torch).

CLIP, arXiv 2103.00020, section 2.3. Legend of the shapes: b batch, s tokens, f features, d embedding
dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from encoders.bundle import WEIGHTS_FILE, ModelBundle
from encoders.errors import BundleError, PresetError, WeightsError
from encoders.preprocessing import CaptionTokenizer
from encoders.presets import HEAD_WIDTH, SMALL_TRANSFORMER, EncoderPreset, Projection
from encoders.text import SmallTransformer, train_wordpiece, transformers_tower
from encoders.vision import SmallResNet, TorchvisionTower, build_image_tower, build_offered_tower
from encoders.weights import (
    current_names,
    load_state,
    pretrained_text_tower,
    pretrained_tokenizer,
    read_weights,
    torchvision_state,
    unpretrained_text_tower,
)


class ResidualProjection(nn.Module):
    """Linear, GELU, Linear, dropout, residual, LayerNorm: the head of preset original."""

    def __init__(self, features: int, dim: int, *, dropout: float = 0.1) -> None:
        super().__init__()
        self.project = nn.Linear(features, dim)
        self.refine = nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, features: Tensor) -> Tensor:
        """``[b, f] -> [b, d]``."""
        projected = self.project(features)
        refined = self.dropout(self.refine(F.gelu(projected)))
        normed: Tensor = self.norm(projected + refined)
        return normed


def build_projection(kind: Projection, features: int, dim: int, *, dropout: float = 0.0) -> nn.Module:
    """Build a head: ``linear`` (one matrix, as in CLIP), ``residual``, or ``none``.

    Raises:
        PresetError: without a head, the tower's features must have the wanted dimension already.
    """
    if kind == "residual":
        return ResidualProjection(features, dim, dropout=dropout)
    if kind == "none":
        if features != dim:
            raise PresetError(f"a tower of {features} features needs a projection to {dim} dimensions")
        return nn.Identity()
    return nn.Linear(features, dim, bias=False)


class DualEncoder(nn.Module):
    """Two towers with their projection heads and the logit scale.

    The steps are public one by one, so that features of a frozen tower can be computed once and kept:
    ``embed_images`` is ``project_images`` of ``image_tower``, and likewise for texts.
    """

    def __init__(
        self,
        image_tower: nn.Module,
        text_tower: nn.Module,
        *,
        embedding_dim: int,
        projection: Projection = "linear",
        projection_dropout: float = 0.0,
        temperature: float = 0.07,
        learn_temperature: bool = True,
    ) -> None:
        """Join two towers, each of which has ``feature_dim`` and ``architecture``."""
        super().__init__()
        self.embedding_dim = embedding_dim
        self.image_tower = image_tower
        self.text_tower = text_tower
        self.image_head = build_projection(
            projection, _feature_dim(image_tower), embedding_dim, dropout=projection_dropout
        )
        self.text_head = build_projection(
            projection, _feature_dim(text_tower), embedding_dim, dropout=projection_dropout
        )
        # Kept as a logarithm: the scale stays positive whatever the optimiser does.
        self.logit_scale = nn.Parameter(torch.tensor(-math.log(temperature)), requires_grad=learn_temperature)
        self.architecture: dict[str, Any] = {
            "image_tower": image_tower.architecture,
            "text_tower": text_tower.architecture,
            "embedding_dim": embedding_dim,
            "projection": projection,
            "projection_dropout": projection_dropout,
            "temperature": temperature,
            "learn_temperature": learn_temperature,
        }

    def embed_images(self, pixels: Tensor) -> Tensor:
        """``[b, 3, H, W]`` float -> ``[b, d]`` of unit length."""
        return self.project_images(self.image_tower(pixels))

    def embed_texts(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[b, s]``, ``[b, s]`` int64 -> ``[b, d]`` of unit length; the mask is 0 for padding."""
        return self.project_texts(self.text_tower(ids, mask))

    def project_images(self, features: Tensor) -> Tensor:
        """``[b, f] -> [b, d]`` of unit length."""
        return F.normalize(self.image_head(features), dim=-1)

    def project_texts(self, features: Tensor) -> Tensor:
        """``[b, f] -> [b, d]`` of unit length."""
        return F.normalize(self.text_head(features), dim=-1)

    def forward(self, pixels: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Embed both sides of a batch: what DistributedDataParallel calls."""
        return self.embed_images(pixels), self.embed_texts(ids, mask)


def build_tokenizer(
    preset: EncoderPreset, captions: Iterable[str], *, from_scratch: bool = False, offline: bool = False
) -> CaptionTokenizer:
    """The tokenizer that belongs to a preset's text tower.

    Our own tower, and a hub model trained from scratch, get a WordPiece of the captions; every other tower
    keeps the tokenizer it was trained with.

    Raises:
        WeightsError: the tokenizer is nowhere to be had.
    """
    brings_none = preset.text_encoder == SMALL_TRANSFORMER
    if brings_none or (from_scratch and not Path(preset.text_encoder).is_dir()):
        return train_wordpiece(captions, preset.vocab_size, preset.max_tokens)
    return pretrained_tokenizer(preset.text_encoder, preset.max_tokens, offline=offline)


def build_dual_encoder(
    preset: EncoderPreset,
    *,
    vocab_size: int | None = None,
    image_weights: Path | str | None = None,
    text_weights: Path | str | None = None,
    from_scratch: bool = False,
    offline: bool = False,
) -> DualEncoder:
    """Build the model of a preset, with pretrained towers where the preset has them.

    Args:
        preset: the model's shape.
        vocab_size: of the tokenizer; needed by ``small-transformer`` and with ``from_scratch``.
        image_weights: a weights file or folder for the image tower, instead of torchvision's download.
        text_weights: a weights file or folder for the text tower, instead of the hub's.
        from_scratch: leave towers without a weights file random.
        offline: never reach for the network.

    Raises:
        PresetError: nobody knows a tower, or ``vocab_size`` is missing.
        WeightsError: weights are not there or do not fit.
    """
    return DualEncoder(
        _image_tower(preset, image_weights, from_scratch=from_scratch, offline=offline),
        _text_tower(preset, vocab_size, text_weights, from_scratch=from_scratch, offline=offline),
        embedding_dim=preset.embedding_dim,
        projection=preset.projection,
        projection_dropout=preset.projection_dropout,
        temperature=preset.temperature,
        learn_temperature=preset.learn_temperature,
    )


def _image_tower(
    preset: EncoderPreset, weights: Path | str | None, *, from_scratch: bool, offline: bool
) -> nn.Module:
    tower = build_image_tower(
        preset.image_encoder,
        image_size=preset.image_size,
        widths=preset.image_widths,
        blocks=preset.image_blocks,
    )
    target = tower.backbone if isinstance(tower, TorchvisionTower) else tower
    if weights is not None:
        load_state(target, read_weights(weights), source=str(weights))
    elif not from_scratch and isinstance(tower, TorchvisionTower):
        state = torchvision_state(preset.image_encoder, offline=offline)
        load_state(target, state, source=f"of torchvision's {preset.image_encoder}")
    return tower


def _text_tower(
    preset: EncoderPreset,
    vocab_size: int | None,
    weights: Path | str | None,
    *,
    from_scratch: bool,
    offline: bool,
) -> nn.Module:
    if preset.text_encoder == SMALL_TRANSFORMER:
        if vocab_size is None:
            raise PresetError(f"text encoder '{SMALL_TRANSFORMER}' needs the size of its vocabulary")
        tower = SmallTransformer(
            vocab_size=vocab_size,
            max_tokens=preset.max_tokens,
            width=preset.text_width,
            layers=preset.text_layers,
            heads=preset.text_width // HEAD_WIDTH,
        )
        if weights is not None:
            load_state(tower, read_weights(weights), source=str(weights))
        return tower
    if weights is None and not from_scratch:
        pretrained = pretrained_text_tower(preset.text_encoder, pooling=preset.text_pooling, offline=offline)
        if vocab_size is not None and vocab_size > pretrained.vocab_size:
            raise WeightsError(
                f"text encoder '{preset.text_encoder}' knows {pretrained.vocab_size} tokens and its "
                f"tokenizer gives {vocab_size}: use the folder they were saved to together"
            )
        return pretrained
    random = unpretrained_text_tower(
        preset.text_encoder,
        pooling=preset.text_pooling,
        vocab_size=vocab_size if weights is None else None,
        offline=offline,
    )
    if weights is not None:
        load_state(random.model, read_weights(weights), source=str(weights))
    return random


def load_dual_encoder(bundle: ModelBundle) -> DualEncoder:
    """Build the torch model of a model folder, with its weights, in evaluation mode.

    Raises:
        BundleError: the weights were altered or do not fit the configuration, or nobody here has its towers.
    """
    from safetensors.torch import load

    state = load(bundle.read_verified(WEIGHTS_FILE))
    shape = dict(bundle.config.architecture)
    try:
        towers = [rebuild_tower(shape.pop(name)) for name in ("image_tower", "text_tower")]
        model = DualEncoder(*towers, **shape)
        model.load_state_dict(current_names(state, model))
    except PresetError as error:
        raise BundleError(f"model {bundle.path}: {error}") from error
    except (KeyError, TypeError, RuntimeError) as error:
        raise BundleError(
            f"model {bundle.path}: {WEIGHTS_FILE} does not fit its config: "
            "copy the model again, or train it anew"
        ) from error
    return model.eval()


def rebuild_tower(architecture: dict[str, Any]) -> nn.Module:
    """Build the image or text tower that a saved ``architecture`` describes, with random weights.

    Raises:
        PresetError: this version knows no such tower.
    """
    arguments = {key: value for key, value in architecture.items() if key != "kind"}
    match architecture.get("kind"):
        case "small-resnet":
            return SmallResNet(**arguments)
        case "torchvision":
            return TorchvisionTower(**arguments)
        case "entry-point":
            return build_offered_tower(**arguments)
        case "small-transformer":
            return SmallTransformer(**arguments)
        case "transformers":
            return transformers_tower(**arguments)
        case "transformers-pooled":
            from encoders.hf_import import pooled_tower  # which needs this module

            return pooled_tower(**arguments)
        case kind:
            raise PresetError(f"unknown kind of tower '{kind}': upgrade medclip-cli")


def _feature_dim(tower: nn.Module) -> int:
    return int(tower.feature_dim)  # type: ignore[arg-type]
