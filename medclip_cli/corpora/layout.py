"""What medclip knows of a published data set, and how its adapter is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

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
