"""Augmentation for scans, a whole batch at a time.

What a scanner or a hospital changes and a diagnosis does not: the patient lies a little rotated, nearer or
further, off centre, and the window is set a little differently. No flip: left and right are findings.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from encoders.errors import OptionsError
from encoders.preprocessing import ImagePreprocessing


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far each image may be moved from what was read; every draw is uniform and symmetric."""

    rotation_degrees: float = 10.0  # largest rotation, either way
    zoom: float = 0.1  # largest change of scale, as a share
    shift: float = 0.05  # largest shift, as a share of the side
    brightness: float = 0.05  # largest shift of the grey values, in units of the full range
    contrast: float = 0.3  # largest change of contrast around the image's mean, as a share

    def __post_init__(self) -> None:
        """Refuse amounts that make no sense."""
        for name in ("rotation_degrees", "zoom", "shift", "brightness", "contrast"):
            value = getattr(self, name)
            if not 0 <= value < (180 if name == "rotation_degrees" else 1):
                raise OptionsError(f"augmentation: {name} = {value:g} is out of range")

    def times(self, strength: float) -> Augmentation:
        """Every amount multiplied; 0 moves nothing.

        Raises:
            OptionsError: an amount is out of range then.
        """
        return Augmentation(**{name: strength * amount for name, amount in asdict(self).items()})


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0)
_DRAWS = 6  # rotation, zoom, shift across, shift down, brightness, contrast


def draw(count: int, generator: torch.Generator) -> Tensor:
    """How far each of b images goes of what is allowed: float32 [b, 6], uniform in -1 to 1.

    The generator is on the CPU, so that a seed gives the same draws on every device.
    """
    return 2 * torch.rand(count, _DRAWS, generator=generator) - 1


def augment(images: Tensor, draws: Tensor, amounts: Augmentation) -> Tensor:
    """Rotate, scale, shift and re-window each image of a batch by its own draw.

    Args:
        images: grey values 0 to 1, float [b, c, h, w].
        draws: of ``draw``, on the same device [b, 6].
        amounts: how far a draw of 1 goes.

    Returns:
        float [b, c, h, w]; what moves in from outside is black. Values may leave 0 to 1 a little.
    """
    if amounts == NO_AUGMENTATION:
        return images
    moved = _move(images, draws, amounts)
    brightness, contrast = draws[:, 4:].view(-1, 2, 1, 1, 1).unbind(dim=1)  # each [b, 1, 1, 1]
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    return (moved - mean) * (1 + amounts.contrast * contrast) + mean + amounts.brightness * brightness


def _move(images: Tensor, draws: Tensor, amounts: Augmentation) -> Tensor:
    angle = draws[:, 0] * math.radians(amounts.rotation_degrees)
    scale = 1 + draws[:, 1] * amounts.zoom
    # affine_grid measures in half sides.
    across, down = 2 * amounts.shift * draws[:, 2], 2 * amounts.shift * draws[:, 3]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack((cosine, -sine, across, sine, cosine, down), dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def to_pixels(images: Tensor, spec: ImagePreprocessing, draws: Tensor, amounts: Augmentation) -> Tensor:
    """Augment and normalise a batch on the device it lies on.

    Args:
        images: uint8 [b, h, w, 3].
        spec: the model's preprocessing.
        draws: of ``draw``, on any device [b, 6].
        amounts: of the augmentation.

    Returns:
        float32 [b, 3, h, w] in channels_last order, which convolutions like best.
    """
    draws = draws.to(images.device, non_blocking=True)
    pixels = torch.empty(
        (len(images), 3, *images.shape[1:3]), device=images.device, memory_format=torch.channels_last
    )
    # Nearly all scans are grey: moving one channel instead of three equal ones saves most of the work.
    grey = (images == images[..., :1]).flatten(1).all(dim=1)
    for chosen, channels in ((grey, 1), (~grey, 3)):
        if chosen.any():
            values = images[chosen][..., :channels].permute(0, 3, 1, 2).float() / 255
            pixels[chosen] = augment(values, draws[chosen], amounts).expand(-1, 3, -1, -1)
    mean = torch.tensor(spec.mean, device=images.device).view(3, 1, 1)
    std = torch.tensor(spec.std, device=images.device).view(3, 1, 1)
    return (pixels - mean) / std
