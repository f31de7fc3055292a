"""Caption decoders: what an image tower saw, written out (torch).

Both decoders do the same three things. `begin` reads the memory and the start token, `step` takes one token
further with what it remembers, and `forward` does a whole caption at once for training. What they remember is
a tuple of tensors whose first axis is the batch, so that a beam search can reorder it without knowing what it
is.

Legend of the shapes: b batch, g cells of the grid, c channels of a cell, d embedding dimension.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from encoders.decoder_lstm import LstmDecoder
from encoders.decoder_transformer import TransformerDecoder
from encoders.dual import DualEncoder
from encoders.errors import PresetError

Decoder = LstmDecoder | TransformerDecoder


def look(model: DualEncoder, pixels: Tensor) -> tuple[Tensor, Tensor]:
    """See images with the image tower of a dual encoder.

    Args:
        model: its image tower must have a feature map.
        pixels: ``[b, 3, H, W]``.

    Returns:
        Vectors ``[b, d]`` of unit length, as ``embed_images`` gives them, and the grid ``[b, g, c]``.

    Raises:
        PresetError: the image tower has no feature map.
    """
    tower: Any = model.image_tower
    if not hasattr(tower, "features_and_map"):
        raise PresetError("this model's image tower has no feature map for a decoder to look at")
    features, feature_map = tower.features_and_map(pixels)
    return model.project_images(features), feature_map.flatten(2).transpose(1, 2)


def build_decoder(architecture: dict[str, Any]) -> Decoder:
    """Build the decoder that an ``architecture`` describes, with random weights.

    Raises:
        PresetError: this version knows no such decoder.
    """
    arguments = {key: value for key, value in architecture.items() if key != "kind"}
    match architecture.get("kind"):
        case "lstm":
            return LstmDecoder(**arguments)
        case "transformer":
            return TransformerDecoder(**arguments)
        case kind:
            raise PresetError(f"unknown kind of decoder '{kind}': use lstm or transformer")
