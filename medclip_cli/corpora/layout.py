"""What an adapter of a published data set is: a `DatasetLayout`, whose `read` yields the rows of a folder.

`ColumnMap` is the reader of data sets that are tables: it says which file and which column means what.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from encoders.names import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from medclip_cli.corpora.notes import note
from medclip_cli.corpora.tables import Row, read_lines, read_table, unusable
from medclip_cli.corpora.vocabulary import age_of, sex_of, texts, view_of, words
from medclip_cli.errors import CorpusError
from medclip_cli.progress import counted
from medclip_cli.records import SourceRow


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person may tell an adapter; most need nothing."""

    captions_file: Path | None = None  # the table of captions, where more than one would do
    image_column: str | None = None  # its column of image paths
    caption_column: str | None = None
    group_pattern: str | None = None  # regular expression on the image path, whose match is the group
    secret: bytes = b""  # key of the hashes that stand for patients (`dicom`)
    new_splits: bool = False  # whether the data set's own splits do not count


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """One published layout.

    Attributes:
        name: what is typed.
        title: what people call it.
        licence: its terms, in a few words.
        download: what to fetch, and from where.
        reads: the files that are read, relative to the root.
        read: yields the rows of a root folder; fails with `CorpusError` when it is not this data set.
        texts: the free texts its rows may have, as caption styles.
        sentence: its caption template, as a sentence.
        fields: its caption template, as ``key: value`` pairs.
        default_caption: the style used by default.
        has_labels: whether rows have findings.
        is_own: nobody's published set, so that the corpus's name stands in its ids.
        hashes_patients: patients stand in it by hashes under the secret of this installation.
        unpack: makes a folder that `read` can read of what was downloaded, where that is none.
    """

    name: str
    title: str
    licence: str
    download: str
    reads: str
    read: Callable[[Path, ReadOptions], Iterator[SourceRow]]
    texts: tuple[str, ...]
    sentence: str
    fields: str
    default_caption: str
    has_labels: bool = False
    is_own: bool = False
    hashes_patients: bool = False
    unpack: Callable[[Path, Path], None] | None = None


@dataclass(slots=True)
class ImageFiles:
    """The images under a root, found by path, by name, or by name without its ending."""

    paths: set[str]
    _by_name: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Index the names; one that two folders share means neither."""
        for path in self.paths:
            name = path.rpartition("/")[2]
            for key in {name, name.rpartition(".")[0]}:
                self._by_name[key] = None if key in self._by_name else path

    def find(self, named: str) -> str | None:
        """Return the path a table means by a path, a name, or a name without ending; None when unsure."""
        named = named.replace("\\", "/").removeprefix("./")
        if named in self.paths:
            return named
        return self._by_name.get(named)


def list_images(root: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES) -> ImageFiles:
    """List the image files under a folder, as paths relative to it; hidden folders are left out."""
    wanted = frozenset(suffixes)
    links: list[str] = []
    images = ImageFiles(set(_walk(str(root), "", wanted, links)))
    if links:
        shown = f"{', '.join(links[:5])}{' ...' if len(links) > 5 else ''}"
        note(f"{counted(len(links), 'link')} to folders in {root} not followed: {shown}")
    return images


def base_folder(root: Path, files: Sequence[str], what: str) -> Path:
    """Return the folder that holds one of these files: the root itself, or a folder right under it.

    Args:
        root: what the person named.
        files: any one of them marks the folder.
        what: the data set, for the message.

    Raises:
        CorpusError: the root is no folder, or none of the files is there.
    """
    if not root.is_dir():
        raise CorpusError(f"there is no folder {root}")
    inside = sorted(entry for entry in root.iterdir() if entry.is_dir())
    for folder in (root, *inside):
        if any((folder / file).is_file() for file in files):
            return folder
    wanted = " or ".join(files)
    raise CorpusError(f"{root} is no {what} folder, it has no {wanted}: see medclip clean --list")


def below(root: Path, folder: Path) -> str:
    """Return what to put before an image path of `folder` so that it is relative to `root`."""
    prefix = folder.relative_to(root).as_posix()
    return "" if prefix == "." else f"{prefix}/"


def _walk(root: str, prefix: str, suffixes: frozenset[str], links: list[str]) -> Iterator[str]:
    with os.scandir(f"{root}/{prefix}") as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, f"{prefix}{entry.name}/", suffixes, links)
            elif entry.is_symlink() and entry.is_dir():
                links.append(prefix + entry.name)
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                yield prefix + entry.name


@dataclass(frozen=True, slots=True)
class Source:
    """What was found under a root."""

    # Each with the split it stands for, and what tells its unusable rows from another table's.
    tables: Sequence[tuple[Path, str | None, str]]
    prefix: str = ""  # what makes a path of the tables' folder relative to the root
    splits: Mapping[str | None, str] = field(default_factory=dict)  # of the images that a list names
    images: ImageFiles = field(
        default_factory=lambda: ImageFiles(set())
    )  # none where a table has their paths
    cuis: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # concepts by image
    concept_names: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, Any] = field(default_factory=dict)  # what else is known of an image


@dataclass(frozen=True, kw_only=True)
class ColumnMap:
    """Reads a data set: which files, which columns mean what, and what no column says."""

    title: str  # of the data set, for messages
    # Its tables, with the split each stands for, in the root or a folder right under it.
    files: Mapping[str, str | None] = field(default_factory=dict)
    markers: Sequence[str] = ()  # those of them that mark the folder; all by default
    alternatives: bool = False  # whether the first that is there is the only one
    lists: Mapping[str, str] = field(default_factory=dict)  # of image names, with the split each stands for
    find: Callable[[Path, ReadOptions], Source] | None = None  # the tables, where their names do not tell
    beside: Callable[[Path], Mapping[str, Any]] = (
        lambda base: {}
    )  # what else lies there, as fields of `Source`
    rows: Callable[[Path], Iterator[Row]] = read_table
    image: str | Callable[[Row], str | None]  # the column of the image's name, or what makes it of a row
    path: str = "{name}"  # where an image lies of which there is no file, from ``{name}`` and ``{table}``
    caption: str | None = None  # column
    # Columns of the fields view, region, category, age, sex and group.
    columns: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    words: Mapping[str, str] = field(default_factory=dict)  # columns of what a caption template may name
    fixed: Mapping[str, Any] = field(default_factory=dict)  # fields that are the same for every row
    # Further fields of a row, or its `path`, which win over all others.
    quirks: Callable[[Row, str, Source], Mapping[str, Any]] = lambda row, name, source: {}
    has_paths: bool = False  # whether the image column is a path, so that no file need be looked for

    def __call__(self, root: Path, options: ReadOptions) -> Iterator[SourceRow]:
        """Yield one row a table row.

        Raises:
            CorpusError: the root holds another data set, or none.
        """
        source = self.find(root, options) if self.find else self._find(root)
        if not self.has_paths:
            source = replace(source, images=list_images(root))
        return self._rows(source)

    def _rows(self, source: Source) -> Iterator[SourceRow]:
        unlisted = 0
        for path, split, table in source.tables:
            for row in self.rows(path):
                read = self._row(row, split, table, source)
                unlisted += read.split is None and read.fault is None
                yield read
        if source.splits and unlisted:
            note(f"{self.title}: {counted(unlisted, 'image')} in no official list, distributed by group")

    def _find(self, root: Path) -> Source:
        base = base_folder(root, self.markers or tuple(self.files), self.title)
        there = [(base / name, split) for name, split in self.files.items() if (base / name).is_file()]
        listed = {
            name: split
            for file, split in self.lists.items()
            if (base / file).is_file()
            for name in (
                [row.get("image") for row in self.rows(base / file)]
                if file.endswith(".tsv")
                else read_lines(base / file)
            )
        }
        wanted = [*self.lists, *(() if self.alternatives else self.markers or self.files)]
        for file in wanted:
            if not (base / file).is_file():
                note(f"there is no {base / file}: the official split is not known in full")
        tables = [(path, split, f"{split}/" if split else "") for path, split in there]
        source = Source(tables[:1] if self.alternatives else tables, below(root, base), listed)
        return replace(source, **self.beside(base))

    def _row(self, row: Row, split: str | None, table: str, source: Source) -> SourceRow:
        name = row.get(self.image) if isinstance(self.image, str) else self.image(row)
        if row.fault or not name:
            return unusable(row, prefix=table)
        values: dict[str, Any] = {
            "key": name.rpartition(".")[0] or name,
            "split": source.splits.get(name, split),
            "words": words(**{word: row.get(column) for word, column in self.words.items()}),
            **self.fixed,
        }
        for one, column in self.columns.items():
            cell = row.get(column) if isinstance(column, str) else row.get(*column)
            values[one] = _MEANINGS[one](cell) if one in _MEANINGS else cell
        values.update(self.quirks(row, name, source))
        if self.caption and "texts" not in values:
            values["texts"] = texts(report=row.raw(self.caption))
        if "image" not in values:
            path = values.pop("path", self.path).format(name=name, table=table)
            values["image"] = source.images.find(name) or path
        return SourceRow(**values)


_MEANINGS: Mapping[str, Callable[[str | None], Any]] = {
    "view": view_of,
    "age": age_of,
    "sex": sex_of,
    "group": lambda cell: cell or "",
}
