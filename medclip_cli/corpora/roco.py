"""ROCO, ROCOv2 and ImageCLEF: figures of articles, with UMLS concepts that say how an image was taken."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from medclip_cli.corpora.layout import ColumnMap, DatasetLayout, ReadOptions, Source, base_folder
from medclip_cli.corpora.notes import note
from medclip_cli.corpora.tables import Row, read_pairs, read_table
from medclip_cli.corpora.vocabulary import (
    finding_names,
    known,
    modality_of_caption,
    modality_of_concepts,
    region_of_concepts,
    split_of,
    texts,
    view_of_concepts,
    words,
)
from medclip_cli.errors import CorpusError
from medclip_cli.records import OTHER_MODALITY

_ARTICLE = re.compile(r"PMC\d+")


def read_concepts(paths: Iterable[Path]) -> dict[str, tuple[str, ...]]:
    """Return the concepts of each image from tables of (image, ``C...;C...``), one after the other."""
    found: dict[str, tuple[str, ...]] = {}
    for path in paths:
        for row in read_pairs(path, ("id", "cuis")):
            cuis = (known(cui) for cui in (row.get("cuis") or "").split(";"))
            image = row.get("id") or ""
            found[image] = tuple(dict.fromkeys((*found.get(image, ()), *(cui for cui in cuis if cui))))
    return found


def read_concept_names(path: Path | None) -> dict[str, str]:
    """Return what each concept is called from a table of (CUI, name); nothing without a table."""
    if path is None or not path.is_file():
        return {}
    pairs = ((row.get("cui"), row.get("name")) for row in read_pairs(path, ("cui", "name")))
    return {cui: name for cui, name in pairs if cui and name}


def _by_concepts(row: Row, name: str, source: Source) -> dict[str, Any]:
    cuis = source.cuis.get(name, ())
    return {
        "key": name,
        "modality": modality_of_concepts(cuis),
        "view": view_of_concepts(cuis),
        "region": region_of_concepts(cuis),
        "findings": finding_names(cuis, source.concept_names),
    }


# ROCO, first version (razorx89/roco-dataset), or as Kaggle repacked it. Radiology images only. Files without
# a header, separated by tabs, aligned by image: every caption begins with a space, quotes are characters.
# Images of one article stand in train and test alike (two in three test images share theirs with train), so
# the article is the group, and the splits "filtered" or "group" are honest ones.
_ROCO_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_REPACKED = {"train": "traindata.csv", "validation": "valdata.csv", "test": "testdata.csv"}


def _find_roco(root: Path, options: ReadOptions) -> Source:
    names = {split: ("captions.txt", _REPACKED[split]) for split in _ROCO_SPLITS}
    markers = [f"{split}/radiology/{name}" for split in names for name in names[split]]
    base = base_folder(root, markers, "ROCO")
    tables: list[tuple[Path, str | None, str]] = []
    cuis: dict[str, tuple[str, ...]] = {}
    beside: dict[str, tuple[str | None, str | None]] = {}
    for split, known_as in _ROCO_SPLITS.items():
        folder = base / split / "radiology"
        there = [folder / name for name in names[split] if (folder / name).is_file()]
        tables += [(path, known_as, f"{split}/") for path in there[:1]]
        if not there:
            note(f"{folder} has no {' or '.join(names[split])}: the split {known_as} is missing")
        if (folder / "cuis.txt").is_file():
            # The second field is always empty; the concepts follow, one a field.
            with (folder / "cuis.txt").open(encoding="utf-8", errors="replace") as file:
                lines = (line.rstrip("\n").split("\t") for line in file)
                cuis |= {first: tuple(c.strip() for c in rest if c.strip()) for first, *rest in lines}
        if (folder / "licences.txt").is_file():
            rows = read_table(folder / "licences.txt")
            beside |= {row.get("roco_id") or "": (_article(row.get("pmc_id")), row.get("cc")) for row in rows}
        elif (folder / "dlinks.txt").is_file():
            links = _tabbed(folder / "dlinks.txt", ("id", "command", "file"))
            articles = ((row.get("id"), _article(row.get("file"), row.get("command"))) for row in links)
            beside |= {name or "": (article, None) for name, article in articles}
    return Source(tables, cuis=cuis, beside=beside)


def _tabbed(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    return read_table(path, columns=columns, delimiter="\t", quoted=False)


def _article(*values: str | None) -> str | None:
    return next((match[0] for value in values if value and (match := _ARTICLE.search(value))), None)


def _roco_image(row: Row) -> str | None:
    # Kaggle's tables have a name beside the id.
    return row.get("figure") if "figure" in row.cells else row.get("id") and row.get("name")


def _roco(row: Row, name: str, source: Source) -> dict[str, Any]:
    if "figure" not in row.cells:
        article, key = _ARTICLE.match(name), str(row.get("id"))
        return {
            "key": key,
            "group": article[0] if article else key,
            "modality": modality_of_caption(row.get("caption")),
        }
    article_of, licence = source.beside.get(name, (None, None))
    cuis = source.cuis.get(name, ())
    modality = modality_of_concepts(cuis)
    return {
        "key": name,
        "path": "{table}radiology/images/{name}.jpg",
        "modality": modality if modality != OTHER_MODALITY else modality_of_caption(row.get("caption")),
        "group": article_of or name,
        "words": words(licence=licence),
        "view": view_of_concepts(cuis),
        "region": region_of_concepts(cuis),
    }


ROCO = DatasetLayout(
    name="roco",
    title="ROCO (first version)",
    licence="Creative Commons, by image: see licences.txt",
    download="github.com/razorx89/roco-dataset and its fetch script, or Kaggle's all_data",
    reads="{train,validation,test}/radiology/{captions,cuis,licences}.txt and images/, or *data.csv",
    read=ColumnMap(
        title="ROCO",
        find=_find_roco,
        rows=lambda path: _tabbed(path, ("figure", "caption")) if path.suffix == ".txt" else read_table(path),
        image=_roco_image,
        path="{table}radiology/images/{name}",
        caption="caption",
        quirks=_roco,
    ),
    texts=("report",),
    sentence="{view} {modality} of the {region}",
    fields="modality: {modality}, view: {view}, region: {region}",
    default_caption="report",
)

# ROCOv2. Ids have gaps. The article of an image is read from whichever column of license_information.csv
# names it; images of one article are one group.
_ROCO2_SPLITS = {"train": "train", "valid": "val", "test": "test"}


def _find_roco2(root: Path, options: ReadOptions) -> Source:
    base = base_folder(root, [f"{split}_captions.csv" for split in _ROCO2_SPLITS], "ROCOv2")
    captions = [(base / f"{name}_captions.csv", split, f"{name}/") for name, split in _ROCO2_SPLITS.items()]
    for path, split, _ in captions:
        if not path.is_file():
            note(f"there is no {path}: the split {split} is missing")
    concepts = [base / f"{n}_{kind}.csv" for n in _ROCO2_SPLITS for kind in ("concepts_manual", "concepts")]
    articles: dict[str, str] = {}
    licences = base / "license_information.csv"
    for row in read_table(licences) if licences.is_file() else ():
        cells = [str(value) for value in row.cells.values()]
        name = next((cell for cell in cells if cell.startswith("ROCOv2")), None)
        article = next((match[0] for cell in cells if (match := _ARTICLE.search(cell))), None)
        if name and article:
            articles[name.removesuffix(".jpg")] = article
    return Source(
        [table for table in captions if table[0].is_file()],
        cuis=read_concepts(table for table in concepts if table.is_file()),
        concept_names=read_concept_names(base / "cui_mapping.csv"),
        beside=articles,
    )


ROCO2 = DatasetLayout(
    name="roco2",
    title="ROCOv2",
    licence="Creative Commons, by image: see license_information.csv",
    download="zenodo.org/records/10821435: the tables and the three image archives",
    reads="{train,valid,test}_{captions,concepts,concepts_manual}.csv, cui_mapping.csv, {train,valid,test}/",
    read=ColumnMap(
        title="ROCOv2",
        find=_find_roco2,
        rows=partial(read_pairs, columns=("id", "caption")),
        image="id",
        path="{table}{name}.jpg",
        caption="caption",
        quirks=lambda row, name, source: {
            **_by_concepts(row, name, source),
            "group": source.beside.get(name, name),
        },
    ),
    texts=("report",),
    sentence="{view} {modality} of the {region} showing {labels}",
    fields="modality: {modality}, view: {view}, region: {region}, diagnosis: {labels}",
    default_caption="report",
    has_labels=True,
)

# ImageCLEF caption, 2018 to 2026. 2018 and 2021 have no header, 2022 and 2023 are tab-separated under a name
# that ends in .csv (2023 with CRLF and doubled quotes), since 2024 they are what they say; one table of 2021
# is an Excel file called .csv. 2019 and 2020 have concepts without captions: the caption style "labels". The
# years draw on the same articles, so train of one year may hold the test images of another: one year a
# folder.
_YEAR = re.compile(r"20(?:1[789]|2\d)")
_CONCEPT_NAMES = re.compile(r"cui_?mapping|string[-_ ]?concepts|\Aconcepts\.csv\Z", re.IGNORECASE)


def _find_imageclef(root: Path, options: ReadOptions) -> Source:
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in (".csv", ".txt", ".tsv") and p.is_file())
    names = [p for p in files if _CONCEPT_NAMES.search(p.name) and _holds_names(p)]
    concepts = [p for p in files if "concept" in p.name.lower() and p not in names]
    captions = [p for p in files if "caption" in p.name.lower() and p not in (*names, *concepts)]
    if not captions and not concepts:
        raise CorpusError(f"{root} has no ImageCLEF caption or concept table: see medclip clean --list")
    years = {m[0] for p in (*captions, *concepts) if (m := _YEAR.search(p.relative_to(root).as_posix()))}
    if len(years) > 1:
        raise CorpusError(f"{root} holds ImageCLEF {' and '.join(sorted(years))}: clean one year at a time")
    splits = {path: _split_of_path(path.relative_to(root)) for path in captions or concepts}
    return Source(
        [(path, split, f"{split}/") for path, split in splits.items()],
        cuis=read_concepts(concepts),
        concept_names=read_concept_names(names[0] if names else None),
        beside={"has_captions": bool(captions)},
    )


def _holds_names(path: Path) -> bool:
    """2022 calls its table of names ``concepts.csv``, 2024 so calls its table of images."""
    first = next(read_pairs(path, ("cui", "name")), None)
    return first is not None and re.fullmatch(r"C\d{5,}", first.get("cui") or "") is not None


def _split_of_path(path: Path) -> str | None:
    """Return the split a path names, the file's own name first."""
    for part in reversed(path.parts):
        # "CaptionPredictionTraining2018" holds its word between capitals.
        parts = re.findall("[A-Za-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part))
        if split := next(filter(None, map(split_of, parts)), None):
            return split
    return None


def _imageclef(row: Row, name: str, source: Source) -> dict[str, Any]:
    captions = row.raw("caption") if source.beside["has_captions"] else None
    return {**_by_concepts(row, name, source), "texts": texts(report=captions)}


IMAGECLEF = DatasetLayout(
    name="imageclef",
    title="ImageCLEF caption, 2018 to 2026",
    licence="ImageCLEF participation agreement",
    download="imageclef.org/<year>/medical/caption, after registration: one year a folder",
    reads="the year's caption and concept tables, and <ID>.jpg anywhere below",
    read=ColumnMap(
        title="ImageCLEF caption",
        find=_find_imageclef,
        rows=partial(read_pairs, columns=("id", "caption")),
        image="id",
        path="{name}.jpg",
        quirks=_imageclef,
    ),
    texts=("report",),
    sentence="{view} {modality} of the {region} showing {labels}",
    fields="modality: {modality}, view: {view}, region: {region}, diagnosis: {labels}",
    default_caption="report",
    has_labels=True,
)
