"""Named model shapes: plain data, no torch.

A preset says which two towers, which image size and which projection heads make one model. Any field can be
overridden by name, so ``preset_named("base", image_encoder="densenet121")`` is a whole new model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

from encoders.errors import PresetError
from encoders.preprocessing import Fit, ImagePreprocessing

Projection = Literal["linear", "residual", "none"]
Pooling = Literal["mean", "cls"]

SMALL_RESNET = "small-resnet"
SMALL_TRANSFORMER = "small-transformer"

# What torchvision's ImageNet weights were trained with.
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# Our own tower has no past: centre the grey range.
GREY_MEAN = (0.5, 0.5, 0.5)
GREY_STD = (0.25, 0.25, 0.25)

MIN_IMAGE_SIZE = 32
HEAD_WIDTH = 32
MIN_TOKENS = 4


@dataclass(frozen=True, slots=True)
class EncoderPreset:
    """The shape of a dual encoder."""

    name: str  # of the preset; kept when fields are overridden
    image_encoder: str  # ``small-resnet`` (ours) or any torchvision classification model
    # ``small-transformer`` (ours), a transformers model name on the hub, or a folder of one.
    text_encoder: str
    image_size: int = 224  # side of the input of the image tower, in pixels
    max_tokens: int = 128  # longest caption the text tower reads, special tokens included
    embedding_dim: int = 256  # length of the unit vectors both towers end in
    # ``linear``, the ``residual`` head (Linear, GELU, Linear, dropout, residual, LayerNorm), or ``none`` for
    # towers that end in the shared space by themselves.
    projection: Projection = "linear"
    projection_dropout: float = 0.0  # of the residual head
    text_pooling: Pooling = "mean"  # ``mean`` over the caption's tokens, or its first (``cls``) token
    image_fit: Fit = "pad"  # how an image is made square, see ``ImagePreprocessing``
    temperature: float = 0.07  # initial softmax temperature; the logit scale is its inverse
    learn_temperature: bool = True  # whether training moves it
    vocab_size: int = 4096  # of the WordPiece trained on the corpus, when the text tower brings no tokenizer
    image_widths: tuple[int, ...] = (32, 64, 128, 256)  # channels of each stage of ``small-resnet``
    image_blocks: tuple[int, ...] = (1, 1, 1, 1)  # residual blocks of each stage of ``small-resnet``
    # Of a token in ``small-transformer``, a multiple of 32; there is a head for each 32.
    text_width: int = 128
    text_layers: int = 2  # of ``small-transformer``

    def __post_init__(self) -> None:
        """Refuse shapes no model can have."""
        if self.image_size < MIN_IMAGE_SIZE:
            raise PresetError(
                f"image size {self.image_size} is too small: use at least {MIN_IMAGE_SIZE} pixels"
            )
        if self.max_tokens < MIN_TOKENS:
            raise PresetError(f"{self.max_tokens} caption tokens are too few: use at least {MIN_TOKENS}")
        if self.embedding_dim < 1:
            raise PresetError(f"embedding dimension {self.embedding_dim} is not positive")
        widths, blocks = self.image_widths, self.image_blocks
        if not widths or len(widths) != len(blocks) or min(*widths, *blocks) < 1:
            raise PresetError(
                f"image widths {widths} and blocks {blocks} do not fit: give as many of each, all positive"
            )
        if self.text_width < HEAD_WIDTH or self.text_width % HEAD_WIDTH:
            raise PresetError(f"text width {self.text_width} is no multiple of {HEAD_WIDTH}")
        if self.text_layers < 1:
            raise PresetError(f"{self.text_layers} text layers are too few: use at least 1")

    @property
    def image_preprocessing(self) -> ImagePreprocessing:
        """How image files become this model's pixels."""
        ours = self.image_encoder == SMALL_RESNET
        return ImagePreprocessing(
            size=self.image_size,
            mean=GREY_MEAN if ours else IMAGENET_MEAN,
            std=GREY_STD if ours else IMAGENET_STD,
            fit=self.image_fit,
        )


PRESETS: dict[str, EncoderPreset] = {
    preset.name: preset
    for preset in (
        # Trains from nothing on two CPU cores.
        EncoderPreset(
            name="tiny",
            image_encoder=SMALL_RESNET,
            text_encoder=SMALL_TRANSFORMER,
            image_size=96,
            max_tokens=96,
            embedding_dim=128,
        ),
        EncoderPreset(
            name="base",
            image_encoder="resnet50",
            text_encoder="emilyalsentzer/Bio_ClinicalBERT",
        ),
        # The model medclip is compared with: soft targets, squashed images. It compared vectors about
        # sqrt(256) long, as they left the LayerNorm, at temperature 1: for unit vectors that is 1 / 256.
        EncoderPreset(
            name="original",
            image_encoder="resnet50",
            text_encoder="emilyalsentzer/Bio_ClinicalBERT",
            max_tokens=200,
            projection="residual",
            projection_dropout=0.1,
            text_pooling="cls",
            image_fit="squash",
            temperature=1 / 256,
            learn_temperature=False,
        ),
    )
}


# Until 0.1 it had the name of a number: model folders and scripts hold it.
FORMER_PRESETS = {"seed": "original"}


def preset_named(name: str, **overrides: Any) -> EncoderPreset:  # noqa: ANN401 - any field
    """Look a preset up and override the fields that are given and not None.

    Raises:
        PresetError: no preset has this name, or the overridden shape is impossible.
    """
    name = FORMER_PRESETS.get(name, name)
    if name not in PRESETS:
        raise PresetError(f"unknown preset '{name}': use one of {', '.join(PRESETS)}")
    return replace(PRESETS[name], **{key: value for key, value in overrides.items() if value is not None})
