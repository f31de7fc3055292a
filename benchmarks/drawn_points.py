"""Points as MedPix would have them, drawn: clustered vectors, captions and fields that vary as its do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from medclip_cli.records import CaptionedImage
from medclip_cli.vector_index.base import CollectionSpec, Point
from medclip_cli.vector_index.edge_writer import create_writer
from medclip_cli.vector_index.payload import content_digest

COLLECTION = "drawn"
DIM = 256
CLUSTERS = 500
INNER_DIMENSIONS = 24  # of a cluster; embeddings of images lie near surfaces of far fewer dimensions than 256
BATCH = 256
SPEC = CollectionSpec(DIM, "0" * 16, "drawn", "/models/drawn", average_words=12.0)
_PLANES, _ORGANS = ("Axial", "Coronal", "Sagittal"), ("brain", "chest", "abdomen", "spine", "pelvis", "knee")
_SIGNS = ("mass", "fracture", "oedema", "effusion", "haemorrhage", "cyst", "stenosis", "abscess")


class DrawnVectors:
    """Unit vectors around cluster centres, the same for the same seed."""

    def __init__(self, seed: int = 0) -> None:
        """Draw the clusters."""
        rng = np.random.default_rng(seed)
        self._centres = rng.normal(size=(CLUSTERS, DIM)).astype(np.float32)
        self._directions = rng.normal(size=(CLUSTERS, INNER_DIMENSIONS, DIM)).astype(np.float32)

    def draw(self, count: int, seed: int) -> np.ndarray:
        """Return `count` vectors ``[count, DIM]``."""
        rng = np.random.default_rng(seed)
        cluster = rng.integers(0, CLUSTERS, count)
        inner = rng.normal(size=(count, 1, INNER_DIMENSIONS)).astype(np.float32)
        vectors = self._centres[cluster] + 0.5 * (inner @ self._directions[cluster])[:, 0]
        lengths: np.ndarray = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.asarray(vectors / lengths)


def draw_record(number: int) -> CaptionedImage:
    """Return a record whose caption and fields vary as those of a data set do."""
    plane, organ, sign = _PLANES[number % 3], _ORGANS[number % 6], _SIGNS[number % 8]
    modality, age = ("CT", "MR")[number % 2], float(number % 90)
    caption = f"a {plane} plane {modality} scan of the {organ} of a {age:.0f} year old depicting {sign}"
    return CaptionedImage(
        id=f"drawn/{number:07d}",
        image=f"images/{number:07d}.png",
        caption=caption,
        captions=(caption,),
        modality=modality,
        group=f"patient{number // 3}",
        split="train",
        source="drawn",
        licence="CC0-1.0",
        view=plane,
        region=organ,
        findings=(sign,),
        age=age,
    )


def draw_points(count: int, vectors: DrawnVectors) -> Iterator[list[Point]]:
    """Yield batches of points."""
    for start in range(0, count, BATCH):
        size = min(BATCH, count - start)
        images, captions = vectors.draw(size, 2 * start), vectors.draw(size, 2 * start + 1)
        records = [draw_record(number) for number in range(start, start + size)]
        yield [
            Point(record, "drawn", image, caption, content_digest(record))
            for record, image, caption in zip(records, images, captions, strict=True)
        ]


def drawn_collection(folder: Path, count: int) -> Path:
    """Return a medclip home with a collection of so many drawn points, kept from one run to the next."""
    home = folder / f"index-{count}"
    if not (home / "ready").exists():
        with create_writer(home, COLLECTION, SPEC, rebuild=True) as writer:
            for batch in draw_points(count, DrawnVectors()):
                writer.upsert(batch)
            writer.commit()
        (home / "ready").touch()
    return home
