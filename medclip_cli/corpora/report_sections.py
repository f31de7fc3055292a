"""The sections of a radiology report, as MIMIC-CXR writes them.

A section opens with a heading in capitals at the start of a line, one space in, and a colon. Headings are
spelt in hundreds of ways and mistyped in more, so each word of one is compared with the few that matter. The
rules follow MIT-LCP/mimic-cxr (MIT licence), whose own output ``mimic_cxr_sectioned.csv``, with its hand-made
corrections for 54 reports, is read in place of the texts where it is there.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches

_HEADING = re.compile(r"(?:\A|\n) ?([A-Z][A-Z ()/,-]{2,}):\s")
_ADDENDUM = re.compile(r"\A.*ADDENDUM.*?\n *_{10,} *\n", re.DOTALL)
_BANNER = re.compile(r"\bFINAL (?:REPORT|ADDENDUM)\b")

_SECTIONS = {
    "findings": "findings",
    "finding": "findings",
    "impression": "impression",
    "impressions": "impression",
    "conclusion": "impression",
    "comparison": "comparison",
    "indication": "indication",
    "history": "indication",
    "reason": "indication",
    "technique": "technique",
    "examination": "examination",
    "recommendation": "recommendation",
    "notification": "notification",
}
# "PA AND LATERAL VIEWS OF THE CHEST:" opens the findings of reports that have no such heading.
_VIEW_WORDS = frozenset("chest view views radiograph radiographs frontal lateral portable ap pa".split())
_TYPING_MISTAKES = 0.8  # "IMPRESSON", "FINDNGS", "IMPRESSIN" pass; "EXPRESSION" does not


def split_sections(text: str) -> dict[str, str]:
    """Return the sections of a report by their usual names, white space collapsed.

    The last section of a name that says something counts. ``last_paragraph`` is always there: it is what is
    left for a report without headings. An addendum above a rule of underscores is skipped.
    """
    text = _ADDENDUM.sub("", text.replace("\r\n", "\n"))
    headings = list(_HEADING.finditer(text))
    found = {"last_paragraph": _last_paragraph(text)}
    ends = [*(heading.start() for heading in headings), len(text)][1:]
    for heading, end in zip(headings, ends, strict=False):
        body = " ".join(text[heading.end() : end].split())
        for name in section_names(heading[1]):
            if body:
                found[name] = body
    if "view" in found:
        found.setdefault("findings", found.pop("view"))
    return {name: body for name, body in found.items() if body}


def section_names(heading: str) -> tuple[str, ...]:
    """Return what a heading opens: nothing that matters, one section, or two.

    >>> section_names("IMPRESSON"), section_names("FINDINGS AND IMPRESSION"), section_names("WET READ")
    (('impression',), ('findings', 'impression'), ())
    """
    found = []
    words = re.findall(r"[a-z]+", heading.lower())
    for word in words:
        match = get_close_matches(word, _SECTIONS, n=1, cutoff=_TYPING_MISTAKES) if len(word) > 4 else []
        found += [_SECTIONS[name] for name in match]
    if not found and _VIEW_WORDS.intersection(words):
        return ("view",)
    return tuple(dict.fromkeys(found))


def whole_report(sections: Mapping[str, str]) -> str | None:
    """Return findings and impression; failing both, the last paragraph, then the comparison."""
    parts = [sections[name] for name in ("findings", "impression") if sections.get(name)]
    return " ".join(parts) or sections.get("last_paragraph") or sections.get("comparison")


def _last_paragraph(text: str) -> str:
    body = _BANNER.split(text)[-1]
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", body)]
    return next((paragraph for paragraph in reversed(paragraphs) if paragraph), "")
