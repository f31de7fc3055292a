"""The training loop medclip is measured against: float32, batches of 12, two workers, everything eager.

It is that of the widely copied tutorial on training a small CLIP: a PyTorch DataLoader whose two workers
decode every image in every epoch, captions padded to the longest of all, ResNet-50 and a BERT of base size,
soft targets, AdamW with a rate for each tower.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from encoders.dual import build_dual_encoder, build_tokenizer
from encoders.presets import preset_named
from trainers.data import TrainingPair
from trainers.losses import soft

BATCH_SIZE, WORKERS = 12, 2
UNCOUNTED_STEPS = 2
RATES = {"image_tower": 1e-4, "text_tower": 1e-5}
HEAD_RATE = 1e-3


class DecodedPairs(Dataset[dict[str, Tensor]]):
    """Pairs, decoded whenever they are asked for."""

    def __init__(self, pairs: Sequence[TrainingPair], ids: Tensor, mask: Tensor, size: int) -> None:
        """Keep the pairs and their tokens [n, s]."""
        self._pairs, self._ids, self._mask, self._size = pairs, ids, mask, size

    def __len__(self) -> int:
        """How many there are."""
        return len(self._pairs)

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        """One pair."""
        picture = Image.open(self._pairs[row].image).convert("RGB").resize((self._size, self._size))
        pixels = np.asarray(picture, dtype=np.float32).transpose(2, 0, 1) / 255
        return {
            "pixels": torch.from_numpy((pixels - 0.45) / 0.225),
            "ids": self._ids[row],
            "mask": self._mask[row],
        }


def images_per_second(pairs: Sequence[TrainingPair], device: torch.device, steps: int) -> float:
    """Train for some steps and return the speed, the first few steps not counted."""
    preset = preset_named("original")
    tokenizer = build_tokenizer(preset, [pair.text for pair in pairs], from_scratch=True, offline=True)
    model = build_dual_encoder(preset, vocab_size=tokenizer.vocab_size, from_scratch=True, offline=True)
    model = model.to(device).train()
    optimiser = torch.optim.AdamW(
        [
            {"params": [weight], "lr": RATES.get(name.partition(".")[0], HEAD_RATE)}
            for name, weight in model.named_parameters()
            if weight.requires_grad
        ],
        weight_decay=1e-3,
    )
    ids, mask = (torch.from_numpy(part) for part in tokenizer([pair.text for pair in pairs]))
    data = DecodedPairs(pairs, ids, mask, preset.image_size)
    began, seen = 0.0, 0
    loader = DataLoader(data, batch_size=BATCH_SIZE, shuffle=True, num_workers=WORKERS, drop_last=True)
    for step, batch in enumerate(_endless(loader), 1):
        pixels, ids, mask = (batch[name].to(device) for name in ("pixels", "ids", "mask"))
        images, texts = model(pixels, ids, mask)
        loss = soft(images, texts, model.logit_scale.exp())
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        loss.item()  # shown in the tutorial's bar after every step
        if step == UNCOUNTED_STEPS:
            began = time.perf_counter()
        elif step > UNCOUNTED_STEPS:
            seen += len(pixels)
        if step == UNCOUNTED_STEPS + steps:
            break
    return seen / (time.perf_counter() - began)


def _endless(loader: DataLoader[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
    while True:
        yield from loader
