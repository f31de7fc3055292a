"""Does an image look like a scan at all? Its texture and colour beside those of the known images.

A contrastive model has learned to tell scans from each other, and puts anything else among them: on MedPix
2.0 stripes and noise are as near to their neighbours as real scans are. What distinguishes them is what the
model learned to ignore, so it is measured on the pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_RINGS = 14
_SECTORS = 8
QUANTILES = (0.02, 0.1, 0.25, 0.5, 0.75, 0.9, 0.98)
_SMALLEST = 1e-6
_LARGEST_SIDE = 150
# Part of the covariance that is replaced by its diagonal, so that few images do not make it singular.
SHRINKAGE = 0.1


def appearance(pixels: NDArray[np.uint8]) -> Floats:
    """Describe the texture and colour of an image.

    Args:
        pixels: uint8 ``[side, side, 3]``, the input of the image tower.

    Returns:
        float64 ``[features]``: the power spectrum by frequency and by direction (each as logarithm of its
        share), contrast, the spread of grey values, how evenly they change, colour.
    """
    colours = _halved(pixels.astype(np.float64) / 255)
    grey = colours.mean(axis=2)
    contrast = float(grey.std())
    centred = (grey - grey.mean()) / max(contrast, _SMALLEST)
    colour = np.abs(colours - grey[..., None]).mean(axis=(0, 1))
    across, down = np.diff(centred, axis=1), np.diff(centred, axis=0)
    steps = np.abs(across).mean() + np.abs(down).mean()
    flat = (np.abs(across) < 0.01).mean()
    return np.concatenate(
        [
            *_spectrum(centred),
            [np.log(contrast + _SMALLEST), np.log(steps + _SMALLEST), flat],
            [np.log(np.abs(np.diff(centred, 2, axis=1)).mean() + _SMALLEST)],
            quantiles(centred),
            np.log(colour + 0.01),
        ]
    )


def quantiles(values: Floats) -> Floats:
    """What `np.quantile` gives, to the last bit, without its import of numpy.ma."""
    position = np.asarray(QUANTILES) * (values.size - 1)
    below = position.astype(np.int64)
    above, share = np.minimum(below + 1, values.size - 1), position - below
    ordered = np.partition(values, [*below, *above], axis=None)
    low, high = ordered[below], ordered[above]
    # From the nearer end, as NumPy does: the other way round rounds differently.
    return np.where(share >= 0.5, high - (high - low) * (1 - share), low + (high - low) * share)


def _halved(pixels: Floats) -> Floats:
    """Average neighbouring pixels until the side is small: any input size gives the same texture."""
    while pixels.shape[0] > _LARGEST_SIDE:
        side = pixels.shape[0] // 2 * 2
        even = pixels[:side, :side]
        pixels = (even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4
    return pixels


@cache
def _frequencies(side: int) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64]]:
    """The window, and the ring and the sector that each frequency of an image of this side belongs to."""
    down, across = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    edges = np.geomspace(1.0 / side, 0.5, _RINGS + 1)
    ring = np.clip(np.digitize(np.hypot(down, across), edges) - 1, 0, _RINGS - 1)
    # Centred on the axes, so that a mirrored image has the same sectors in another order.
    sector = (np.round((np.arctan2(down, across) / np.pi + 0.5) * _SECTORS) % _SECTORS).astype(np.int64)
    window = np.hanning(side)
    return window[:, None] * window[None, :], ring.ravel(), sector.ravel()


def _spectrum(centred: Floats) -> tuple[Floats, Floats]:
    """Logarithms of the shares of power in rings of frequency and in sectors of direction."""
    window, ring, sector = _frequencies(centred.shape[0])
    power = (np.abs(np.fft.rfft2(centred * window)) ** 2).ravel()
    rings = np.bincount(ring, power, minlength=_RINGS)
    sectors = np.bincount(sector, power, minlength=_SECTORS)
    total = max(float(power.sum()), _SMALLEST)
    # Rotation must not matter: sectors in order of their power.
    return np.log(rings / total + _SMALLEST), np.log(np.sort(sectors) / total + _SMALLEST)


@dataclass(frozen=True, slots=True)
class KnownAppearance:
    """How the known images look: a Gaussian over their descriptions."""

    mean: tuple[float, ...]  # [features]
    precision: tuple[tuple[float, ...], ...]  # [features, features] inverse of the shrunk covariance
    limit: float  # distance that all but a few real scans stay under

    def distance(self, description: Floats) -> float:
        """Mahalanobis distance of a description to the known ones."""
        away = description - np.asarray(self.mean)
        return float(np.sqrt(away @ np.asarray(self.precision) @ away))

    def is_foreign(self, description: Floats) -> bool:
        """Whether an image looks like none of the known images."""
        return self.distance(description) > self.limit


def learn_appearance(
    known: Sequence[Floats], held_out: Sequence[Floats], refused_share: float
) -> KnownAppearance:
    """Learn how scans look.

    The limit is the quantile of all distances, widened by the uncertainty of a few held-out ones: what fewer
    images have not shown of the tail must not be refused.

    Args:
        known: descriptions of training images.
        held_out: of validation images.
        refused_share: of real scans that may be beyond the limit.

    Raises:
        ValueError: there are no images of one kind.
    """
    if not len(known) or not len(held_out):
        raise ValueError("known and held-out images are needed to learn how scans look")
    rows = np.stack(known)
    mean = rows.mean(axis=0)
    covariance = (rows - mean).T @ (rows - mean) / len(rows)
    variances = np.diag(np.maximum(np.diag(covariance), _SMALLEST))
    precision = np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * variances)
    learned = KnownAppearance(tuple(mean.tolist()), tuple(map(tuple, precision.tolist())), 0.0)
    distances = [learned.distance(description) for description in (*known, *held_out)]
    limit = float(np.quantile(distances, 1 - refused_share)) * (1 + len(held_out) ** -0.5)
    return KnownAppearance(learned.mean, learned.precision, limit)
