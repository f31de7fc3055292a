"""MIMIC-CXR-JPG: metadata, split and label tables beside ``files/p10/p10000032/s50414267/<dicom_id>.jpg``.

The reports are another download, MIMIC-CXR's ``mimic-cxr-reports.zip``; without them labels and templates
still work. Tables keep the file names of version 2.0.0 in 2.1.0. The label table of CheXpert's tool is
preferred, NegBio's is read in its place; both name the labels alphabetically, unlike CheXpert itself.

A section of a report opens with a heading in capitals at the start of a line, one space in, and a colon.
Headings are written in hundreds of ways and mistyped in more, so each word of one is compared with the few
that matter. The rules follow MIT-LCP/mimic-cxr (MIT licence), whose own output ``mimic_cxr_sectioned.csv``,
with its hand-made corrections for 54 reports, is read in place of the texts where it is there.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from medclip_cli.corpora.layout import ColumnMap, DatasetLayout, ReadOptions, Source, base_folder, below
from medclip_cli.corpora.notes import named, note
from medclip_cli.corpora.table_layouts import chexpert_labels
from medclip_cli.corpora.tables import Row, read_table
from medclip_cli.corpora.vocabulary import known, split_of, texts, view_of, words
from medclip_cli.errors import CorpusError

_METADATA = "mimic-cxr-2.0.0-metadata.csv"
_SPLITS = "mimic-cxr-2.0.0-split.csv"
_LABELS = ("mimic-cxr-2.0.0-chexpert.csv", "mimic-cxr-2.0.0-negbio.csv")
_SECTIONED = "mimic_cxr_sectioned.csv"
_REPORT_FOLDERS = ("", "mimic-cxr-reports/")

_HEADING = re.compile(r"(?:\A|\n) ?([A-Z][A-Z ()/,-]{2,}):\s")
_ADDENDUM = re.compile(r"\A.*ADDENDUM.*?\n *_{10,} *\n", re.DOTALL)
_BANNER = re.compile(r"\bFINAL (?:REPORT|ADDENDUM)\b")

_SECTIONS = {
    **dict.fromkeys(("findings", "finding"), "findings"),
    **dict.fromkeys(("impression", "impressions", "conclusion"), "impression"),
    **dict.fromkeys(("indication", "history", "reason"), "indication"),
    **{"comparison": "comparison", "technique": "technique", "examination": "examination"},
    **{"recommendation": "recommendation", "notification": "notification"},
}
# "PA AND LATERAL VIEWS OF THE CHEST:" opens the findings of reports that have no such heading.
_VIEW_WORDS = frozenset("chest view views radiograph radiographs frontal lateral portable ap pa".split())
_TYPING_MISTAKES = 0.8  # "IMPRESSON", "FINDNGS", "IMPRESSIN" pass; "EXPRESSION" does not

_Sections = Callable[[str, str], Mapping[str, str]]


def _find(root: Path, options: ReadOptions) -> Source:
    base = base_folder(root, (_METADATA, f"{_METADATA}.gz"), "MIMIC-CXR-JPG")
    metadata, split_table, sectioned = (_table(base, name) for name in (_METADATA, _SPLITS, _SECTIONED))
    labels = next((table for name in _LABELS if (table := _table(base, name))), None)
    if split_table is None:
        note(f"{base} has no {_SPLITS}: the official split is not known, patients are distributed anew")
    splits = {row.get("dicom_id"): row.get("split") for row in read_table(split_table)} if split_table else {}
    wrong = Counter(str(split) for split in splits.values() if split and split_of(split) is None)
    if wrong and not options.new_splits:
        raise CorpusError(f"{split_table}: {named(wrong, 'image')} is no split: download it again")
    by_study = {row.get("study_id"): chexpert_labels(row) for row in read_table(labels)} if labels else {}
    sections = _from_table(sectioned) if sectioned else lru_cache(8)(partial(_from_text, base))
    return Source(
        [(metadata or base / _METADATA, None, "")],
        prefix=below(root, base),
        splits={image: split for image, value in splits.items() if (split := split_of(value))},
        beside={"labels": by_study, "sections": sections},
    )


def _image(row: Row) -> str | None:
    return row.get("subject_id") and row.get("study_id") and row.get("dicom_id")


def _quirks(row: Row, image: str, source: Source) -> dict[str, Any]:
    patient, study, position = str(row.get("subject_id")), str(row.get("study_id")), row.get("viewposition")
    positive, uncertain = source.beside["labels"].get(study, ((), ()))
    report = source.beside["sections"](patient, study)
    return {
        "key": image,
        "image": f"{source.prefix}files/p{patient[:2]}/p{patient}/s{study}/{image}.jpg",
        "group": f"p{patient}",
        "texts": texts(
            report=whole_report(report), findings=report.get("findings"), impression=report.get("impression")
        ),
        "words": words(
            procedure=row.get("performedprocedurestepdescription"),
            indication=report.get("indication"),
            view=position,
        ),
        "view": view_of(position),
        "findings": positive,
        "uncertain": uncertain,
    }


def _table(base: Path, name: str) -> Path | None:
    return next((path for path in (base / name, base / f"{name}.gz") if path.is_file()), None)


def _from_table(path: Path) -> _Sections:
    columns = ("findings", "impression", "last_paragraph", "comparison")
    by_study = {
        row.get("study"): {name: text for name in columns if (text := row.get(name))}
        for row in read_table(path)
    }
    return lambda patient, study: by_study.get(f"s{study}") or {}


def _from_text(base: Path, patient: str, study: str) -> Mapping[str, str]:
    if not (patient.isdigit() and study.isdigit()):
        return {}
    for folder in _REPORT_FOLDERS:
        path = base / f"{folder}files/p{patient[:2]}/p{patient}/s{study}.txt"
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        return {name: body for name, body in split_sections(text).items() if known(body)}
    return {}


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
    # Under "FINDINGS AND IMPRESSION" both are the same text.
    return " ".join(dict.fromkeys(parts)) or sections.get("last_paragraph") or sections.get("comparison")


def _last_paragraph(text: str) -> str:
    body = _BANNER.split(text)[-1]
    paragraphs = [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", body)]
    return next((paragraph for paragraph in reversed(paragraphs) if paragraph), "")


LAYOUT = DatasetLayout(
    name="mimic-cxr",
    title="MIMIC-CXR-JPG with the reports of MIMIC-CXR",
    licence="PhysioNet credentialed health data use agreement",
    download="physionet.org/content/mimic-cxr-jpg, and mimic-cxr-reports.zip of "
    "physionet.org/content/mimic-cxr",
    reads="mimic-cxr-2.0.0-{metadata,split,chexpert|negbio}.csv[.gz], files/, mimic-cxr-reports/ or "
    "mimic_cxr_sectioned.csv",
    read=ColumnMap(
        title="MIMIC-CXR-JPG",
        find=_find,
        image=_image,
        has_paths=True,
        fixed={"modality": "XR", "region": "Chest"},
        quirks=_quirks,
    ),
    texts=("report", "findings", "impression"),
    sentence="{view} chest X-ray showing {labels}",
    fields="view: {view}, diagnosis: {labels}",
    default_caption="report",
    has_labels=True,
)
