"""Image files to pixels, captions to token ids: shared by training and asking, so they cannot drift apart.

Pillow, NumPy and tokenizers only; tokenizers is imported when a tokenizer is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal

import numpy as np
from PIL import Image

from encoders.errors import BundleError
from encoders.images import read_image

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Fit = Literal["pad", "squash", "crop"]
Resample = Literal["bilinear", "bicubic", "lanczos"]

_FILTERS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class ImagePreprocessing:
    """How an image becomes the input of an image tower."""

    size: int  # width and height of the input, in pixels
    mean: tuple[float, float, float]  # of each channel, on the 0 to 1 scale
    std: tuple[float, float, float]  # of each channel, on the 0 to 1 scale
    # ``pad`` keeps the proportions and fills with black, ``squash`` does not keep them, ``crop`` keeps them
    # and cuts the longer side's ends off.
    fit: Fit = "pad"
    resample: Resample = "bilinear"  # interpolation filter; all of them smooth before they shrink


def fit_image(image: Image.Image, spec: ImagePreprocessing) -> np.ndarray:
    """Bring an image of mode ``L`` or ``RGB`` to the size of the model's input.

    Returns:
        uint8 ``[size, size, 3]``; grey pictures have three equal channels.
    """
    width, height = image.size
    if spec.fit == "squash":
        new_width = new_height = spec.size
    else:
        fitted_side = max(width, height) if spec.fit == "pad" else min(width, height)
        new_width = max(1, round(width * spec.size / fitted_side))
        new_height = max(1, round(height * spec.size / fitted_side))
    resized = image.resize((new_width, new_height), _FILTERS[spec.resample])
    if (new_width, new_height) != (spec.size, spec.size):
        left, top = (new_width - spec.size) // 2, (new_height - spec.size) // 2
        # A box that reaches outside the image is filled with black.
        resized = resized.crop((left, top, left + spec.size, top + spec.size))
    return np.asarray(resized if resized.mode == "RGB" else resized.convert("RGB"))


def normalize_image(image: np.ndarray, spec: ImagePreprocessing) -> np.ndarray:
    """uint8 ``[h, w, 3]`` -> float32 ``[3, h, w]``, contiguous: ``(image / 255 - mean) / std``."""
    std = np.asarray(spec.std, dtype=np.float32).reshape(3, 1, 1)
    mean = np.asarray(spec.mean, dtype=np.float32).reshape(3, 1, 1)
    pixels = image.transpose(2, 0, 1).astype(np.float32, order="C")
    pixels *= 1.0 / (255.0 * std)
    pixels -= mean / std
    return pixels


def load_image(source: Path | str | BinaryIO, spec: ImagePreprocessing) -> np.ndarray:
    """Read an image file into uint8 ``[size, size, 3]``, decoding no more of a large JPEG than is needed.

    Raises:
        ScanError: the file cannot be read.
    """
    return fit_image(read_image(source, least_side=spec.size), spec)


class CaptionTokenizer:
    """Captions to token ids, by a ``tokenizer.json`` of the tokenizers library.

    Truncation and padding are part of the file, so the same file gives the same ids everywhere.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Wrap a tokenizer whose truncation and padding are already set."""
        self._tokenizer = tokenizer

    @classmethod
    def from_bytes(cls, data: bytes) -> CaptionTokenizer:
        """Read the content of a ``tokenizer.json``.

        Raises:
            BundleError: it is not one, or does not say how to truncate and pad.
        """
        from tokenizers import Tokenizer

        try:
            tokenizer = Tokenizer.from_str(data.decode("utf-8"))
        except Exception as error:  # the library raises plain Exception
            raise BundleError(
                "tokenizer.json cannot be read as a tokenizer: make or copy the model again"
            ) from error
        if tokenizer.truncation is None or tokenizer.padding is None:
            raise BundleError(
                "tokenizer.json does not say how to truncate and pad: make or copy the model again"
            )
        return cls(tokenizer)

    def to_bytes(self) -> bytes:
        """The content of a ``tokenizer.json``."""
        text: str = self._tokenizer.to_str(pretty=False)
        return text.encode("utf-8")

    @property
    def vocab_size(self) -> int:
        """One more than the largest id the tokenizer can give."""
        return max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1

    @property
    def max_tokens(self) -> int:
        """Longest row of ids, special tokens included."""
        return int((self._tokenizer.truncation or {})["max_length"])

    def __call__(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Tokenize a batch.

        Returns:
            ids: int64 ``[b, s]``, padded to the longest of the batch and cut at ``max_tokens``.
            mask: int64 ``[b, s]``, 1 for tokens and 0 for padding.
        """
        if not texts:
            empty = np.zeros((0, 1), dtype=np.int64)
            return empty, empty
        encodings = self._tokenizer.encode_batch(list(texts))
        ids = np.array([encoding.ids for encoding in encodings], dtype=np.int64)
        mask = np.array([encoding.attention_mask for encoding in encodings], dtype=np.int64)
        return ids, mask
