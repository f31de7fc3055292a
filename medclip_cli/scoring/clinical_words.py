"""What a caption says of the image, by rules anyone can read: its fields, its findings, or a list of both.

These are not a trained labeller: the findings of a sentence are found by their names, without those that
are negated. Negation follows the idea of NegEx (Chapman et al. 2001,
https://doi.org/10.1006/jbin.2001.1029): a cue reaches over the rest of its clause, forwards (``no
evidence of``) or backwards (``is absent``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from medclip_cli.errors import ScoringError

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


CHEST_FINDINGS: Mapping[str, tuple[str, ...]] = {
    "enlarged cardiomediastinum": ("widened mediastinum", "mediastinal widening", "enlarged mediastinum"),
    "cardiomegaly": (
        "enlarged heart",
        "heart is enlarged",
        "cardiac enlargement",
        "enlarged cardiac silhouette",
    ),
    "lung opacity": ("opacity", "opacities", "infiltrate", "airspace disease"),
    "lung lesion": ("lung nodule", "pulmonary nodule", "nodule", "lung mass", "pulmonary mass"),
    "edema": ("oedema", "vascular congestion"),
    "consolidation": (),
    "pneumonia": (),
    "atelectasis": ("atelectases", "atelectatic"),
    "pneumothorax": ("pneumothoraces",),
    "pleural effusion": ("effusion", "hydrothorax"),
    "pleural other": ("pleural thickening", "pleural scarring", "fibrothorax"),
    "fracture": (),
    "support devices": (
        "pacemaker",
        "endotracheal tube",
        "chest tube",
        "nasogastric tube",
        "catheter",
        "picc",
    ),
}
"""The names of CheXpert's labels (https://arxiv.org/abs/1901.07031) and common synonyms, without `no
finding`."""

_CLAUSE_END = re.compile(
    r"[.;!?]|\b(?:but|however|although|though|except|while|apart from|aside from|other than)\b"
    r"|(?<!consistent )(?<!compatible )\bwith\b"
)
# Negations of something else than the finding: "no change in the effusion" has an effusion.
_ABOUT_CHANGE = re.compile(
    r"\b(?:no|not|without)(?: \w+){0,2} (?:change|changed|increase|decrease|worsening|progression|only)\b"
)
_SEEN = "(?:seen|identified|visuali[sz]ed|present|appreciated|demonstrated|noted|evident|detected)"
_FORWARD = re.compile(
    rf"\b(?:no|nor|neither|without|denies|negative for|free of|absence of|lack of|rules? out|excludes?"
    rf"|cannot see|never|not(?! {_SEEN}))\b"
)
_BACKWARD = re.compile(rf"\b(?:not {_SEEN}|absent|(?:been |is |was )?ruled out|resolved|unlikely|excluded)\b")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Findings to look for."""

    name: str  # what a report calls it
    findings: Mapping[str, str]  # by the words that stand for them, lower case
    # matches any of those words, with or without a plural ending (group 1 is the word)
    pattern: re.Pattern[str]

    def find(self, caption: str) -> frozenset[str]:
        """The findings a caption asserts.

        >>> sorted(CHEST.find("Small effusion. No pneumothorax or fracture; edema has resolved."))
        ['pleural effusion']
        """
        text = _ABOUT_CHANGE.sub(" ", " ".join(caption.lower().split()))
        return frozenset(finding for clause in _CLAUSE_END.split(text) for finding in self._asserted(clause))

    def _asserted(self, clause: str) -> Iterator[str]:
        forward = _FORWARD.search(clause)
        backward = max((cue.start() for cue in _BACKWARD.finditer(clause)), default=-1)
        for mention in self.pattern.finditer(clause):
            denied_before = forward is not None and forward.end() <= mention.start()
            if not denied_before and mention.end() > backward:
                yield self.findings[mention[1]]


def vocabulary_of(name: str, words: Mapping[str, Iterable[str]]) -> Vocabulary:
    """Make a vocabulary.

    Args:
        name: of the vocabulary.
        words: synonyms by finding; the finding's own name is one of its words.
    """
    findings = {word.lower(): finding for finding, more in words.items() for word in (finding, *more)}
    # Longest first, so that "pleural thickening" is not read as something that "pleural" begins.
    alternatives = "|".join(re.escape(word) for word in sorted(findings, key=len, reverse=True))
    return Vocabulary(name, findings, re.compile(rf"\b({alternatives})(?:s|es)?\b"))


def parse_vocabulary(text: str, name: str) -> Vocabulary:
    """Read a vocabulary: one finding per line, with synonyms as in ``name: a, b``; ``#`` starts a comment.

    Raises:
        ScoringError: it holds no finding.

    >>> sorted(parse_vocabulary("tumour: mass, tumor", "mine").find("a mass"))
    ['tumour']
    """
    words: dict[str, list[str]] = {}
    for line in text.splitlines():
        finding, _, synonyms = line.partition("#")[0].partition(":")
        if finding.strip():
            words[finding.strip().lower()] = [word.strip() for word in synonyms.split(",") if word.strip()]
    if not words:
        raise ScoringError(f"{name} holds no findings: write one a line, 'name: synonym, synonym'")
    return vocabulary_of(name, words)


CHEST = vocabulary_of("chest findings named as in CheXpert, by rules (not its labeller)", CHEST_FINDINGS)


# Captions that are lists of fields: ``ap/pa: pa, diagnosis: lung opacity, edema``.

LABEL_KEYS = frozenset({"diagnosis", "diagnoses", "finding", "findings", "label", "labels"})
_PART = re.compile(r"\s*,\s*")
_KEYED = re.compile(r"([a-z][a-z0-9 /_-]{0,40}?)\s*:\s*(.*)", re.DOTALL)


class StructuredCaption(NamedTuple):
    """What a caption of fields says."""

    fields: dict[str, str]  # by key, lower case, without the list of labels
    labels: frozenset[str]  # the values under a key of `LABEL_KEYS`, lower case


def parse_structured(caption: str) -> StructuredCaption | None:
    """Read a caption of fields; None when it is written in sentences.

    It has at least two keys, or one that names labels, starts with a key and holds no full stop before its
    end.

    >>> caption = parse_structured("frontal/lateral: frontal, AP/PA: pa, diagnosis: lung opacity, Edema")
    >>> caption.fields, sorted(caption.labels)
    ({'frontal/lateral': 'frontal', 'ap/pa': 'pa'}, ['edema', 'lung opacity'])
    >>> parse_structured("Small effusion: unchanged, no edema.") is None
    True
    """
    text = " ".join(caption.lower().split()).removesuffix(".")
    values: dict[str, list[str]] = {}
    key = None
    for part in _PART.split(text):
        keyed = _KEYED.fullmatch(part)
        if keyed:
            key = keyed[1]
            values[key] = [keyed[2]]
        elif key is None:
            return None
        else:
            values[key].append(part)
    if ". " in text or not (len(values) > 1 or LABEL_KEYS.intersection(values)):
        return None
    labels = (label for name in LABEL_KEYS.intersection(values) for label in values[name])
    fields = {name: ", ".join(parts) for name, parts in values.items() if name not in LABEL_KEYS}
    return StructuredCaption(fields, frozenset(label for label in labels if label))


def all_structured(captions: Iterable[str]) -> bool:
    """Whether every caption that is not blank is one of fields, and at least one is."""
    parsed = [parse_structured(caption) is not None for caption in captions if caption.strip()]
    return bool(parsed) and all(parsed)
