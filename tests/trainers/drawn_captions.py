"""What a decoder learns from in tests: a small encoder in a model folder, and a judge of drawn captions."""

import numpy as np
import pytest
import torch

from encoders.export import describe_model, save_bundle
from tests.trainers.drawn import TINY, Recorder, small_model, small_tokenizer
from trainers.augmentation import NO_AUGMENTATION
from trainers.options import CaptioningOptions


class Watcher(Recorder):
    """A listener that remembers everything, also what was looked at."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_features(self, pictures, total):
        self.seen.append((pictures, total))

    def on_skip(self, pair_id, image, reason):
        self.skips.append(pair_id)


def share_right(captions, references):
    """In place of CIDEr the share of captions that are word for word right; and of those that make sense."""
    right = [caption in texts for caption, texts in zip(captions, references, strict=True)]
    possible = {text for texts in references for text in texts}
    return {
        "cider": float(np.mean(right)),
        "sense": float(np.mean([caption in possible for caption in captions])),
    }


def drawn_bundle(pairs, path):
    """A model folder of random encoders; its graphs, which a decoder's training does not ask, are empty."""
    tokenizer = small_tokenizer(pairs)
    torch.manual_seed(0)
    model = small_model(tokenizer.vocab_size)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("export_image_graph", "export_text_graph"):
            patch.setattr(f"encoders.export.{name}", lambda *_, **__: b"graph")
        return save_bundle(path, model, tokenizer, describe_model(model, tokenizer, TINY))


def small_options(**given):
    defaults = {"epochs": 2, "batch_size": 8, "width": 32, "layers": 1, "max_tokens": 16, "views": 1}
    defaults |= {"vocab_size": 320, "device": "cpu", "augmentation": NO_AUGMENTATION, "dropout": 0.0}
    return CaptioningOptions(**(defaults | given))
