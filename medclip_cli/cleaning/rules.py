"""Cleaning rules: each looks at a source row and keeps it, or gives the reason code to leave it out."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import NamedTuple

from medclip_cli.cleaning.caption_text import is_placeholder
from medclip_cli.records import SourceRow


class Reason(NamedTuple):
    """Why a row is left out: a code that is counted, and a detail without any patient's words."""

    code: str
    detail: str = ""


Rule = Callable[[SourceRow], Reason | None]


def readable_row(row: SourceRow) -> Reason | None:
    """Leave out what the adapter itself could not use."""
    if row.fault is not None:
        return Reason(*row.fault)
    if not row.key or not row.image:
        return Reason("malformed_row", "no key" if row.image else "no image named")
    if not _encodes(row.key + row.group):
        return Reason("malformed_row", "its key or group is not UTF-8")
    return None


def safe_path(row: SourceRow) -> Reason | None:
    """Leave out images outside the image root: absolute paths, ``..``, and names no table can hold."""
    parts = row.image.split("/")
    if parts[0] == "" or parts[0][1:2] == ":" or ".." in parts or "\\" in row.image:
        return Reason("unsafe_path", "the path leaves the image root")
    if not row.image.isprintable() or not _encodes(row.image):
        return Reason("unsafe_path", "the path has control characters or is not UTF-8")
    return None


def wanted_modality(wanted: Collection[str]) -> Rule:
    """Keep only some modalities."""

    def rule(row: SourceRow) -> Reason | None:
        return None if row.modality in wanted else Reason("modality", row.modality)

    return rule


def captioned(captions: Collection[str]) -> Reason | None:
    """Leave out rows without a caption, or whose every caption stands in for one."""
    if not captions:
        return Reason("missing_caption")
    if all(is_placeholder(caption) for caption in captions):
        return Reason("placeholder_caption")
    return None


def _encodes(text: str) -> bool:
    return text.isascii() or text.encode("utf-8", "ignore").decode("utf-8") == text
