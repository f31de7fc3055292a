"""The dual encoder as a run trains it: precision, frozen towers, label heads, averaged weights, batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from encoders.dual import DualEncoder
from encoders.preprocessing import CaptionTokenizer, ImagePreprocessing
from trainers.augmentation import NO_AUGMENTATION, to_pixels
from trainers.criterion import EmbeddingPair
from trainers.data import (
    BatchSource,
    ImageCache,
    ImageSource,
    Rows,
    Skipped,
    TextSource,
    TokenCache,
    TrainingPair,
)
from trainers.device import Placement
from trainers.options import ContrastiveOptions, FrozenTowers, LossName
from trainers.processes import Processes

SIGLIP_BIAS = -10.0
_IS_FEATURES = 2  # dimensions of [b, f]
BATCH_SIZE = 64  # of what a frozen tower embeds


class PairEncoder(nn.Module):
    """A dual encoder together with what only its training needs."""

    def __init__(
        self,
        model: DualEncoder,
        loss: LossName,
        placement: Placement,
        freeze: FrozenTowers = "none",
        *,
        classes: int = 0,
    ) -> None:
        """Wrap a model that is already on its device.

        Args:
            model: the towers, heads and scale.
            loss: its name.
            placement: the precision of the towers.
            freeze: towers whose weights stay; their heads learn.
            classes: of all fields that a linear head is to predict from the image vector; 0 for no head.
        """
        super().__init__()
        self.model = model
        self.placement = placement
        self.image_is_frozen, self.text_is_frozen = freeze in ("image", "both"), freeze in ("text", "both")
        self.bias = nn.Parameter(
            torch.tensor(SIGLIP_BIAS if loss == "sigmoid" else 0.0, device=placement.device),
            requires_grad=loss == "sigmoid",
        )
        self.label_head = None
        if classes:
            self.label_head = nn.Linear(model.embedding_dim, classes, device=placement.device)
            nn.init.zeros_(self.label_head.weight)  # every class equally likely
            nn.init.zeros_(self.label_head.bias)
        for frozen, tower in self._towers():
            if frozen:
                tower.requires_grad_(False)

    def train(self, mode: bool = True) -> PairEncoder:
        """Switch mode; frozen towers keep their running statistics and drop nothing out."""
        super().train(mode)
        for frozen, tower in self._towers():
            if frozen:
                tower.eval()
        return self

    def forward(self, images: Tensor, *texts: Tensor) -> EmbeddingPair:
        """Embed a batch, in float32.

        Args:
            images: pixels [b, 3, h, w], or features of the frozen image tower [b, f]; pixels of a second view
                of each image may follow [2 b, 3, h, w].
            texts: token ids and mask [b, s] each, or features of the frozen text tower [b, f].
        """
        image_features = images if images.ndim == _IS_FEATURES else self.image_features(images)
        text_features = texts[0] if len(texts) == 1 else self.text_features(*texts)
        # Unit length to three digits would blur the ranking: the heads stay in float32.
        vectors = self.model.project_images(image_features.float())
        first, views = vectors[: len(text_features)], vectors[len(text_features) :]
        if self.label_head is None:
            labels = first.new_empty((len(first), 0))
        else:  # numbers about 1, not about 1 / sqrt(d), so that the head learns at the rate of the others
            labels = self.label_head(first * math.sqrt(first.shape[1]))
        return EmbeddingPair(
            images=first,
            texts=self.model.project_texts(text_features.float()),
            views=views,
            labels=labels,
            scale_and_bias=self.scale_and_bias(),
        )

    def scale_and_bias(self) -> Tensor:
        """The logit scale and bias [2]."""
        return torch.stack((self.model.logit_scale.exp(), self.bias))

    def image_features(self, pixels: Tensor) -> Tensor:
        """``[b, 3, h, w] -> [b, f]``, in the run's precision."""
        with self.placement.autocast():
            features: Tensor = self.model.image_tower(pixels)
        return features

    def text_features(self, ids: Tensor, mask: Tensor) -> Tensor:
        """``[b, s], [b, s] -> [b, f]``, in the run's precision."""
        with self.placement.autocast():
            features: Tensor = self.model.text_tower(ids, mask)
        return features

    def clamp_scale(self, largest: float) -> None:
        """Keep the learnable scale from running away (CLIP, section 2.5)."""
        if self.model.logit_scale.requires_grad:
            with torch.no_grad():
                self.model.logit_scale.clamp_(max=math.log(largest))

    def _towers(self) -> tuple[tuple[bool, nn.Module], ...]:
        return (
            (self.image_is_frozen, self.model.image_tower),
            (self.text_is_frozen, self.model.text_tower),
        )


# An average that starts with the first step must forget the random start first.
_WARM_UP_STEPS = 10


class AveragedEncoder:
    """The exponential moving average of an encoder's weights and running statistics."""

    def __init__(self, encoder: PairEncoder, decay: float) -> None:
        """Start with the encoder as it is, on its device; ``decay`` of the average is kept in each step.

        Frozen weights are not averaged: they stay what they are.
        """
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self._decay = decay
        frozen = {name for name, weight in encoder.named_parameters() if not weight.requires_grad}
        mine, theirs = self.encoder.state_dict(), encoder.state_dict()
        self._averaged = [(mine[name], theirs[name]) for name in mine if name not in frozen]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as the given step, from 0, left them."""
        decay = min(self._decay, (1 + step) / (_WARM_UP_STEPS + step))
        for average, value in self._averaged:
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)


class FrozenImages:
    """Features of all readable images, computed once by a frozen image tower."""

    @torch.no_grad()
    def __init__(
        self, encoder: PairEncoder, source: ImageSource, count: int, spec: ImagePreprocessing
    ) -> None:
        """Run the image tower over ``count`` images; the source is read and closed."""
        encoder.eval()
        self._features = torch.empty(0, 0)
        self._readable = np.zeros(count, dtype=bool)
        for first in range(0, count, BATCH_SIZE):
            rows = source.readable(np.arange(first, min(first + BATCH_SIZE, count)))
            if not len(rows):
                continue
            images = source.images(rows).to(encoder.placement.device)
            pixels = to_pixels(images, spec, torch.zeros(len(images), 6), NO_AUGMENTATION)
            features = encoder.image_features(pixels).float().cpu()
            if not self._features.numel():
                self._features = torch.zeros(count, features.shape[1])
            self._features[torch.from_numpy(rows)] = features
            self._readable[rows] = True
        source.close()

    def readable(self, rows: Rows) -> Rows:
        """Those of ``rows`` whose images can be read, in their order."""
        kept: Rows = rows[self._readable[rows]]
        return kept

    def images(self, rows: Rows) -> Tensor:
        """Features of readable rows, float32 [b, f]."""
        return self._features[torch.from_numpy(rows)] if len(rows) else self._features[:0]

    def close(self) -> None:
        """Nothing is held."""


class FrozenTexts:
    """Features of all captions, computed once by a frozen text tower."""

    @torch.no_grad()
    def __init__(self, encoder: PairEncoder, tokens: TokenCache) -> None:
        """Run the text tower over all captions."""
        encoder.eval()
        self._tokens = tokens
        parts = []
        for first in range(0, len(tokens), BATCH_SIZE):
            batch = tokens.tokens(np.arange(first, min(first + BATCH_SIZE, len(tokens))))
            ids, mask = (part.to(encoder.placement.device) for part in batch)
            parts.append(encoder.text_features(ids, mask).float().cpu())
        self._features = torch.cat(parts)

    def texts(self, rows: Rows, picks: np.ndarray | None = None) -> tuple[Tensor, ...]:
        """Features of one caption of each row, float32 [b, f]."""
        return (self._features[torch.from_numpy(self._tokens.caption_rows(rows, picks))],)


def build_batch_source(
    pairs: Sequence[TrainingPair],
    tokenizer: CaptionTokenizer,
    encoder: PairEncoder,
    options: ContrastiveOptions,
    processes: Processes,
    on_skip: Skipped,
) -> BatchSource:
    """Make the source of batches; the encoder's frozen towers, if any, are run over all pairs now.

    ``on_skip`` is called once for each image that cannot be read, with its row and the reason.
    """
    spec = options.preset.image_preprocessing
    images: ImageSource = ImageCache([pair.image for pair in pairs], spec, on_skip=on_skip)
    tokens = TokenCache(pairs, tokenizer)
    texts: TextSource = tokens
    if options.cache_frozen and encoder.image_is_frozen:
        images = FrozenImages(encoder, images, len(pairs), spec)
    if options.cache_frozen and encoder.text_is_frozen:
        texts = FrozenTexts(encoder, tokens)
    return BatchSource(
        images,
        texts,
        count=len(pairs),
        batch_size=options.batch_size,
        accumulate=options.accumulate,
        seed=options.seed,
        views=options.views,
        processes=processes,
    )
