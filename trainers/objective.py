"""The dual encoder as a run trains it, and its pixels."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from encoders.dual import DualEncoder
from encoders.preprocessing import ImagePreprocessing
from trainers.augmentation import Augmentation, augment
from trainers.criterion import Vectors
from trainers.device import Placement
from trainers.options import FrozenTowers, LossName

SIGLIP_BIAS = -10.0
_IS_FEATURES = 2  # dimensions of [b, f]


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
            freeze: towers that learn nothing; their heads do.
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
        self.label_head = _label_head(model.embedding_dim, classes, placement.device) if classes else None
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

    def forward(self, images: Tensor, *texts: Tensor) -> Vectors:
        """Embed a batch, in float32.

        Args:
            images: pixels [b, 3, h, w], or features of the frozen image tower [b, f]; pixels of a second view
                of each image may follow [2 b, 3, h, w].
            texts: token ids and mask [b, s] each, or features of the frozen text tower [b, f].
        """
        seen = images if images.ndim == _IS_FEATURES else self.image_features(images)
        read = texts[0] if len(texts) == 1 else self.text_features(*texts)
        # Unit length to three digits would blur the ranking: the heads stay in float32.
        vectors = self.model.project_images(seen.float())
        images, views = vectors[: len(read)], vectors[len(read) :]
        return Vectors(
            images=images,
            texts=self.model.project_texts(read.float()),
            views=views,
            labels=self._labels(images),
            calibration=self.calibration(),
        )

    def calibration(self) -> Tensor:
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

    def _labels(self, images: Tensor) -> Tensor:
        if self.label_head is None:
            return images.new_empty((len(images), 0))
        # Numbers about 1 instead of about 1 / sqrt(d), so that the head learns at the rate of the others.
        logits: Tensor = self.label_head(images * math.sqrt(images.shape[1]))
        return logits

    def _towers(self) -> tuple[tuple[bool, nn.Module], ...]:
        return (
            (self.image_is_frozen, self.model.image_tower),
            (self.text_is_frozen, self.model.text_tower),
        )


def _label_head(dim: int, classes: int, device: torch.device) -> nn.Linear:
    head = nn.Linear(dim, classes, device=device)
    nn.init.zeros_(head.weight)  # every class equally likely; and no random number is drawn for it
    nn.init.zeros_(head.bias)
    return head


def to_pixels(squares: Tensor, spec: ImagePreprocessing, draws: Tensor, amounts: Augmentation) -> Tensor:
    """Augment and normalise a batch on the device it lies on.

    Args:
        squares: uint8 [b, h, w, 3].
        spec: the model's preprocessing.
        draws: of ``augmentation.draw``, on any device [b, 6].
        amounts: of the augmentation.

    Returns:
        float32 [b, 3, h, w] in channels_last order, which convolutions like best.
    """
    draws = draws.to(squares.device, non_blocking=True)
    pixels = torch.empty(
        (len(squares), 3, *squares.shape[1:3]), device=squares.device, memory_format=torch.channels_last
    )
    # Nearly all scans are grey: moving one channel instead of three equal ones saves most of the work.
    grey = (squares == squares[..., :1]).flatten(1).all(dim=1)
    for chosen, channels in ((grey, 1), (~grey, 3)):
        if chosen.any():
            values = squares[chosen][..., :channels].permute(0, 3, 1, 2).float() / 255
            pixels[chosen] = augment(values, draws[chosen], amounts).expand(-1, 3, -1, -1)
    mean = torch.tensor(spec.mean, device=squares.device).view(3, 1, 1)
    std = torch.tensor(spec.std, device=squares.device).view(3, 1, 1)
    return (pixels - mean) / std
