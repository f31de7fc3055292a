"""Draws a whole data set of phantoms: a folder of PNG files and one table of captions."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from medclip_cli.phantoms.drawing import RADII, SIDES, TISSUES, Phantom, draw

COLUMNS = ("image", "caption", "modality", "view", "patient")
IMAGES_PER_PATIENT = 2
_WORDS = {"CT": "CT", "MR": "MR", "XR": "X-ray"}


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
