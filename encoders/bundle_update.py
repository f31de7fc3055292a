"""Adds files to a model folder that stands: a decoder, a calibration (no torch).

The encoder files stay what they are, and so does the fingerprint: collections made with the model still fit.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from encoders.bundle import CONFIG_FILE, REQUIRED_FILES, FileRecord, ModelBundle
from encoders.errors import BundleError


def add_files(bundle: ModelBundle, files: Mapping[str, bytes], *, remove: Iterable[str] = ()) -> ModelBundle:
    """Put files into a model folder, replacing those of the same name.

    The folder is made anew beside its place, from hard links where the disk can, and renamed: whoever opens
    it meanwhile finds the old one or the new one.

    Args:
        bundle: an open model folder.
        files: content by name.
        remove: listed files to leave out from now on; names that are not listed are ignored.

    Raises:
        BundleError: a file the encoders need would be replaced, or the folder cannot be written.
    """
    gone = set(remove) - set(files)
    if taken := (set(files) | gone) & {*REQUIRED_FILES, CONFIG_FILE}:
        raise BundleError(f"{min(taken)} belongs to the encoders: train them anew to replace it")
    records = {name: record for name, record in bundle.config.files.items() if name not in gone}
    for name, data in files.items():
        records[name] = FileRecord(sha256=hashlib.sha256(data).hexdigest(), bytes=len(data))
    folder = bundle.path.resolve()
    staging: Path | None = None
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        fresh = staging / "new"
        fresh.mkdir()
        for name in records:
            if name in files:
                (fresh / name).write_bytes(files[name])
            else:
                _link_or_copy(folder / name, fresh / name)
        content = bundle.config.with_files(records).to_json()
        (fresh / CONFIG_FILE).write_text(content, encoding="utf-8")
        folder.rename(staging / "old")
        fresh.rename(folder)
    except OSError as error:
        raise BundleError(f"model folder {bundle.path} cannot be written ({error.strerror})") from error
    finally:
        if staging is not None:
            _put_back(staging, folder)
    return ModelBundle.open(bundle.path)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _put_back(staging: Path, folder: Path) -> None:
    """Remove the staging folder; the old model folder returns if no new one took its place."""
    if not folder.exists() and (staging / "old").exists():
        (staging / "old").rename(folder)
    shutil.rmtree(staging, ignore_errors=True)
