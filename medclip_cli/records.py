"""The few plain records that flow between the stations of medclip."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SPLITS = ("train", "val", "test")
MODALITIES = ("CT", "MR", "XR", "US", "NM", "PET", "AN", "GX", "HE", "OT")


@dataclass(frozen=True, slots=True)
class CaptionedImage:
    """One row of a corpus: an image, its captions and what is known of it.

    Attributes:
        id: unique in the corpus, ``<data set>/<stable key of the source>``.
        image: path relative to the corpus's image root, with forward slashes.
        caption: what is embedded and shown: NFC, one line, not empty.
        captions: every reference caption; ``caption`` is the first.
        modality: one of ``MODALITIES`` (GX gross, HE histology, OT other).
        view: plane or projection (Axial, Sagittal, Coronal, PA, AP, Lateral ...), if known.
        region: body region, if known.
        category: disease category, if known.
        findings: label names, when the source has labels.
        age: in years, if known; never a birth date.
        sex: ``M`` or ``F``, if known.
        group: patient, else case, else article: what a split must not cut.
        split: one of ``SPLITS``.
        source: the data set.
        licence: its terms.
        sha256: of the image bytes; empty when the image was not checked.
        dhash: 64-bit difference hash as 16 hex digits; empty when the image was not checked.
    """

    id: str
    image: str
    caption: str
    captions: tuple[str, ...]
    modality: str
    group: str
    split: str
    source: str
    licence: str
    view: str | None = None
    region: str | None = None
    category: str | None = None
    findings: tuple[str, ...] = ()
    age: float | None = None
    sex: str | None = None
    sha256: str = ""
    dhash: str = ""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One answer of the vector index.

    Attributes:
        rank: 1 for the best.
        score: cosine similarity for dense queries, the fused score for hybrid ones.
        id: of the corpus record.
        caption: its caption.
        image: path relative to the image root of its corpus.
        corpus: name of the corpus it came from.
        group: its patient, case or article.
        fields: what people filter by (modality, view, region, ...), without the missing ones.
    """

    rank: int
    score: float
    id: str
    caption: str
    image: str
    corpus: str
    group: str
    fields: dict[str, Any] = field(default_factory=dict)
