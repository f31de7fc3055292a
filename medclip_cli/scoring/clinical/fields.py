"""Agreement of fields: modality, view, region, or whatever fields a structured caption has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

NOT_GIVEN = "-"
_A_PICTURE = "(?:view|projection|radiograph|x-?ray|film|plane|chest)"
_WORDS: Mapping[str, Mapping[str, str]] = {
    "modality": {
        "CT": r"CTA?|computed tomograph\w+|cat scan",
        "MR": r"MR|MRI|MRA|magnetic resonance|t[12]-?w(?:eighted|i)?|FLAIR|DWI",
        "XR": r"XR|CXR|x-?rays?|radiographs?|plain films?|mammogra\w+",
        "US": r"(?-i:US)|ultrasounds?|ultrasonograph\w+|sonogra\w+|echocardiogra\w+|doppler",
        "NM": r"(?-i:NM)|scintigra\w+|bone scan|SPECT",
        "PET": r"(?-i:PET)(?:[-/]ct)?|positron emission",
        "AN": r"angiogra\w+|venogra\w+|arteriogra\w+",
    },
    "view": {
        "Axial": r"axial|transverse",
        "Sagittal": r"sagittal",
        "Coronal": r"coronal",
        "Oblique": r"oblique",
        "PA": r"(?-i:PA)|postero-?anterior",
        "AP": r"(?-i:AP)|antero-?posterior",
        "Lateral": rf"lateral(?= {_A_PICTURE})",
        "Frontal": rf"frontal(?= {_A_PICTURE})",
    },
    "region": {
        "Head": r"brain|head|skull|(?:intra)?cranial|neuro|cereb\w+|orbits?|sinus(?:es)?|facial",
        "Neck": r"neck|thyroid|larynx|pharyn\w+",
        "Spine": r"spine|spinal|vertebra\w*|lumbar|thoracolumbar|sacr\w+|cervical",
        "Chest": r"chest|thora\w+|lungs?|pulmonary|cardiac|heart|mediastin\w+|pleural",
        "Breast": r"breasts?|mammogra\w+",
        "Abdomen": r"abdom\w+|liver|hepat\w+|renal|kidneys?|pancrea\w+|splen\w+|bowel|gastr\w+",
        "Pelvis": r"pelvi\w+|hips?|uter\w+|ovar\w+|prostat\w+|bladder|genitourinary",
        "Extremity": r"extremit\w+|knees?|shoulders?|elbows?|wrists?|ankles?|hands?|foot|feet|femur|tibia",
    },
}
# Abbreviations that are also words of everyday language count in capitals alone.
_PATTERNS = {
    field: {value: re.compile(rf"\b(?:{words})\b", re.IGNORECASE) for value, words in values.items()}
    for field, values in _WORDS.items()
}


@dataclass(frozen=True, slots=True)
class FieldAgreement:
    """How often a field is right.

    Attributes:
        agreement: share of the items whose true value is known; a field left unsaid is wrong.
        items: how many those are.
        values: what occurs in truth or prediction; the rows and columns of `confusion`.
        confusion: [v, v] items by true value (row) and predicted value (column); ``-`` is a value not given.
    """

    agreement: float
    items: int
    values: tuple[str, ...]
    confusion: npt.NDArray[np.int64]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "n": self.items,
            "agreement": self.agreement,
            "confusion": {"values": list(self.values), "counts": self.confusion.tolist()},
        }


def fields_in(caption: str) -> dict[str, str]:
    """The modality, view and region that a sentence names; several of one field are joined by ``+``.

    >>> fields_in("Axial CT of the abdomen and pelvis")
    {'modality': 'CT', 'view': 'Axial', 'region': 'Abdomen+Pelvis'}
    """
    found = {
        field: "+".join(value for value, pattern in patterns.items() if pattern.search(caption))
        for field, patterns in _PATTERNS.items()
    }
    return {field: values for field, values in found.items() if values}


def field_agreement(
    predicted: Sequence[Mapping[str, str | None]], true: Sequence[Mapping[str, str | None]]
) -> dict[str, FieldAgreement]:
    """Compare the fields of predictions with the true ones, field by field.

    Args:
        predicted: [n] values by field.
        true: [n] values by field; an item without one does not count for it.

    >>> field_agreement([{"view": "PA"}, {}], [{"view": "PA"}, {"view": "AP"}])["view"].agreement
    0.5
    """
    names = dict.fromkeys(name for fields in true for name, value in fields.items() if value)
    return {
        name: _agreement([(p.get(name), t.get(name)) for p, t in zip(predicted, true, strict=True)])
        for name in names
    }


def _agreement(pairs: Sequence[tuple[str | None, str | None]]) -> FieldAgreement:
    known = [(guess or NOT_GIVEN, truth) for guess, truth in pairs if truth]
    values = sorted({value for pair in known for value in pair})
    number = {value: place for place, value in enumerate(values)}
    confusion = np.zeros((len(values), len(values)), dtype=np.int64)
    for guess, truth in known:
        confusion[number[truth], number[guess]] += 1
    return FieldAgreement(float(np.trace(confusion) / len(known)), len(known), tuple(values), confusion)
