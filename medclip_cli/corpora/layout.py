"""What an adapter of a published data set is: a `DatasetLayout`, its options, and how it finds files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from encoders.names import IMAGE_SUFFIXES as IMAGE_SUFFIXES
from medclip_cli.errors import CorpusError
from medclip_cli.records import SourceRow


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """What a person may tell an adapter; most need nothing.

    Attributes:
        captions_file: the table of captions, where more than one would do (``folder``, ``dicom``).
        image_column: its column of image paths.
        caption_column: its column of captions.
        group_pattern: regular expression on the image path whose match is the group (``folder``).
        secret: key of the hashes that stand for patients (``dicom``).
    """

    captions_file: Path | None = None
    image_column: str | None = None
    caption_column: str | None = None
    group_pattern: str | None = None
    secret: bytes = b""


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
        default_caption: the style used when none is asked for.
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
    return ImageFiles(set(_walk(str(root), "", wanted)))


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


def _walk(root: str, prefix: str, suffixes: frozenset[str]) -> Iterator[str]:
    with os.scandir(f"{root}/{prefix}") as entries:
        for entry in sorted(entries, key=lambda e: e.name):
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _walk(root, f"{prefix}{entry.name}/", suffixes)
            elif os.path.splitext(entry.name)[1].lower() in suffixes:
                yield prefix + entry.name
