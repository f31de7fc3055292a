"""Augmentation for scans, a whole batch at a time.

What a scanner or a hospital changes and a diagnosis does not: the patient lies a little rotated, nearer or
further, off centre, and the window is set a little differently. No flip: left and right are findings.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from trainers.errors import OptionsError


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far each image may be moved from what was read; every draw is uniform and symmetric.

    Attributes:
        rotation_degrees: largest rotation, either way.
        zoom: largest change of scale, as a share.
        shift: largest shift, as a share of the side.
        brightness: largest shift of the grey values, in units of the full range.
        contrast: largest change of contrast around the image's mean, as a share.
        noise: standard deviation of Gaussian noise, in units of the full range.
    """

    rotation_degrees: float = 10.0
    zoom: float = 0.1
    shift: float = 0.05
    brightness: float = 0.05
    contrast: float = 0.3
    noise: float = 0.005

    def __post_init__(self) -> None:
        """Refuse amounts that make no sense."""
        for name in ("rotation_degrees", "zoom", "shift", "brightness", "contrast", "noise"):
            value = getattr(self, name)
            if not 0 <= value < (180 if name == "rotation_degrees" else 1):
                raise OptionsError(f"augmentation: {name} = {value:g} is out of range")


NO_AUGMENTATION = Augmentation(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


def augment(images: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    """Rotate, scale, shift and re-window each image of a batch by its own draw.

    Args:
        images: grey values 0 to 1, float [b, c, h, w].
        amounts: how far.
        generator: on the CPU, so that a seed gives the same draws on every device.

    Returns:
        float [b, c, h, w]; what moves in from outside is black. Values may leave 0 to 1 a little.
    """
    if amounts == NO_AUGMENTATION:
        return images
    count = len(images)
    draws = (2 * torch.rand(count, 6, generator=generator) - 1).to(images.device, images.dtype)  # [b, 6]
    moved = _move(images, draws[:, :4], amounts)
    mean = moved.mean(dim=(1, 2, 3), keepdim=True)
    contrast = 1 + amounts.contrast * draws[:, 4].view(count, 1, 1, 1)
    brightness = amounts.brightness * draws[:, 5].view(count, 1, 1, 1)
    windowed = (moved - mean) * contrast + mean + brightness
    if not amounts.noise:
        return windowed
    noise = torch.empty(images.shape[0], 1, *images.shape[2:]).normal_(generator=generator)
    return windowed + amounts.noise * noise.to(images.device, images.dtype)


def _move(images: Tensor, draws: Tensor, amounts: Augmentation) -> Tensor:
    angle = draws[:, 0] * math.radians(amounts.rotation_degrees)
    scale = 1 + draws[:, 1] * amounts.zoom
    # affine_grid measures in half sides.
    across, down = 2 * amounts.shift * draws[:, 2], 2 * amounts.shift * draws[:, 3]
    cosine, sine = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack((cosine, -sine, across, sine, cosine, down), dim=1)
    grid = F.affine_grid(rows.view(-1, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
