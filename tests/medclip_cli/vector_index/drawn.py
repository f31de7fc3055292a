"""Records and points generated for tests: small vectors, captions that differ, fields with gaps."""

import numpy as np

from medclip_cli.records import CaptionedImage
from medclip_cli.vector_index.base import CollectionSpec, Point
from medclip_cli.vector_index.payload import content_digest

DIM = 8
SPEC = CollectionSpec(
    dim=DIM, fingerprint="0123456789abcdef", model_name="tiny", model_path="/models/tiny", average_words=6.0
)
_MODALITIES = ("CT", "MR", "XR")
_VIEWS = ("Axial", "Coronal", "Sagittal", None)
_ORGANS = ("liver", "spine", "skull", "kidney", "femur", "lung", "heart", "pelvis", "orbit", "wrist")
_SIGNS = ("mass", "fracture", "oedema", "effusion", "haemorrhage", "cyst", "stenosis", "abscess", "calculus")


def draw_record(number: int, **changes) -> CaptionedImage:
    """The same number draws the same record; three in a row share a patient."""
    rng = np.random.default_rng(number)
    modality = _MODALITIES[number % 3]
    view = _VIEWS[number % 4]
    seen = f"{rng.choice(_ORGANS)} with {rng.choice(_SIGNS)} number {number}"
    caption = f"{view or 'oblique'} {modality} of the {seen}"
    known = {
        "id": f"drawn/{number:05d}",
        "image": f"images/{number:05d}.png",
        "caption": caption,
        "captions": (caption,),
        "modality": modality,
        "group": f"patient{number // 3}",
        "split": "train",
        "source": "drawn",
        "licence": "CC0-1.0",
        "view": view,
        "findings": tuple(str(sign) for sign in rng.choice(_SIGNS, number % 3, replace=False)),
        "age": float(number % 90) if number % 5 else None,
        "sex": ("M", "F", None)[number % 3],
        "sha256": f"{number:064x}",
    }
    return CaptionedImage(**known | changes)


def draw_vector(seed: int, dim: int = DIM) -> np.ndarray:
    vector = np.random.default_rng(seed).normal(size=dim)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def draw_point(number: int, corpus: str = "drawn", **changes) -> Point:
    record = draw_record(number, **changes)
    vectors = draw_vector(number), draw_vector(1_000_000 + number)
    return Point(record, corpus, *vectors, content_digest(record))


def draw_points(count: int, start: int = 0, **changes) -> list[Point]:
    return [draw_point(number, **changes) for number in range(start, start + count)]


def folder_of(home, name="scans"):
    return home / "collections" / name


def generation_names(home):
    return sorted(path.name for path in (folder_of(home) / "generations").iterdir())
