"""IU X-Ray (OpenI), as one XML file a report, or as Kaggle or R2Gen repacked it.

In the XML every report has four sections, some empty, and any number of images from none to five; the text of
an image says its view now and then. Removed words read ``XXXX``: ``--strip-marks`` takes them out.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from medclip_cli.corpora.layout import ColumnMap, DatasetLayout, ImageFiles, ReadOptions, Source, list_images
from medclip_cli.corpora.notes import named
from medclip_cli.corpora.tables import Row, read_json, read_table
from medclip_cli.corpora.vocabulary import known, split_of, texts, words
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow

KAGGLE_TABLE = "indiana_reports.csv"
_IMAGES = "indiana_projections.csv"
_SUFFIX = ".dcm.png"
R2GEN_TABLE = "annotation.json"
_LATERAL = re.compile(r"\blateral\b", re.IGNORECASE)
_FRONTAL = re.compile(r"\b(frontal|PA|AP|posteroanterior|anteroposterior)\b", re.IGNORECASE)


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image, from whichever of the three forms is there."""
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    if next(root.rglob(KAGGLE_TABLE), None):
        return _READ_KAGGLE(root, options)
    tables = sorted(root.rglob(R2GEN_TABLE))
    for table in tables:
        if (lists := _r2gen_lists(table)) is not None:
            return _read_r2gen(root, table, lists, options)
    if tables:
        raise CorpusError(
            f"{tables[0]} is R2Gen's file of MIMIC-CXR, not of IU X-Ray: clean mimic-cxr from its own tables"
        )
    reports = sorted(root.rglob("*.xml"), key=lambda path: (len(path.name), path.name))
    if not reports:
        forms = f"OpenI *.xml, {KAGGLE_TABLE} or {R2GEN_TABLE}"
        raise CorpusError(f"{root} has no {forms}: see medclip clean --list")
    images = list_images(root)
    return (row for report in reports for row in _rows(report, images))


def joined(*parts: str | None) -> str | None:
    """Return the parts that are there as one text; what stands under two headings counts once."""
    return " ".join(dict.fromkeys(part for part in parts if part)) or None


def _rows(path: Path, images: ImageFiles) -> Iterator[SourceRow]:
    try:
        report = ElementTree.parse(path).getroot()
    except (ElementTree.ParseError, OSError, ValueError, LookupError):
        yield SourceRow(path.stem, "", fault=("malformed_row", f"{path.name} is not an OpenI report"))
        return
    sections = {
        node.get("Label", "").upper(): known("".join(node.itertext())) for node in report.iter("AbstractText")
    }
    findings, impression = sections.get("FINDINGS"), sections.get("IMPRESSION")
    uid = report.find("uId")
    case = (uid.get("id") if uid is not None else None) or path.stem
    labels = [known(node.text) for node in report.iterfind("MeSH/major")]
    for node in report.iter("parentImage"):
        name = known(node.get("id")) or ""
        yield SourceRow(
            key=name,
            image=images.find(f"{name}.png") or images.find(name) or f"{name}.png",
            modality="XR",
            group=case,
            texts=texts(report=joined(findings, impression), findings=findings, impression=impression),
            words=words(indication=sections.get("INDICATION"), comparison=sections.get("COMPARISON")),
            view=_view("".join(text for n in node.iter("caption") for text in n.itertext())),
            region="Chest",
            findings=tuple(dict.fromkeys(label.partition("/")[0] for label in labels if label)),
        )


def _view(text: str) -> str | None:
    lateral, frontal = _LATERAL.search(text), _FRONTAL.search(text)
    if bool(lateral) == bool(frontal):
        return None  # "PA and lateral chest" stands under both images of a study
    return "Lateral" if lateral else "Frontal"


def _find_kaggle(root: Path, options: ReadOptions) -> Source:
    table = min(root.rglob(KAGGLE_TABLE))
    reports = {row.get("uid") or "": row for row in read_table(table)}
    return Source([(table.with_name(_IMAGES), None, "")], beside=reports)


def _kaggle(row: Row, name: str, source: Source) -> dict[str, Any]:
    uid = str(row.get("uid"))
    report = source.beside.get(uid, Row(0))
    findings, impression = report.get("findings"), report.get("impression")
    labels = (known(label) for label in (report.get("problems") or "").split(";"))
    return {
        "key": openi_id(name),
        "group": f"CXR{uid}",
        "texts": texts(report=joined(findings, impression), findings=findings, impression=impression),
        "words": words(indication=report.get("indication"), comparison=report.get("comparison")),
        "findings": tuple(dict.fromkeys(label for label in labels if label)),
    }


def openi_id(name: str) -> str:
    """Return OpenI's id of an image, so that both forms of the set give a scan the same id.

    >>> openi_id("2_IM-0652-1001.dcm.png"), openi_id("1_IM-0001-4001.dcm.png")
    ('CXR2_IM-0652-1001', 'CXR1_1_IM-0001-4001')
    """
    stem = name.removesuffix(_SUFFIX)
    # OpenI itself repeats the number of its first report.
    return f"CXR1_{stem}" if stem.startswith("1_") else f"CXR{stem}"


_READ_KAGGLE = ColumnMap(
    title="IU X-Ray",
    find=_find_kaggle,
    image=lambda row: row.get("uid") and row.get("filename"),
    columns={"view": "projection"},
    fixed={"modality": "XR", "region": "Chest"},
    quirks=_kaggle,
)


# MIMIC-CXR's path of an image, and the columns of its tables.
_MIMIC_PATH = re.compile(r"\bp\d{2}/p\d{8}/s\d{8}/")
_MIMIC_KEYS = frozenset({"subject_id", "study_id"})


def _r2gen_lists(table: Path) -> dict[str, list[Any]] | None:
    """Return R2Gen's cases by list; None for those of MIMIC-CXR, which are of another licence."""
    content = read_json(table)
    if not isinstance(content, dict):
        raise CorpusError(f"{table} is not R2Gen's lists by split: download it again")
    lists = {str(name): part for name, part in content.items() if isinstance(part, list)}
    cases = [case for part in lists.values() for case in part if isinstance(case, dict)]
    if any(_MIMIC_KEYS & case.keys() or _MIMIC_PATH.search(str(case.get("image_path"))) for case in cases):
        return None
    return lists


def _read_r2gen(
    root: Path, table: Path, lists: Mapping[str, list[Any]], options: ReadOptions
) -> Iterator[SourceRow]:
    """Yield one row an image. A record says its split; the list's name does where it says none."""
    wrong = Counter(
        str(case.get("split") or name)
        for name, part in lists.items()
        for case in part
        if isinstance(case, dict) and split_of(known(case.get("split")) or name) is None
    )
    if wrong and not options.new_splits:
        raise CorpusError(f"{table}: {named(wrong, 'case')} is no split: write train, val or test")
    images = list_images(root)
    entries = [(name, entry) for name, part in lists.items() for entry in part]
    for number, (name, entry) in enumerate(entries):
        paths = entry.get("image_path") if isinstance(entry, dict) else None
        if not isinstance(entry, dict) or not isinstance(paths, list | str):
            yield SourceRow(f"entry{number}", "", fault=("malformed_row", "not a case with images"))
            continue
        case = str(entry.get("id"))
        for path in map(str, [paths] if isinstance(paths, str) else paths):
            yield SourceRow(
                key=path.rpartition(".")[0] or path,
                image=images.find(path) or images.find(f"images/{path}") or f"images/{path}",
                modality="XR",
                group=case.partition("_")[0],
                split=split_of(known(entry.get("split")) or name),
                texts=texts(report=entry.get("report"), findings=entry.get("report")),
                region="Chest",
            )


LAYOUT = DatasetLayout(
    name="iuxray",
    title="IU X-Ray (OpenI)",
    licence="CC BY-NC-ND 4.0",
    download="openi.nlm.nih.gov/faq#collection: NLMCXR_reports.tgz and NLMCXR_png.tgz; or Kaggle's copy, "
    "or R2Gen's",
    reads="*.xml, or indiana_reports.csv and indiana_projections.csv, or annotation.json; and all *.png",
    read=read,
    texts=("report", "findings", "impression"),
    sentence="{view} chest X-ray showing {labels}",
    fields="view: {view}, diagnosis: {labels}",
    default_caption="report",
    has_labels=True,
)
