"""Your own images: each with ``name.txt`` beside it, or all of them in one table of captions."""

from __future__ import annotations

import codecs
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medclip_cli.corpora.encodings import TITLES, encoding_of
from medclip_cli.corpora.layout import DatasetLayout, ImageFiles, ReadOptions, list_images
from medclip_cli.corpora.notes import named, note
from medclip_cli.corpora.tables import Row, read_table, unusable
from medclip_cli.corpora.vocabulary import (
    age_of,
    known,
    listed,
    modality_of,
    sex_of,
    split_of,
    texts,
    view_of,
    words,
)
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.progress import counted
from medclip_cli.records import OTHER_MODALITY, SourceRow

TABLE_SUFFIXES = (".csv", ".tsv", ".jsonl", ".ndjson", ".xlsx", ".csv.gz", ".tsv.gz", ".jsonl.gz")

# Headers by what they mean, the likeliest first; matched as `_squeezed`, so that PatientID is patient_id.
_IMAGE = (
    *("image", "image_path", "filename", "file_name", "file", "path", "image_name", "image_id"),
    *("img", "name"),
)
_CAPTION = ("caption", "captions", "text", "report", "description", "impression", "findings", "title")
_OPTIONAL = {
    "id": ("id", "key", "uid"),
    "modality": ("modality", "core_modality", "image_modality", "imaging_modality"),
    "view": ("view", "plane", "projection", "view_position", "image_view"),
    "region": ("region", "body_part", "body_part_examined", "location", "anatomy", "body_region"),
    "category": ("category",),
    "labels": ("labels", "label", "finding_labels", "findings"),
    "age": ("age", "patient_age", "subject_age", "age_years", "age_in_years", "patient_age_years"),
    "sex": ("sex", "gender", "patient_sex", "patient_gender", "subject_sex", "subject_gender"),
    "group": (
        *("group", "patient", "patient_id", "subject", "subject_id", "patient_number", "patient_no", "pid"),
        *(
            "patient_key",
            "patient_uid",
            "pat_id",
            "pt_id",
            "mrn",
            "participant",
            "participant_id",
            "case",
            "case_id",
            "study_id",
            "study",
        ),
    ),
    "split": ("split", "partition", "fold", "subset", "data_split", "split_name"),
}
# Headers that say a split only when all their values do: a "set" may be a name, too.
_MAYBE_SPLIT = ("set", "dataset", "phase", "usage")


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
        rows = _beside(root, images, groups)
    else:
        columns = Columns.of(table, options)
        rows = (_from_table(row, columns, images, groups) for row in read_table(table))
    return rows if options.new_splits else _with_splits_counted(rows, table or root)


def _with_splits_counted(rows: Iterator[SourceRow], where: Path) -> Iterator[SourceRow]:
    """Yield the rows, and say how many name no split where others do: ``eval/`` beside ``train/``."""
    named_none = total = 0
    for row in rows:
        total += row.fault is None
        named_none += row.fault is None and row.split is None
        yield row
    if 0 < named_none < total:
        note(
            f"{where}: {named_none:,} of {total:,} rows name no split, they follow their patient's or get one"
        )


@dataclass(frozen=True, slots=True)
class Columns:
    """Which column of a table means what."""

    image: str
    caption: str | None  # None when the table has only labels
    optional: Mapping[str, tuple[str, ...]]  # further columns by meaning; records may spell one in two ways
    others: Sequence[str]  # those that mean nothing special; a template may name them

    @classmethod
    def of(cls, table: Path, options: ReadOptions) -> Columns:
        """Find the columns of a table, as named by a person or by what they are called.

        What no field takes is noted.

        Raises:
            CorpusError: a named column is not there, no column looks like image paths, there are no rows, or
                a value of the column of splits names none.
        """
        survey = _survey(table)
        columns = list(survey.said)
        if not columns:
            raise CorpusError(f"{table} has no rows: nothing to clean")
        by_name: dict[str, tuple[str, ...]] = {}
        for column in columns:
            by_name[_squeezed(column)] = (*by_name.get(_squeezed(column), ()), column)
        image = _named(table, columns, options.image_column) or next(iter(_first(by_name, _IMAGE)), None)
        caption = _named(table, columns, options.caption_column) or next(
            iter(_first(by_name, _CAPTION)), None
        )
        if image is None:
            have = ", ".join(columns)
            raise CorpusError(
                f"{table} has no image column, it has {have}: call one of them image, or give image_column"
            )
        taken = {image, caption}
        optional = {
            meaning: found
            for meaning, names in _OPTIONAL.items()
            if (found := tuple(column for column in _first(by_name, names) if column not in taken))
        }
        maybe = [c for c in _first(by_name, _MAYBE_SPLIT) if all(map(split_of, survey.splits[c]))]
        if maybe and "split" not in optional:
            optional["split"] = tuple(maybe)
        survey.check_splits(table, optional.get("split", ()), options)
        known_columns = {*taken, *(column for found in optional.values() for column in found)}
        survey.note(table, known_columns, {caption, *optional.get("labels", ())})
        return cls(image, caption, optional, [c for c in columns if c not in taken])

    def get(self, row: Row, meaning: str) -> str | None:
        return row.get(*self.optional.get(meaning, ()))


@dataclass(slots=True)
class _Survey:
    """What a table says, counted before it is read."""

    said: Counter[str] = field(default_factory=Counter)  # rows that say something, by column
    lists: Counter[str] = field(default_factory=Counter)  # rows that hold a list, by column
    splits: dict[str, Counter[str]] = field(
        default_factory=dict
    )  # rows by value of columns that may be splits

    def check_splits(self, table: Path, columns: Sequence[str], options: ReadOptions) -> None:
        values: Counter[str] = sum((self.splits[column] for column in columns), Counter())
        wrong = {repr(value): count for value, count in values.items() if split_of(value) is None}
        if wrong and not options.new_splits:
            raise CorpusError(
                f"{table}, column {columns[0]}: {named(wrong)} names no split: write train, val or "
                "test, call the column something else, or clean with splits group"
            )
        if wrong:
            note(f"{table}, column {columns[0]}: {named(wrong)} is no split: all are distributed anew")

    def note(
        self, table: Path, known_columns: Collection[str | None], listed_columns: Collection[str | None]
    ) -> None:
        others = {c: count for c, count in self.said.items() if c not in known_columns}
        if others:
            note(f"{table}: columns of no known meaning, for templates alone: {named(others)}")
        for items, held in (
            ("each item is one", {c: n for c, n in self.lists.items() if c in listed_columns}),
            ("taken as it is written", {c: n for c, n in self.lists.items() if c not in listed_columns}),
        ):
            if held:
                note(f"{table}: lists in cells, {items}: {named(held)}")


def _survey(table: Path) -> _Survey:
    survey = _Survey()
    may_split = {_squeezed(name) for name in (*_OPTIONAL["split"], *_MAYBE_SPLIT)}
    for row in read_table(table):
        for column, cell in row.cells.items():
            if column not in survey.said:
                survey.said[column] = 0
                if _squeezed(column) in may_split:
                    survey.splits[column] = Counter()
            if (text := known(cell)) is None:
                continue
            survey.said[column] += 1
            survey.lists[column] += listed(cell) is not None
            if column in survey.splits:
                survey.splits[column][text] += 1
    survey.lists = +survey.lists
    return survey


def _from_table(row: Row, columns: Columns, images: ImageFiles, groups: re.Pattern[str] | None) -> SourceRow:
    path = row.get(columns.image)
    if row.fault or path is None:
        return unusable(row)
    image = images.find(path) or path.replace("\\", "/").removeprefix("./")
    captions = captions_of(row.raw(columns.caption) if columns.caption else None)
    modality, view, findings = (
        columns.get(row, "modality"),
        view_of(columns.get(row, "view")),
        _labels(row, columns),
    )
    age, sex = age_of(columns.get(row, "age")), sex_of(columns.get(row, "sex"))
    told = {_plain(column): row.get(column) for column in columns.others}
    # A template says what a field means ("male", a list's items), not how the table writes it.
    is_code = modality is not None and len(modality) == 2 and modality_of(modality) != OTHER_MODALITY
    if age is not None and told.get("age") != f"{age:g}":
        told["age"] = None
    if findings and listed(row.raw(*columns.optional["labels"])) is not None:
        told["labels"] = None
    told |= dict.fromkeys((["sex"] if sex else []) + (["modality"] if is_code else []))
    return SourceRow(
        key=columns.get(row, "id") or os.path.splitext(image)[0],
        image=image,
        modality=modality_of(modality),
        group=columns.get(row, "group") or _group(image, groups),
        split=split_of(columns.get(row, "split")) or _split_by_folder(image),
        texts=captions,
        words=words(**{**told, "caption": next(iter(captions.get("report", ())), None)}),
        view=view,
        region=columns.get(row, "region"),
        category=columns.get(row, "category"),
        findings=findings,
        age=age,
        sex=sex,
    )


def _beside(root: Path, images: ImageFiles, groups: re.Pattern[str] | None) -> Iterator[SourceRow]:
    encodings: Counter[str] = Counter()
    for image in sorted(images.paths):
        text, encoding = _text_beside(root / image)
        encodings[encoding] += encoding in TITLES
        yield SourceRow(
            key=os.path.splitext(image)[0],
            image=image,
            group=_group(image, groups),
            split=_split_by_folder(image),
            texts=texts(report=text),
            fault=None if encoding else ("malformed_row", "its text is not UTF-8: save it as UTF-8"),
        )
    for encoding, count in (+encodings).items():
        note(f"{root}: {counted(count, 'text')} beside images read as {TITLES[encoding]}")


def _text_beside(image: Path) -> tuple[str | None, str]:
    """Return the text beside an image and its encoding; no encoding when the bytes do not tell."""
    for text_file in (image.with_suffix(".txt"), image.with_name(image.name + ".txt")):
        try:
            content = text_file.read_bytes()
        except OSError:
            continue
        utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        encoding = "utf-16" if utf16 else "utf-8-sig"
        try:
            return content.decode(encoding), encoding
        except UnicodeDecodeError:
            told = None if utf16 else encoding_of(content)
            return (content.decode(told, "replace"), told) if told else (None, "")
    return None, "utf-8-sig"


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
    if (items := listed(value)) is not None:
        found = [text for item in items for text in texts(report=item).values()]
        return {"report": tuple(text for (text,) in found)} if found else {}
    return texts(report=value)


def _labels(row: Row, columns: Columns) -> tuple[str, ...]:
    value = row.raw(*columns.optional.get("labels", ()))
    parts = listed(value)
    if parts is None:
        parts = re.split(r"[|;]", known(value) or "")
    return tuple(text for part in parts if (text := known(part)))


def _group(image: str, pattern: re.Pattern[str] | None) -> str:
    match = pattern.search(image) if pattern else None
    if match is None:
        return os.path.splitext(image)[0]
    return match[1] if match.re.groups and match[1] else match[0]


def _split_by_folder(image: str) -> str | None:
    """Return the split that a folder names, the outermost first: ``test/``, ``images/test/``."""
    return next(filter(None, map(split_of, image.split("/")[:-1])), None)


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "_", column.lower()).strip("_")


def _squeezed(column: str) -> str:
    """Return a header without case, blanks, underscores, dashes and "'s"."""
    return re.sub(r"['’]s\b|[\W_]+", "", column.lower())


def _first(columns: Mapping[str, tuple[str, ...]], names: Sequence[str]) -> tuple[str, ...]:
    return next((found for name in names if (found := columns.get(_squeezed(name)))), ())


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
