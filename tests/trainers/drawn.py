"""Drawn scans with captions that tell them apart, and a model small enough to train in a second."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn

from encoders.dual import DualEncoder
from encoders.presets import preset_named
from encoders.text import SmallTransformer, train_wordpiece
from encoders.vision import SmallResNet
from trainers.augmentation import NO_AUGMENTATION
from trainers.data import TrainingPair
from trainers.options import ContrastiveOptions

SIDE = 32
PLACES = ("left", "right", "upper", "lower")
TINY = preset_named("tiny", image_size=SIDE, max_tokens=16, embedding_dim=16)


def draw_pairs(folder: Path, count: int, seed: int = 0) -> list[TrainingPair]:
    """One bright lesion at one of four places, bright or faint."""
    folder.mkdir(parents=True, exist_ok=True)
    random, pairs = np.random.default_rng(seed), []
    for number in range(count):
        place, size = PLACES[number % 4], 4 + 4 * (number // 4 % 2)
        centre = {"left": (8, 16), "right": (24, 16), "upper": (16, 8), "lower": (16, 24)}[place]
        grey = random.integers(20, 50, (SIDE, SIDE), dtype=np.uint8)
        x, y = (part + int(random.integers(-1, 2)) for part in centre)
        grey[y - size // 2 : y + size // 2, x - size // 2 : x + size // 2] = 220
        path = folder / f"scan{seed}-{number:03d}.png"
        Image.fromarray(grey).save(path)
        text = f"{'small' if size == 4 else 'large'} lesion in the {place} field"
        labels = (f"place={place}", *([f"size={size}"] if number % 3 else ()))
        pairs.append(TrainingPair(f"drawn/{seed}-{number:03d}", path, text, f"case{seed}-{number}", labels))
    return pairs


def small_tokenizer(pairs):
    return train_wordpiece([pair.text for pair in pairs], 200, 16)


def small_model(vocab_size: int, *, dropout: float = 0.1) -> DualEncoder:
    """A dual encoder of a few thousand weights."""
    return DualEncoder(
        SmallResNet(widths=(8, 16), blocks=(1, 1)),
        SmallTransformer(vocab_size=vocab_size, max_tokens=16, width=16, layers=1, heads=2, dropout=dropout),
        embedding_dim=16,
    )


def small_options(**given) -> ContrastiveOptions:
    """Options for two quick epochs on the CPU."""
    defaults = {"epochs": 2, "batch_size": 8, "device": "cpu", "augmentation": NO_AUGMENTATION}
    return ContrastiveOptions(preset=TINY, from_scratch=True, **(defaults | given))


class Recorder:
    """A listener that remembers everything."""

    def __init__(self):
        self.starts, self.steps, self.epochs, self.skips, self.notes = [], [], [], [], []

    def on_start(self, start):
        self.starts.append(start)

    def on_step(self, report):
        self.steps.append(report)

    def on_epoch(self, report):
        self.epochs.append(report)

    def on_skip(self, pair_id, image, reason):
        self.skips.append((pair_id, image, reason))

    def on_note(self, message):
        self.notes.append(message)


class LayerNormTower(nn.Module):
    """An image tower in which no image of a batch sees another."""

    def __init__(self):
        super().__init__()
        self.architecture = {"kind": "test"}
        self.feature_dim = 16
        self.filters = nn.Conv2d(3, 8, 5, stride=4)
        self.norm = nn.GroupNorm(2, 8)
        self.mix = nn.Linear(8 * 49, 16)

    def forward(self, pixels):
        return self.mix(self.norm(self.filters(pixels)).relu().flatten(1))


def unmixed_model(vocab_size: int) -> DualEncoder:
    """A dual encoder without batch norm or dropout: its gradients add up exactly."""
    model = small_model(vocab_size, dropout=0.0)
    return DualEncoder(LayerNormTower(), model.text_tower, embedding_dim=16)
