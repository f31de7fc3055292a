"""IU X-Ray as Kaggle repacked it: ``indiana_reports.csv``, ``indiana_projections.csv`` and PNGs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from medclip_cli.corpora.image_files import ImageFiles, list_images
from medclip_cli.corpora.tables import Row, read_table, unusable
from medclip_cli.corpora.vocabulary import known, texts, view_of, words
from medclip_cli.records import SourceRow

TABLE = "indiana_reports.csv"
_IMAGES = "indiana_projections.csv"
_SUFFIX = ".dcm.png"


def read(root: Path, table: Path) -> Iterator[SourceRow]:
    """Yield one row a projection; the report is found by ``uid``."""
    reports = {row.get("uid"): row for row in read_table(table)}
    images = list_images(root)
    return (_row(row, reports, images) for row in read_table(table.with_name(_IMAGES)))


def _row(row: Row, reports: Mapping[str | None, Row], images: ImageFiles) -> SourceRow:
    name, uid = row.get("filename"), row.get("uid")
    if row.fault or name is None or uid is None:
        return unusable(row)
    report = reports.get(uid, Row(0))
    findings, impression = report.get("findings"), report.get("impression")
    labels = (known(label) for label in (report.get("problems") or "").split(";"))
    return SourceRow(
        key=openi_id(name),
        image=images.find(name) or name,
        modality="XR",
        group=f"CXR{uid}",
        texts=texts(
            report=" ".join(filter(None, (findings, impression))) or None,
            findings=findings,
            impression=impression,
        ),
        words=words(indication=report.get("indication"), comparison=report.get("comparison")),
        view=view_of(row.get("projection")),
        region="Chest",
        findings=tuple(dict.fromkeys(label for label in labels if label)),
    )


def openi_id(name: str) -> str:
    """Return OpenI's id of an image, so that both forms of the set give a scan the same id.

    >>> openi_id("2_IM-0652-1001.dcm.png"), openi_id("1_IM-0001-4001.dcm.png")
    ('CXR2_IM-0652-1001', 'CXR1_1_IM-0001-4001')
    """
    stem = name.removesuffix(_SUFFIX)
    # OpenI itself repeats the number of its first report.
    return f"CXR1_{stem}" if stem.startswith("1_") else f"CXR{stem}"
