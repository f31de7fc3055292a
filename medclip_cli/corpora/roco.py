"""ROCO, first version (razorx89/roco-dataset), or as Kaggle repacked it. Radiology images only.

Tab-separated files without a header, aligned by image: every caption begins with a space, quotes are just
characters. Images of one article stand in train and test alike (two in three test images share theirs with
train), so the article is the group, and ``--splits filtered`` or ``group`` makes an honest split.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from medclip_cli.corpora.layout import DatasetLayout, ImageFiles, ReadOptions, base_folder, list_images
from medclip_cli.corpora.tables import Row, read_table, unusable
from medclip_cli.corpora.vocabulary import (
    modality_of_concepts,
    region_of_concepts,
    texts,
    view_of_concepts,
    words,
)
from medclip_cli.records import SourceRow

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_REPACKED = {"train": "traindata.csv", "validation": "valdata.csv", "test": "testdata.csv"}
_ARTICLE = re.compile(r"PMC\d+")


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row an image of every split that is there."""
    markers = [
        f"{split}/radiology/{name}" for split in _SPLITS for name in ("captions.txt", _REPACKED[split])
    ]
    base = base_folder(root, markers, "ROCO")
    images = list_images(root)
    for split in _SPLITS:
        folder = base / split / "radiology"
        if (folder / "captions.txt").is_file():
            yield from _split_rows(folder, split, images)
        elif (folder / _REPACKED[split]).is_file():
            for row in read_table(folder / _REPACKED[split]):
                yield _repacked_row(row, split, images)


@dataclass(frozen=True, slots=True)
class _Aside:
    """What stands about an image in the files beside the captions."""

    article: str | None = None
    licence: str | None = None


def _split_rows(folder: Path, split: str, images: ImageFiles) -> Iterator[SourceRow]:
    asides = _asides(folder)
    cuis = _concepts(folder / "cuis.txt")
    for row in _tabbed(folder / "captions.txt", ("id", "caption")):
        name = row.get("id")
        if row.fault or name is None:
            yield unusable(row, prefix=f"{split}/")
            continue
        about, has = asides.get(name, _Aside()), cuis.get(name, ())
        yield SourceRow(
            key=name,
            image=images.find(name) or f"{split}/radiology/images/{name}.jpg",
            modality=modality_of_concepts(has),
            group=about.article or name,
            split=_SPLITS[split],
            texts=texts(report=row.raw("caption")),
            words=words(licence=about.licence),
            view=view_of_concepts(has),
            region=region_of_concepts(has),
        )


def _repacked_row(row: Row, split: str, images: ImageFiles) -> SourceRow:
    name, key = row.get("name"), row.get("id")
    if row.fault or name is None or key is None:
        return unusable(row, prefix=f"{split}/")
    article = _ARTICLE.match(name)
    return SourceRow(
        key=key,
        image=images.find(name) or f"{split}/radiology/images/{name}",
        group=article[0] if article else key,
        split=_SPLITS[split],
        texts=texts(report=row.raw("caption")),
    )


def _tabbed(path: Path, columns: tuple[str, ...]) -> Iterator[Row]:
    return read_table(path, columns=columns, delimiter="\t", quoted=False) if path.is_file() else iter(())


def _asides(folder: Path) -> Mapping[str, _Aside]:
    """Return article and licence by image, from ``licences.txt``, else the article from ``dlinks.txt``."""
    if (folder / "licences.txt").is_file():
        rows = read_table(folder / "licences.txt")
        return {row.get("roco_id") or "": _Aside(_article(row.get("pmc_id")), row.get("cc")) for row in rows}
    links = _tabbed(folder / "dlinks.txt", ("id", "command", "file"))
    return {row.get("id") or "": _Aside(_article(row.get("file"), row.get("command"))) for row in links}


def _article(*values: str | None) -> str | None:
    return next((match[0] for value in values if value and (match := _ARTICLE.search(value))), None)


def _concepts(path: Path) -> dict[str, tuple[str, ...]]:
    if not path.is_file():
        return {}
    # The second field is always empty; the concepts follow, one a field.
    with path.open(encoding="utf-8", errors="replace") as file:
        fields = (line.rstrip("\n").split("\t") for line in file)
        return {first: tuple(cui.strip() for cui in rest if cui.strip()) for first, *rest in fields}


LAYOUT = DatasetLayout(
    name="roco",
    title="ROCO (first version)",
    licence="Creative Commons, by image: see licences.txt",
    download="github.com/razorx89/roco-dataset and its fetch script, or Kaggle's all_data",
    reads="{train,validation,test}/radiology/{captions,cuis,licences}.txt and images/, or *data.csv",
    read=read,
    texts=("report",),
    sentence="{view} {modality} of the {region}",
    fields="modality: {modality}, view: {view}, region: {region}",
    default_caption="report",
)
