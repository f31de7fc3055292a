"""Copies of the images that a corpus uses, made beside it and moved into it when they are all there."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from medclip_cli.errors import CorpusError
from medclip_cli.records import CaptionedImage


def staging_folder(corpus: Path) -> Path:
    """Return where the images of a corpus to be are gathered; an interrupted run leaves them there."""
    corpus = corpus.absolute()
    return corpus.with_name(f".{corpus.name}.images")


def copy_images(
    records: Iterable[CaptionedImage],
    image_root: Path,
    staging: Path,
    *,
    on_image: Callable[[], None] = lambda: None,
) -> None:
    """Copy the images of records into a staging folder, under their own relative paths.

    A copy that an earlier run made stays if its size and time are those of the image.

    Args:
        records: whose images are wanted.
        image_root: what their paths are relative to.
        staging: made if it is missing.
        on_image: called after each.

    Raises:
        CorpusError: an image is gone or has changed since it was looked at, or there is no room for it.
    """
    for record in records:
        try:
            _copy(image_root / record.image, staging / record.image, record.sha256)
        except OSError as error:
            raise CorpusError(
                f"{record.image} cannot be copied ({error.strerror}): run the same command again to go on"
            ) from error
        on_image()


def keep_only(records: Iterable[CaptionedImage], staging: Path) -> None:
    """Remove all files from a staging folder but the images of these records, and then empty folders."""
    wanted = {os.path.normpath(staging / record.image) for record in records}
    for folder, _, files in os.walk(staging, topdown=False):
        for name in files:
            if os.path.join(folder, name) not in wanted:
                os.unlink(os.path.join(folder, name))
        if not os.listdir(folder):
            os.rmdir(folder)


def _copy(source: Path, target: Path, sha256: str) -> None:
    status = os.stat(source)
    if _stamp(target) == (status.st_size, status.st_mtime_ns):
        return
    content = source.read_bytes()
    if sha256 and hashlib.sha256(content).hexdigest() != sha256:
        raise CorpusError(f"{source} has changed since it was looked at: run the same command again")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    part.write_bytes(content)
    shutil.copystat(source, part)
    part.replace(target)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns
