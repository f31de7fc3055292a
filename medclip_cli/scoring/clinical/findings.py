"""The findings a sentence asserts: names from a vocabulary, without those that are negated.

Negation follows the idea of NegEx (Chapman et al. 2001, https://doi.org/10.1006/jbin.2001.1029): a cue
reaches over the rest of its clause, forwards (``no evidence of``) or backwards (``is absent``).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from medclip_cli.errors import ScoringError

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
    """Findings to look for.

    Attributes:
        name: what a report calls it.
        findings: by the words that stand for them, lower case.
        pattern: matches any of those words, with or without a plural ending (group 1 is the word).
    """

    name: str
    findings: Mapping[str, str]
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
    """Read a vocabulary: a finding a line, synonyms after a colon, parted by commas; ``#`` starts a remark.

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
