"""ImageCLEF caption, 2018 to 2026: the tables of every year, told apart by name and content.

2018 and 2021 have no header, 2022 and 2023 are tab-separated under a name that ends in ``.csv`` (2023 with
CRLF and doubled quotes), since 2024 they are what they say; one table of 2021 is an Excel file called
``.csv``. 2019 and 2020 have concepts without captions: ``--caption labels``. Images are the id and
``.jpg``. The years draw on the same articles, so train of one year may hold the test images of another: one
year a folder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medclip_cli.corpora import concepts
from medclip_cli.corpora.image_files import ImageFiles, list_images
from medclip_cli.corpora.layout import DatasetLayout, ReadOptions
from medclip_cli.corpora.tables import Row, read_pairs, unusable
from medclip_cli.corpora.vocabulary import known, split_of, texts
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow

_YEAR = re.compile(r"20(?:1[789]|2\d)")
_NAMES = re.compile(r"cui_?mapping|string[-_ ]?concepts|\Aconcepts\.csv\Z", re.IGNORECASE)
_CONCEPTS = re.compile(r"concept", re.IGNORECASE)
_CAPTIONS = re.compile(r"caption", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables under a root, by what they hold."""

    captions: Sequence[Path]
    concepts: Sequence[Path]
    names: Path | None


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row a caption, or one row an image where there are only concepts."""
    tables = find_tables(root)
    images = list_images(root)
    names, cuis = concepts.read_names(tables.names), concepts.read_concepts(tables.concepts)
    for path in tables.captions:
        split = _split_of_path(path.relative_to(root))
        for row in read_pairs(path, ("id", "caption")):
            yield _row(row, split, images, cuis, names)
    for path in () if tables.captions else tables.concepts:
        split = _split_of_path(path.relative_to(root))
        for row in read_pairs(path, ("id", "cuis")):
            yield _row(row, split, images, cuis, names)


def find_tables(root: Path) -> Tables:
    """Sort the tables under a root by their names.

    Raises:
        CorpusError: there is none, or they are of several years.
    """
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    files = sorted(p for p in root.rglob("*") if p.suffix.lower() in (".csv", ".txt", ".tsv") and p.is_file())
    names = [p for p in files if _NAMES.search(p.name) and _holds_names(p)]
    lists = [p for p in files if _CONCEPTS.search(p.name) and p not in names]
    captions = [p for p in files if _CAPTIONS.search(p.name) and p not in (*names, *lists)]
    if not captions and not lists:
        raise CorpusError(f"{root} has no ImageCLEF caption or concept table: see medclip clean --list")
    years = {m[0] for p in (*captions, *lists) if (m := _YEAR.search(p.relative_to(root).as_posix()))}
    if len(years) > 1:
        raise CorpusError(f"{root} holds ImageCLEF {' and '.join(sorted(years))}: clean one year at a time")
    return Tables(captions, lists, names[0] if names else None)


def _holds_names(path: Path) -> bool:
    """2022 calls its table of names ``concepts.csv``, 2024 so calls its table of images."""
    first = next(read_pairs(path, ("cui", "name")), None)
    return first is not None and re.fullmatch(r"C\d{5,}", first.get("cui") or "") is not None


def _row(
    row: Row,
    split: str | None,
    images: ImageFiles,
    cuis: Mapping[str, tuple[str, ...]],
    names: Mapping[str, str],
) -> SourceRow:
    name = row.get("id")
    if row.fault or name is None:
        return unusable(row, prefix=f"{split}/")
    has = cuis.get(name, ())
    return SourceRow(
        key=name,
        image=images.find(name) or f"{name}.jpg",
        modality=concepts.modality_of_concepts(has),
        split=split,
        texts=texts(report=row.raw("caption")),
        view=concepts.view_of_concepts(has),
        region=concepts.region_of_concepts(has),
        findings=concepts.finding_names(has, names),
    )


def _split_of_path(path: Path) -> str | None:
    """Return the split a path names, the file's own name first."""
    for part in reversed(path.parts):
        # "CaptionPredictionTraining2018" holds its word between capitals.
        words = _WORD.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", part))
        for split in map(split_of, map(known, words)):
            if split:
                return split
    return None


LAYOUT = DatasetLayout(
    name="imageclef",
    title="ImageCLEF caption, 2018 to 2026",
    licence="ImageCLEF participation agreement",
    download="imageclef.org/<year>/medical/caption, after registration: one year a folder",
    reads="the year's caption and concept tables, and <ID>.jpg anywhere below",
    read=read,
    texts=("report",),
    sentence="{view} {modality} of the {region} showing {labels}",
    fields="modality: {modality}, view: {view}, region: {region}, diagnosis: {labels}",
    default_caption="report",
    has_labels=True,
)
