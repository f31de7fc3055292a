"""Several corpora as one: ids stay unique, groups stay whole, the same row twice is counted once."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medclip_cli.corpora.corpus_folder import Corpus
from medclip_cli.errors import CorpusError
from medclip_cli.records import SPLITS, CaptionedImage, Rejection


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of a merge.

    Attributes:
        image_root: the deepest folder that holds all images.
        records: the rows, in the order of the corpora.
        rejected: rows that were there before, with the reason.
        renamed: rows whose id was taken and got a number.
        moved: rows whose group stood in another split of another corpus.
    """

    image_root: Path
    records: tuple[CaptionedImage, ...]
    rejected: tuple[Rejection, ...]
    renamed: int
    moved: int


def merge_corpora(corpora: Sequence[Corpus]) -> Merged:
    """Merge corpora in order.

    A group that stands in several splits is moved as a whole to the one held out most (test, then val): what
    was held out once is never trained on.

    Raises:
        CorpusError: fewer than two corpora, or their images have no folder in common.
    """
    if len(corpora) < 2:
        raise CorpusError("a merge needs two corpora or more: name them all")
    root = _common_root(corpora)
    records: list[CaptionedImage] = []
    rejected: list[Rejection] = []
    taken: dict[str, int] = {}
    pairs: set[tuple[str, str]] = set()
    for corpus in corpora:
        prefix = corpus.image_root.relative_to(root).as_posix()
        for record in corpus.records:
            image = record.image if prefix == "." else f"{prefix}/{record.image}"
            # The same content with the same caption says nothing new, wherever it lies.
            pair = (record.sha256 or image, record.caption)
            if pair in pairs:
                detail = "the same image and caption stand in this corpus already"
                rejected.append(Rejection(record.id, image, "duplicate_row", detail))
                continue
            pairs.add(pair)
            taken[record.id] = taken.get(record.id, 0) + 1
            again = taken[record.id]
            records.append(replace(record, image=image, id=_numbered(record.id, again, taken)))
    whole = _whole_groups(records)
    moved = sum(one.split != other.split for one, other in zip(records, whole, strict=True))
    renamed = sum(count - 1 for count in taken.values())
    return Merged(root, tuple(whole), tuple(rejected), renamed, moved)


def _numbered(identifier: str, again: int, taken: dict[str, int]) -> str:
    if again == 1:
        return identifier
    while f"{identifier}#{again}" in taken:
        again += 1
    taken[f"{identifier}#{again}"] = 1
    return f"{identifier}#{again}"


def _whole_groups(records: Sequence[CaptionedImage]) -> list[CaptionedImage]:
    split_of: dict[str, str] = {}
    for record in records:
        known = split_of.get(record.group, SPLITS[0])
        # SPLITS is train, val, test: the later, the more it must be kept from training.
        split_of[record.group] = max(known, record.split, key=SPLITS.index)
    return [
        record if record.split == split_of[record.group] else replace(record, split=split_of[record.group])
        for record in records
    ]


def _common_root(corpora: Sequence[Corpus]) -> Path:
    try:
        return Path(os.path.commonpath([os.path.abspath(corpus.image_root) for corpus in corpora]))
    except ValueError:  # two drives
        raise CorpusError(
            "the images of these corpora have no folder in common: move them together"
        ) from None
