"""Embeds images and words with torch: what indexing uses on a GPU. The interface is ``OnnxEncoder``'s."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from encoders.bundle import TOKENIZER_FILE, ModelBundle
from encoders.dual import load_dual_encoder
from encoders.preprocessing import CaptionTokenizer, ImagePreprocessing

TEXT_BATCH = 256


class TorchEncoder:
    """Images and captions to unit vectors, by the torch modules of a model folder.

    Notable choices: images cross to the device as bytes, a quarter of the traffic of float32, and are
    normalised there; convolutions run channels-last; autocast to bfloat16 where the GPU has it, which moves a
    vector by a cosine of about 1e-4.
    """

    usual_batch: ClassVar[int] = 128  # starting the hundreds of kernels of a pass takes as long for 32 images
    passes_at_once: ClassVar[int] = 2  # the next one's images reach the GPU while it works on those before

    def __init__(
        self, bundle: ModelBundle, *, device: str | None = None, bfloat16: bool | None = None
    ) -> None:
        """Load a model folder.

        Args:
            bundle: an open model folder.
            device: as torch names it; None for the first GPU, else the CPU.
            bfloat16: compute in bfloat16; None for where it is fast.

        Raises:
            BundleError: a file was altered or does not fit.
        """
        self.fingerprint, self.dim = bundle.fingerprint, bundle.config.embedding_dim
        self.image_spec: ImagePreprocessing = bundle.config.image
        self._device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self._bfloat16 = gpu_has_bfloat16(self._device) if bfloat16 is None else bfloat16
        self._tokenizer = CaptionTokenizer.from_bytes(bundle.read_verified(TOKENIZER_FILE))
        self._model = load_dual_encoder(bundle).to(self._device).to(memory_format=torch.channels_last)
        std = torch.tensor(self.image_spec.std, device=self._device).view(1, 3, 1, 1)
        mean = torch.tensor(self.image_spec.mean, device=self._device).view(1, 3, 1, 1)
        self._scale, self._shift = 1 / (255 * std), mean / std

    def embed_pixels(self, pixels: np.ndarray) -> np.ndarray:
        """Embed preprocessed images: float32 ``[b, 3, size, size]`` to float32 ``[b, dim]``, unit length."""
        if len(pixels) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        return self._embed_pixels(self._to_device(pixels.astype(np.float32, copy=False)))

    def embed_images(self, images: np.ndarray) -> np.ndarray:
        """Embed images: uint8 ``[b, size, size, 3]`` to float32 ``[b, dim]``, unit length."""
        if len(images) == 0:
            return np.zeros((0, self.dim), dtype=np.float32)
        # [b, h, w, 3] viewed as [b, 3, h, w] is channels-last already.
        bytes_on_device = self._to_device(images).permute(0, 3, 1, 2)
        return self._embed_pixels(bytes_on_device.float() * self._scale - self._shift)

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """Embed captions: float32 ``[b, dim]``, unit length, in the order of the texts."""
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        order = sorted(range(len(texts)), key=lambda index: len(texts[index]))
        for start in range(0, len(order), TEXT_BATCH):
            chosen = order[start : start + TEXT_BATCH]
            ids, mask = self._tokenizer([texts[index] for index in chosen])
            with torch.inference_mode(), self._precision():
                rows = self._model.embed_texts(self._to_device(ids), self._to_device(mask))
            vectors[chosen] = _unit(rows)
        return vectors

    def _embed_pixels(self, pixels: Tensor) -> np.ndarray:
        with torch.inference_mode(), self._precision():
            return _unit(self._model.embed_images(pixels.contiguous(memory_format=torch.channels_last)))

    def _precision(self) -> AbstractContextManager[object]:
        if not self._bfloat16:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=torch.bfloat16)

    def _to_device(self, values: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self._device.type == "cuda":
            return tensor.pin_memory().to(self._device, non_blocking=True)
        return tensor.to(self._device)


def gpu_has_bfloat16(device: torch.device) -> bool:
    """Whether a device is a GPU with units for it: older ones emulate it, slower than float32."""
    return device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)


def _unit(vectors: Tensor) -> np.ndarray:
    """To float32 of unit length again, which bfloat16 rounds off."""
    array: np.ndarray = torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
    return array
