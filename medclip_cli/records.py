"""The few plain records that flow between the steps of medclip."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

DISCLAIMER = "medclip is a research tool, not a medical device."
SPLITS = ("train", "val", "test")
OTHER_MODALITY = "OT"
MODALITIES = ("CT", "MR", "XR", "US", "NM", "PET", "AN", "GX", "HE", OTHER_MODALITY)


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
    """One answer of the vector index: a record of a corpus.

    Attributes:
        rank: 1 for the best.
        score: cosine similarity for dense queries, the fused score for hybrid ones.
        image: path relative to the image root of its corpus.
        corpus: name of the corpus it came from.
        group: its patient, case or article.
        fields: what people filter by (modality, view, region, ...), without the missing ones.
        path: where its image is on this machine, where that is known.
    """

    rank: int
    score: float
    id: str
    caption: str
    image: str
    corpus: str
    group: str
    fields: dict[str, Any] = field(default_factory=dict)
    path: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As it appears in JSON."""
        names = ("rank", "score", "id", "caption", "image", "path", "corpus", "fields")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row of a published data set as its adapter read it, before cleaning.

    Attributes:
        key: stable within the data set; with its name the id of the corpus row.
        image: path relative to the image root, as the table has it (it may be unsafe or missing).
        modality: one of ``MODALITIES``.
        group: patient, else case, else article.
        texts: free texts by caption style (``report``, ``impression``, ``findings``); all references of each.
        words: what a caption template may name, as the source has it; missing ones left out.
        split: the official split, if the data set has one.
        findings: labels the source asserts.
        uncertain: labels the source calls uncertain.
        fault: why the adapter could not use the row, as (reason code, detail); None when it could.
    """

    key: str
    image: str
    modality: str = OTHER_MODALITY
    group: str = ""
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)
    split: str | None = None
    view: str | None = None
    region: str | None = None
    category: str | None = None
    findings: tuple[str, ...] = ()
    uncertain: tuple[str, ...] = ()
    age: float | None = None
    sex: str | None = None
    fault: tuple[str, str] | None = None


class Reason(NamedTuple):
    """Why a row is left out: a code that is counted, and a detail without any patient's words."""

    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that cleaning left out, with its reason code; the detail never holds a patient's words."""

    id: str
    image: str
    reason: str
    detail: str = ""
