"""ROCOv2: ``{train,valid,test}_captions.csv`` with concept tables, and a folder of JPEGs a split.

The manual concepts say modality, projection and body region. Ids have gaps. The article of an image is read
from ``license_information.csv`` where that file says it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from medclip_cli.corpora import concepts
from medclip_cli.corpora.image_files import ImageFiles, base_folder, list_images
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.tables import Row, read_pairs, read_table, unusable
from medclip_cli.corpora.vocabulary import texts
from medclip_cli.records import SourceRow

_SPLITS = {"train": "train", "valid": "val", "test": "test"}
_ARTICLE = re.compile(r"PMC\d+")


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image of every split that is there."""
    base = base_folder(root, [f"{split}_captions.csv" for split in _SPLITS], "ROCOv2")
    images = list_images(root)
    names = concepts.read_names(base / "cui_mapping.csv")
    articles = _articles(base / "license_information.csv")
    for split in _SPLITS:
        tables = (base / f"{split}_concepts_manual.csv", base / f"{split}_concepts.csv")
        cuis = concepts.read_concepts(table for table in tables if table.is_file())
        captions = base / f"{split}_captions.csv"
        for row in read_pairs(captions, ("id", "caption")) if captions.is_file() else ():
            yield _row(row, split, images, cuis, names, articles)


def _row(
    row: Row,
    split: str,
    images: ImageFiles,
    cuis: Mapping[str, tuple[str, ...]],
    names: Mapping[str, str],
    articles: Mapping[str, str],
) -> SourceRow:
    name = row.get("id")
    if row.fault or name is None:
        return unusable(row, prefix=f"{split}/")
    has = cuis.get(name, ())
    return SourceRow(
        key=name,
        image=images.find(name) or f"{split}/{name}.jpg",
        modality=concepts.modality_of_concepts(has),
        group=articles.get(name, name),
        split=_SPLITS[split],
        texts=texts(report=row.raw("caption")),
        view=concepts.view_of_concepts(has),
        region=concepts.region_of_concepts(has),
        findings=concepts.finding_names(has, names),
    )


def _articles(path: Path) -> dict[str, str]:
    """Return the article of each image, from whichever column of the licence table names it."""
    if not path.is_file():
        return {}
    found: dict[str, str] = {}
    for row in read_table(path):
        name = next((str(value) for value in row.cells.values() if str(value).startswith("ROCOv2")), None)
        article = next((m[0] for value in row.cells.values() if (m := _ARTICLE.search(str(value)))), None)
        if name and article:
            found[name.removesuffix(".jpg")] = article
    return found


LAYOUT = DatasetLayout(
    name="roco2",
    title="ROCOv2",
    licence="Creative Commons, by image: see license_information.csv",
    download="zenodo.org/records/10821435: the tables and the three image archives",
    reads="{train,valid,test}_{captions,concepts,concepts_manual}.csv, cui_mapping.csv, {train,valid,test}/",
    read=read,
    texts=("report",),
    sentence="{view} {modality} of the {region} showing {labels}",
    fields="modality: {modality}, view: {view}, region: {region}, diagnosis: {labels}",
    default_caption="report",
    has_labels=True,
)
