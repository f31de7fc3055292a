"""One word for one thing: modalities, views, sexes, ages and missing values, however a source spells them."""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

_MISSING = frozenset(
    ("", "nan", "n/a", "na", "none", "none.", "null", "nil", "#name?", "left blank", "unknown", "-")
    + ("not specified", "nos - not specified")
)

# First match wins, so the more particular come first. Terms: DICOM PS3.3 C.7.3.1.1.1 and the data sets'.
_MODALITIES = tuple(
    (re.compile(pattern, re.IGNORECASE), modality)
    for pattern, modality in (
        (r"drawing|photo|diagram|not specified|\bot\b", "OT"),
        (r"histolog|microscop|h&e|\bhe\b|\bsm\b|smear|cytolog", "HE"),
        (r"gross|\bgx\b|\bxc\b|specimen", "GX"),
        (r"\bpet\b|\bpt\b|positron|\bpet[-/ ]?ct\b", "PET"),
        (r"nuclear|\bnm\b|scintigra|\bspect\b|bone scan", "NM"),
        (r"\bmr|magnetic|flair|\bt[12]w?\b", "MR"),
        (r"\bcta?\b|computed|tomogra|virtual colonoscopy", "CT"),
        (r"angiogra|\ban\b|\bxa\b|\bdsa\b|interventional|\bint\b|fluoro|\brf\b", "AN"),
        (r"\bus\b|\bus-d\b|ultraso|sonogra|doppler|echo", "US"),
        (r"\bxr\b|x-?ray|radiogra|plain film|\b[cd]xr?\b|\bcr\b|\bdx\b|\bmg\b|mammogra|\bpx\b", "XR"),
    )
)

# What captions call them. Abbreviations are in capitals: "us", "an" and "mr" are other words.
_CAPTION_MODALITIES = tuple(
    (re.compile(pattern), modality)
    for pattern, modality in (
        (r"\b(?:F?DG[- ])?(?:CT[/ -]+|MRI?[/ -]+)?PET\b|(?i:positron[- ]emission)", "PET"),
        (
            r"\bf?MRI?s?\b|\bMR(?:CP|A|V|S)\b|\bFLAIR\b|\bSTIR\b"
            r"|(?i:magnetic[- ]resonance|\bt[12]\*?[- ]?weighted)",
            "MR",
        ),
        (
            r"\b(?:HR|CB|MD|MS)?CTs?A?\b"
            r"|(?i:(?:x-?ray )?comput(?:ed|eri[sz]ed)[- ](?:axial )?tomogra|\bcat scan)",
            "CT",
        ),
        (r"\bSPECT\b|(?i:scintigra|bone scan|radionuclide)", "NM"),
        (r"\bUSG?\b|\bEUS\b|\bIVUS\b|\bT[TE]E\b|(?i:ultraso|sonogra|\bechocardiogra|doppler)", "US"),
        (r"\bDSA\b|\bERCP\b|(?i:angiogra|arteriogra|venogra|fluorosc|cholangiogra)", "AN"),
        (
            r"\bCXR\b|\bOPG\b|\bKUB\b|(?i:\bx[- ]?rays?\b|radiogra|roentgen|mammogra|pantomogra|plain film)",
            "XR",
        ),
    )
)

_VIEWS = {
    **dict.fromkeys(("axial", "transverse", "transversal"), "Axial"),
    **dict.fromkeys(("lateral", "lat", "l", "ll", "rl"), "Lateral"),
    **dict.fromkeys(("pa", "posteroanterior"), "PA"),
    **dict.fromkeys(("ap", "anteroposterior"), "AP"),
    **{"sagittal": "Sagittal", "coronal": "Coronal", "frontal": "Frontal", "oblique": "Oblique"},
    **{"multiple or montage": "Montage", "3d reconstruction": "3D"},
}
_LATERAL = re.compile(r"\blateral\Z", re.IGNORECASE)  # left, cross-table ...
_NOT_A_VIEW = frozenset({"other view (see caption)", "photograph", "gross pathology", "drawing"})

_SPLITS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "vld", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_SPLIT_NOUN = re.compile(r"(?:set|split|data|images?)\Z")  # "training set", "test_images"

_SEXES = {"m": "M", "male": "M", "man": "M", "f": "F", "female": "F", "woman": "F"}

_AGE = re.compile(
    r"0*(\d{1,3}(?:[.,]\d+)?)[\s-]*(?:(y|m|w|d)[a-z./]*(?:[\s-]*o(?:ld|\.)?)?\.?)?\Z", re.IGNORECASE
)
_YEARS_PER = {"y": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25}
OLDEST_AGE = 120.0  # ChestX-ray14's first table has ages of 400 and more; nobody is that old


def known(value: object) -> str | None:
    """Return a cell's text on one line, or None for the many ways of saying that there is none.

    Lone surrogates, which JSON can spell and no file can hold, are dropped.

    >>> known(" N/A "), known("0")
    (None, '0')
    """
    text = "" if value is None else " ".join(str(value).split())
    if not text.isascii():
        text = text.encode("utf-8", "ignore").decode("utf-8")
    return None if text.lower() in _MISSING else text


def modality_of(*values: object) -> str:
    """Return the corpus's modality for the first value that names one; ``OT`` when none does.

    >>> modality_of(None, "MRA - MR Angiography/Venography"), modality_of("Histology"), modality_of("a cat")
    ('MR', 'HE', 'OT')
    """
    for value in values:
        text = known(value)
        for pattern, modality in _MODALITIES if text else ():
            if text and pattern.search(text):
                return modality
    return "OT"


def modality_of_caption(text: str | None) -> str:
    """Return the modality that a caption names first; ``OT`` when it names none.

    Of two things called by one word the longer counts: "CT angiography" is CT, a "PET/CT" is PET.

    >>> [modality_of_caption(text) for text in ("Adrenal MRI.", "It took us an X-ray.", "A mass.")]
    ['MR', 'XR', 'OT']
    """
    found = [
        (match.start(), rank, modality)
        for rank, (pattern, modality) in enumerate(_CAPTION_MODALITIES)
        if (match := pattern.search(text or ""))
    ]
    return min(found)[2] if found else "OT"


def view_of(value: object) -> str | None:
    """Return plane or projection in one spelling; an unknown word stays as it is.

    >>> view_of("Transverse"), view_of("pa"), view_of("LAO"), view_of("N/A")
    ('Axial', 'PA', 'LAO', None)
    """
    text = known(value)
    if text is None or text.lower() in _NOT_A_VIEW:
        return None
    return "Lateral" if _LATERAL.search(text) else _VIEWS.get(text.lower(), text)


def split_of(value: object) -> str | None:
    """Return ``train``, ``val``, ``test``, or None for what names no split.

    >>> split_of("validate"), split_of("Test set"), split_of("fold3"), split_of("eval")
    ('val', 'test', None, None)
    """
    return _SPLITS.get(_SPLIT_NOUN.sub("", re.sub(r"[\W_]+", "", (known(value) or "").lower())))


def sex_of(value: object) -> str | None:
    """Return ``M``, ``F`` or None.

    >>> sex_of(" female"), sex_of("O")
    ('F', None)
    """
    return _SEXES.get((known(value) or "").lower())


def age_of(value: object) -> float | None:
    """Return an age in years; impossible ones are None.

    >>> age_of("058Y"), age_of("006M"), age_of("58 y.o."), age_of("414"), age_of("73,5")
    (58.0, 0.5, 58.0, None, 73.5)
    """
    match = _AGE.match(known(value) or "")
    if match is None:
        return None
    years = float(match[1].replace(",", ".")) * _YEARS_PER[(match[2] or "y").lower()]
    return years if years <= OLDEST_AGE else None


def words(**values: object) -> dict[str, str]:
    """Return what a caption template may name, without what is missing.

    >>> words(view="Axial", age="N/A")
    {'view': 'Axial'}
    """
    return {name: text for name, value in values.items() if (text := known(value)) is not None}


# A string, as Python, JSON and NumPy write it inside a list.
_WRITTEN = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)


def listed(cell: object) -> list[Any] | None:
    """Return the items of a list, or of one of texts written out in a cell; None when it is neither.

    >>> listed("['a mass', None]"), listed('["a", "b"]'), listed("['a' 'b']"), listed("[left] lung")
    (['a mass', None], ['a', 'b'], ['a', 'b'], None)
    """
    if isinstance(cell, list | tuple):
        return list(cell)
    text = cell.strip() if isinstance(cell, str) else ""
    if text[:1] + text[-1:] not in ("[]", "()"):
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python's, at a backslash
                items = read(text)
            break
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    else:
        return None
    if not isinstance(items, list | tuple) or not all(
        item is None or isinstance(item, str) for item in items
    ):
        return None
    # NumPy puts no commas, and Python makes one text of neighbours.
    written = _WRITTEN.findall(text)
    return list(map(ast.literal_eval, written)) if len(written) > len(items) else list(items)


def texts(**values: object) -> dict[str, tuple[str, ...]]:
    """Return free texts by caption style, without what is missing.

    A spreadsheet's ``#NAME?`` is kept: cleaning counts it as a placeholder.

    >>> texts(report="Clear lungs.", findings="nan")
    {'report': ('Clear lungs.',)}
    """
    found = {style: str(value) for style, value in values.items() if value is not None}
    return {s: (t,) for s, t in found.items() if known(t) is not None or t.strip().startswith("#")}


# UMLS concepts (CUIs) that say how an image was taken, as ROCO and ImageCLEF annotate them.
_CONCEPT_MODALITIES = {
    "C1306645": "XR",  # plain X-ray
    "C0040405": "CT",  # X-ray computed tomography
    "C0024485": "MR",  # magnetic resonance imaging
    "C0231881": "MR",  # resonance, which is what ROCO's first version calls it
    "C0041618": "US",  # ultrasonography
    "C0002978": "AN",  # angiogram
    "C0032743": "PET",  # positron-emission tomography
}
_CONCEPT_VIEWS = {"C1999039": "AP", "C1996865": "PA", "C0205129": "Sagittal"}
_CONCEPT_REGIONS = {
    **{"C0817096": "Chest", "C0037303": "Skull", "C0030797": "Pelvis", "C0037949": "Spine"},
    **{"C0000726": "Abdomen", "C0023216": "Lower extremity", "C1140618": "Upper extremity"},
}


def modality_of_concepts(cuis: Iterable[str]) -> str:
    """Return the modality the concepts name; ``OT`` when none does.

    >>> modality_of_concepts(["C0817096", "C0040405"]), modality_of_concepts([])
    ('CT', 'OT')
    """
    return _first(_CONCEPT_MODALITIES, cuis) or "OT"


def view_of_concepts(cuis: Iterable[str]) -> str | None:
    """Return the plane or projection the concepts name, if one does."""
    return _first(_CONCEPT_VIEWS, cuis)


def region_of_concepts(cuis: Iterable[str]) -> str | None:
    """Return the body region the concepts name, if one does."""
    return _first(_CONCEPT_REGIONS, cuis)


def finding_names(cuis: Iterable[str], names: Mapping[str, str]) -> tuple[str, ...]:
    """Return what the concepts are called, without those that only say how the image was taken."""
    technical = _CONCEPT_MODALITIES.keys() | _CONCEPT_VIEWS.keys()
    return tuple(dict.fromkeys(names.get(cui, cui) for cui in cuis if cui not in technical))


def _first(meanings: Mapping[str, str], cuis: Iterable[str]) -> str | None:
    return next((meanings[cui] for cui in cuis if cui in meanings), None)
