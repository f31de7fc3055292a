"""Draws small synthetic scans with captions, the data of `medclip demo` and of the tests.

Each is a torso cut or projected in a plane, as CT, MR or X-ray would show it.

The pictures are cartoons, but they keep what makes real scans hard to tell apart by pixels alone: bodies of
different size, position and angle, uneven brightness, and noise. A lesion is a small part of the picture.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Canvas = NDArray[np.float64]
Mask = NDArray[np.bool_]

SIDES: Mapping[str, tuple[str, str]] = {
    "Axial": ("left", "right"),
    "Coronal": ("left", "right"),
    "Sagittal": ("anterior", "posterior"),
}
RADII = {"small": 0.09, "large": 0.19}
COLUMNS = ("image", "caption", "modality", "view", "patient")
IMAGES_PER_PATIENT = 2
_WORDS = {"CT": "CT", "MR": "MR", "XR": "X-ray"}


@dataclass(frozen=True, slots=True)
class Phantom:
    """What is to be drawn."""

    modality: str  # CT, MR or XR
    plane: str  # Axial, Coronal or Sagittal
    side: str | None = None  # where the lesion is, one of ``SIDES[plane]``, or None for no lesion
    size: str = "small"  # ``small`` or ``large``; ignored without a lesion


@dataclass(frozen=True, slots=True)
class Tissue:
    """Brightness of each tissue (0 black, 1 white), and how the modality spoils the picture."""

    air: float
    soft: float
    fat: float
    bone: float
    lesion: float
    noise: float
    blur: int
    shading: float


TISSUES = {
    "CT": Tissue(air=0.02, soft=0.45, fat=0.30, bone=0.95, lesion=0.72, noise=0.03, blur=0, shading=0.05),
    "MR": Tissue(air=0.04, soft=0.35, fat=0.80, bone=0.10, lesion=0.95, noise=0.06, blur=0, shading=0.45),
    "XR": Tissue(air=0.35, soft=0.55, fat=0.50, bone=0.80, lesion=0.88, noise=0.04, blur=2, shading=0.20),
}


def draw(phantom: Phantom, rng: np.random.Generator, side_pixels: int = 128) -> NDArray[np.uint8]:
    """Draw a phantom with a random position, size, angle, brightness and noise.

    Args:
        phantom: what to draw.
        rng: the only source of chance, so that a seed repeats the picture.
        side_pixels: width and height of the picture.

    Returns:
        uint8 ``[side_pixels, side_pixels]`` grey picture.
    """
    tissue = TISSUES[phantom.modality]
    x, y = _body_coordinates(rng, side_pixels)
    canvas = np.full((side_pixels, side_pixels), 0.0)
    _ANATOMY[phantom.plane](canvas, x, y, tissue)
    if phantom.side is not None:
        _paint_lesion(canvas, x, y, phantom, tissue, rng)
    return _expose(canvas, tissue, rng)


def _body_coordinates(rng: np.random.Generator, side: int) -> tuple[Canvas, Canvas]:
    """Return pixel coordinates in the body's own frame, whose torso spans about -1 to 1."""
    ramp = np.linspace(-1.25, 1.25, side)
    column, row = np.meshgrid(ramp, ramp)
    angle = rng.uniform(-0.25, 0.25)
    scale = rng.uniform(0.85, 1.25, size=2)
    shift = rng.uniform(-0.2, 0.2, size=2)
    x = (column * np.cos(angle) - row * np.sin(angle) - shift[0]) * scale[0]
    y = (column * np.sin(angle) + row * np.cos(angle) - shift[1]) * scale[1]
    return x, y


def _ellipse(
    x: Canvas, y: Canvas, centre: tuple[float, float], radii: tuple[float, float]
) -> NDArray[np.bool_]:
    return ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1.0


def _paint_axial(canvas: Canvas, x: Canvas, y: Canvas, tissue: Tissue) -> None:
    canvas[_ellipse(x, y, (0, 0), (1.0, 0.72))] = tissue.fat
    canvas[_ellipse(x, y, (0, 0), (0.92, 0.64))] = tissue.soft
    for lung in (-0.45, 0.45):
        canvas[_ellipse(x, y, (lung, -0.05), (0.34, 0.42))] = tissue.air
    canvas[_ellipse(x, y, (0, 0.42), (0.14, 0.13))] = tissue.bone
    canvas[_ellipse(x, y, (0, -0.56), (0.12, 0.05))] = tissue.bone


def _paint_coronal(canvas: Canvas, x: Canvas, y: Canvas, tissue: Tissue) -> None:
    torso = (np.abs(x) <= 0.78 - 0.12 * y) & (np.abs(y) <= 1.0)
    canvas[torso] = tissue.fat
    canvas[(np.abs(x) <= 0.70 - 0.12 * y) & (np.abs(y) <= 1.0)] = tissue.soft
    for lung in (-0.38, 0.38):
        canvas[_ellipse(x, y, (lung, -0.2), (0.27, 0.62))] = tissue.air
    canvas[(np.abs(x) <= 0.07) & (np.abs(y) <= 1.0)] = tissue.bone
    for level in np.linspace(-0.75, 0.45, 6):
        rib = np.abs(y - level - 0.25 * x**2) <= 0.025
        canvas[rib & (np.abs(x) <= 0.68) & (np.abs(x) > 0.1)] = tissue.bone


def _paint_sagittal(canvas: Canvas, x: Canvas, y: Canvas, tissue: Tissue) -> None:
    torso = (x >= -0.62 - 0.1 * np.cos(2 * y)) & (x <= 0.6) & (np.abs(y) <= 1.05)
    canvas[torso] = tissue.fat
    canvas[torso & (x >= -0.52 - 0.1 * np.cos(2 * y)) & (x <= 0.5)] = tissue.soft
    curve = 0.28 + 0.1 * np.sin(2.4 * y)
    for level in np.linspace(-0.9, 0.9, 8):
        canvas[(np.abs(y - level) <= 0.085) & (np.abs(x - curve) <= 0.12)] = tissue.bone
    canvas[(np.abs(x - curve - 0.19) <= 0.035) & (np.abs(y) <= 1.0)] = tissue.air


_ANATOMY = {"Axial": _paint_axial, "Coronal": _paint_coronal, "Sagittal": _paint_sagittal}


def _paint_lesion(
    canvas: Canvas, x: Canvas, y: Canvas, phantom: Phantom, tissue: Tissue, rng: np.random.Generator
) -> None:
    first, _ = SIDES[phantom.plane]
    # Radiologists look at a patient face to face: the patient's left is on the right of the picture.
    facing = -1.0 if phantom.plane == "Sagittal" else 1.0
    sign = facing if phantom.side == first else -facing
    offset = {"Axial": 0.45, "Coronal": 0.38, "Sagittal": 0.3}[phantom.plane]
    centre = (sign * offset + rng.uniform(-0.06, 0.06), rng.uniform(-0.25, 0.15))
    radius = RADII[phantom.size] * rng.uniform(0.9, 1.1)
    canvas[_ellipse(x, y, centre, (radius, radius * rng.uniform(0.85, 1.15)))] = tissue.lesion


def _expose(canvas: Canvas, tissue: Tissue, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, shade and add noise, as the modality does."""
    for _ in range(tissue.blur):
        padded = np.pad(canvas, 1, mode="edge")
        canvas = (
            padded[1:-1, 1:-1] + padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:]
        ) / 5
    ramp = np.linspace(-0.5, 0.5, len(canvas))
    direction = rng.uniform(-1, 1, size=2)
    shading = 1 + tissue.shading * (direction[0] * ramp[None, :] + direction[1] * ramp[:, None])
    noisy = canvas * shading * rng.uniform(0.85, 1.1) + rng.normal(0, tissue.noise, canvas.shape)
    pixels: NDArray[np.uint8] = (np.clip(noisy, 0, 1) * 255).astype(np.uint8)
    return pixels


def kinds() -> Iterator[Phantom]:
    """Yield every kind of phantom: each has a caption of its own."""
    for modality, (plane, sides) in product(TISSUES, SIDES.items()):
        yield Phantom(modality, plane)
        for side, size in product(sides, RADII):
            yield Phantom(modality, plane, side, size)


def describe(phantom: Phantom) -> str:
    """Return the caption of a phantom: no two kinds share one.

    >>> describe(Phantom("MR", "Axial", "left", "large"))
    'axial MR scan of the torso with a large lesion on the left side'
    >>> describe(Phantom("XR", "Sagittal"))
    'sagittal X-ray scan of the torso without any lesion'
    """
    start = f"{phantom.plane.lower()} {_WORDS[phantom.modality]} scan of the torso"
    if phantom.side is None:
        return f"{start} without any lesion"
    return f"{start} with a {phantom.size} lesion on the {phantom.side} side"


def draw_dataset(folder: Path, images: int = 720, seed: int = 7, side_pixels: int = 128) -> Path:
    """Draw phantoms, evenly over the kinds, and write ``captions.csv`` beside them.

    Args:
        folder: where to draw; made if missing.
        images: how many pictures; every kind is drawn once before any is drawn again.
        seed: the same seed draws the same pictures.
        side_pixels: width and height of a picture.

    Returns:
        The table of captions. Each phantom patient has two pictures, so that a split by patient and a split
        by picture differ, as they do in a clinic.
    """
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    every_kind = list(kinds())
    order: list[int] = []
    table = folder / "captions.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(images):
            patient = number // IMAGES_PER_PATIENT
            order = order or rng.permutation(len(every_kind)).tolist()
            phantom = every_kind[order.pop()]
            name = f"images/phantom{number:04d}.png"
            Image.fromarray(draw(phantom, rng, side_pixels)).save(folder / name)
            writer.writerow((name, describe(phantom), phantom.modality, phantom.plane, f"P{patient:04d}"))
    return table
