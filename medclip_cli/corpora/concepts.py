"""UMLS concepts (CUIs) that say how an image was taken, as ROCO and ImageCLEF annotate them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from medclip_cli.corpora.tables import read_pairs
from medclip_cli.corpora.vocabulary import known

_MODALITIES = {
    "C1306645": "XR",  # plain X-ray
    "C0040405": "CT",  # X-ray computed tomography
    "C0024485": "MR",  # magnetic resonance imaging
    "C0041618": "US",  # ultrasonography
    "C0002978": "AN",  # angiogram
    "C0032743": "PET",  # positron-emission tomography
}
_VIEWS = {"C1999039": "AP", "C1996865": "PA", "C0205129": "Sagittal"}
_REGIONS = {
    "C0817096": "Chest",
    "C0037303": "Skull",
    "C0023216": "Lower extremity",
    "C1140618": "Upper extremity",
    "C0030797": "Pelvis",
    "C0037949": "Spine",
    "C0000726": "Abdomen",
}


def modality_of_concepts(cuis: Iterable[str]) -> str:
    """Return the modality the concepts name; ``OT`` when none does.

    >>> modality_of_concepts(["C0817096", "C0040405"]), modality_of_concepts([])
    ('CT', 'OT')
    """
    return _first(_MODALITIES, cuis) or "OT"


def view_of_concepts(cuis: Iterable[str]) -> str | None:
    """Return the plane or projection the concepts name, if one does."""
    return _first(_VIEWS, cuis)


def region_of_concepts(cuis: Iterable[str]) -> str | None:
    """Return the body region the concepts name, if one does."""
    return _first(_REGIONS, cuis)


def finding_names(cuis: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the concepts are called, without those that only say how the image was taken."""
    technical = {**_MODALITIES, **_VIEWS}
    return tuple(dict.fromkeys(names.get(cui, cui) for cui in cuis if cui not in technical))


def read_concepts(paths: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """Return the concepts of each image from tables of (image, ``C...;C...``), one after the other."""
    found: dict[str, tuple[str, ...]] = {}
    for path in paths:
        for row in read_pairs(path, ("id", "cuis")):
            cuis = (known(cui) for cui in (row.get("cuis") or "").split(";"))
            image = row.get("id") or ""
            found[image] = tuple(dict.fromkeys((*found.get(image, ()), *(cui for cui in cuis if cui))))
    return found


def read_names(path: Path | None) -> dict[str, str]:
    """Return what each concept is called from a table of (CUI, name); nothing without a table."""
    if path is None or not path.is_file():
        return {}
    pairs = ((row.get("cui"), row.get("name")) for row in read_pairs(path, ("cui", "name")))
    return {cui: name for cui, name in pairs if cui and name}


def _first(meanings: Mapping[str, str], cuis: Iterable[str]) -> str | None:
    return next((meanings[cui] for cui in cuis if cui in meanings), None)
