"""Your own images: each with ``name.txt`` beside it, or all of them in one table of captions."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medclip_cli.corpora.layout import DatasetLayout, ImageFiles, ReadOptions, list_images
from medclip_cli.corpora.tables import Row, columns_of, read_table, unusable
from medclip_cli.corpora.vocabulary import age_of, known, modality_of, sex_of, split_of, texts, view_of, words
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.records import SourceRow

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".csv.gz", ".tsv.gz", ".jsonl.gz")

# Headers by what they mean, the likeliest first; matched without regard to case, spaces and underscores.
_IMAGE = (
    *("image", "image_path", "filename", "file_name", "file", "path", "image_name", "image_id"),
    *("img", "name"),
)
_CAPTION = ("caption", "captions", "text", "report", "description", "impression", "findings", "title")
_OPTIONAL = {
    "id": ("id", "key", "uid"),
    "modality": ("modality", "core_modality"),
    "view": ("view", "plane", "projection", "view_position"),
    "region": ("region", "body_part", "body_part_examined", "location", "anatomy"),
    "category": ("category",),
    "labels": ("labels", "label", "finding_labels", "findings"),
    "age": ("age", "patient_age"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender"),
    "group": ("group", "patient", "patient_id", "subject", "subject_id", "case", "case_id", "study_id"),
    "split": ("split", "partition", "fold", "subset"),
}


def read(root: Path, options: ReadOptions) -> Iterator[SourceRow]:
    """Yield one row a table row, or one row an image when captions lie beside the images."""
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    images = list_images(root)
    table = options.captions_file or _only_table(root)
    if table is None and not images.paths:
        kinds = "PNG, JPEG, TIFF, BMP, WebP, DICOM"
        raise CorpusError(f"{root} has no images ({kinds}): name the folder they are in")
    try:
        groups = re.compile(options.group_pattern) if options.group_pattern else None
    except re.error as error:
        pattern = options.group_pattern
        raise UsageError(f"group pattern {pattern!r} is not a regular expression: {error}") from None
    if table is None:
        return _beside(root, images, groups)
    columns = Columns.of(table, options)
    return (_from_table(row, columns, images, groups) for row in read_table(table))


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table means what."""

    image: str
    caption: str | None  # None when the table has only labels
    optional: Mapping[str, str]  # further columns by meaning
    others: Sequence[str]  # those that mean nothing special; a template may name them

    @classmethod
    def of(cls, table: Path, options: ReadOptions) -> Columns:
        """Find the columns of a table, as named by a person or by what they are called.

        Raises:
            CorpusError: a named column is not there, no column looks like image paths, or there are no rows.
        """
        columns = columns_of(table)
        if not columns:
            raise CorpusError(f"{table} has no rows: nothing to clean")
        by_plain_name = {_plain(column): column for column in reversed(columns)}
        image = _named(table, columns, options.image_column) or _first(by_plain_name, _IMAGE)
        caption = _named(table, columns, options.caption_column) or _first(by_plain_name, _CAPTION)
        if image is None:
            have = ", ".join(columns)
            raise CorpusError(
                f"{table} has no image column, it has {have}: call one of them image, or give image_column"
            )
        taken = {image, caption}
        optional = {
            meaning: column
            for meaning, names in _OPTIONAL.items()
            if (column := _first(by_plain_name, names)) is not None and column not in taken
        }
        return cls(image, caption, optional, [c for c in columns if c not in taken])

    def get(self, row: Row, meaning: str) -> str | None:
        column = self.optional.get(meaning)
        return row.get(column) if column else None


def _from_table(row: Row, columns: Columns, images: ImageFiles, groups: re.Pattern[str] | None) -> SourceRow:
    named = row.get(columns.image)
    if row.fault or named is None:
        return unusable(row)
    image = images.find(named) or named.replace("\\", "/").removeprefix("./")
    captions = row.raw(columns.caption) if columns.caption else None
    return SourceRow(
        key=columns.get(row, "id") or os.path.splitext(image)[0],
        image=image,
        modality=modality_of(columns.get(row, "modality")),
        group=columns.get(row, "group") or _group(image, groups),
        split=split_of(columns.get(row, "split")) or _split_by_folder(image),
        texts=captions_of(captions),
        words=words(**{**{_plain(c): row.get(c) for c in columns.others}, "caption": known(captions)}),
        view=view_of(columns.get(row, "view")),
        region=columns.get(row, "region"),
        category=columns.get(row, "category"),
        findings=_labels(row, columns),
        age=age_of(columns.get(row, "age")),
        sex=sex_of(columns.get(row, "sex")),
    )


def _beside(root: Path, images: ImageFiles, groups: re.Pattern[str] | None) -> Iterator[SourceRow]:
    for image in sorted(images.paths):
        yield SourceRow(
            key=os.path.splitext(image)[0],
            image=image,
            group=_group(image, groups),
            split=_split_by_folder(image),
            texts=texts(report=_text_beside(root / image)),
        )


def _text_beside(image: Path) -> str | None:
    for text_file in (image.with_suffix(".txt"), image.with_name(image.name + ".txt")):
        try:
            content = text_file.read_bytes()
        except OSError:
            continue
        try:
            return content.decode("utf-8-sig")
        except UnicodeDecodeError:
            return content.decode("cp1252", errors="replace")
    return None


def _only_table(root: Path) -> Path | None:
    """Return the table of captions in a folder: the one named so, or the only one."""
    tables = sorted(p for p in root.iterdir() if p.is_file() and p.name.lower().endswith(TABLE_SUFFIXES))
    named = [p for p in tables if p.name.lower().split(".")[0] in ("captions", "metadata")]
    if len(tables) > 1 and len(named) != 1:
        names = ", ".join(p.name for p in tables[:5])
        raise CorpusError(f"{root} has several tables ({names}): call one captions.csv, or give captions")
    return next(iter(named or tables), None)


def captions_of(value: object) -> dict[str, tuple[str, ...]]:
    """Return what a caption cell holds, one text or a list of them, as texts of style ``report``."""
    if isinstance(value, list):
        found = [text for item in value for text in texts(report=item).values()]
        return {"report": tuple(text for (text,) in found)} if found else {}
    return texts(report=value)


def _labels(row: Row, columns: Columns) -> tuple[str, ...]:
    column = columns.optional.get("labels")
    value = row.raw(column) if column else None
    parts = value if isinstance(value, list) else re.split(r"[|;]", known(value) or "")
    return tuple(text for part in parts if (text := known(part)))


def _group(image: str, pattern: re.Pattern[str] | None) -> str:
    match = pattern.search(image) if pattern else None
    if match is None:
        return os.path.splitext(image)[0]
    return match[1] if match.re.groups and match[1] else match[0]


def _split_by_folder(image: str) -> str | None:
    top, slash, _ = image.partition("/")
    return split_of(top) if slash else None


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "_", column.lower()).strip("_")


def _first(columns: Mapping[str, str], names: Sequence[str]) -> str | None:
    return next((columns[name] for name in names if name in columns), None)


def _named(table: Path, columns: Sequence[str], wanted: str | None) -> str | None:
    if wanted is None:
        return None
    if wanted.strip().lower() not in columns:
        raise CorpusError(f"{table} has no column {wanted!r}: it has {', '.join(columns)}")
    return wanted.strip().lower()


LAYOUT = DatasetLayout(
    name="folder",
    title="Your own images",
    licence="your own",
    download="images (PNG, JPEG, TIFF, BMP, WebP, DICOM) with name.txt beside each, or one table of captions",
    reads="all images, and captions.csv, .tsv, .jsonl or .xlsx, or name.txt",
    read=read,
    texts=("report",),
    sentence="{modality} {view} of the {region} showing {labels}",
    fields="modality: {modality}, view: {view}, region: {region}, labels: {labels}",
    default_caption="report",
    has_labels=True,
    is_own=True,
)
