"""IU X-Ray (OpenI), as one XML file a report, or as Kaggle or R2Gen repacked it.

In the XML every report has four sections, some empty, and any number of images from none to five; the text of
an image says its view now and then. Removed words read ``XXXX``: ``--strip-marks`` takes them out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from medclip_cli.corpora import iuxray_kaggle, iuxray_r2gen
from medclip_cli.corpora.image_files import ImageFiles, list_images
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.vocabulary import known, texts, words
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow

_LATERAL = re.compile(r"\blateral\b", re.IGNORECASE)
_FRONTAL = re.compile(r"\b(frontal|PA|AP|posteroanterior|anteroposterior)\b", re.IGNORECASE)


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image, from whichever of the three forms is there."""
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    for table in sorted(root.rglob(iuxray_kaggle.TABLE)):
        return iuxray_kaggle.read(root, table)
    for table in sorted(root.rglob(iuxray_r2gen.TABLE)):
        return iuxray_r2gen.read(root, table)
    reports = sorted(root.rglob("*.xml"), key=lambda path: (len(path.name), path.name))
    if not reports:
        forms = f"OpenI *.xml, {iuxray_kaggle.TABLE} or {iuxray_r2gen.TABLE}"
        raise CorpusError(f"{root} has no {forms}: see medclip clean --list")
    images = list_images(root)
    return (row for report in reports for row in _rows(report, images))


def joined(*parts: str | None) -> str | None:
    """Return the parts that are there as one text."""
    return " ".join(part for part in parts if part) or None


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
    labels = (known(node.text) for node in report.iterfind("MeSH/major"))
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
