"""A collection as one file, for another machine: a tar whose every content is checksummed.

Members, in this order: ``archive.json`` (what the collection is, and size and hash of each file that
follows), ``shard/...``, ``model/...`` if the model goes along, and ``archive.hash`` (of ``archive.json``).
Reading trusts nothing: a member that is not listed, is no plain file, or has another content ends the
import.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encoders.names import plain_name
from medclip_cli import models
from medclip_cli.errors import CollectionError, MedclipError
from medclip_cli.private_files import open_private_bytes
from medclip_cli.vector_index import generations
from medclip_cli.vector_index.base import CollectionInfo, damaged, info_from_json, info_to_json
from medclip_cli.vector_index.edge import load_shard
from medclip_cli.vector_index.sparse_files import (
    PackedReader,
    content_hash,
    filled_ranges,
    stable_files,
    unpack,
)

FORMAT_VERSION = 1
SUFFIX = ".medclip"
_HEAD = "archive.json"
_TAIL = "archive.hash"
_SHARD = "shard/"
_MODEL = "model/"
_HEAD_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class ImportedCollection:
    """What came out of an archive."""

    info: CollectionInfo
    model: Path | None  # the model folder, if the archive held one
    model_fault: str | None = None  # why the collection cannot be asked with the model that it names


def export_collection(
    home: Path, name: str, target: Path, *, with_model: bool = False, force: bool = False
) -> CollectionInfo:
    """Write a collection to one file, while others may read it or build its next generation.

    Args:
        home: the folder of medclip's data.
        name: of the collection.
        target: the file to write.
        with_model: take the model folder along, for a machine that has none.
        force: replace a file that is there.

    Raises:
        CollectionError: no such collection, a damaged one, no model folder, or a file that may not be
            replaced.
    """
    if target.exists() and not force:
        raise CollectionError(f"{target} exists: replace it with force, or write to another file")
    busy = f"collection {name!r} stayed locked: try again"
    info, generation, hold = generations.with_retries(lambda: generations.hold_live(home, name), 10.0, busy)
    try:
        try:
            generations.check_files(generation, contents=True)
        except ValueError as error:
            raise damaged(name, error) from error
        files = _files_below(generation / generations.SHARD, _SHARD)
        if with_model:
            folder = info.model_folder
            model_files = _files_below(folder, _MODEL) if folder.is_dir() else {}
            if not model_files:
                raise CollectionError(f"there is no model folder {folder}: export without the model")
            if fault := _model_fault(info):
                raise CollectionError(f"the model of collection {name!r} cannot be exported ({fault})")
            files |= model_files
        _write(target, info, files)
    finally:
        os.close(hold)
    return info


def _files_below(folder: Path, prefix: str) -> dict[str, Path]:
    return {prefix + path.relative_to(folder).as_posix(): path for path in stable_files(folder)}


def _model_fault(info: CollectionInfo) -> str | None:
    try:
        model = models.load_model(info.model_folder)
        info.check_model(model.fingerprint, model.name)
    except MedclipError as error:
        return str(error)
    return None


def _write(target: Path, info: CollectionInfo, files: Mapping[str, Path]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        kept = dict(files)
        for number, (key, path) in enumerate(files.items()):
            if path.name in generations.REWRITTEN:  # as the engine may, whenever the shard is opened
                kept[key] = Path(shutil.copyfile(path, Path(folder, f"{number}.json")))
        files = kept
        ranges = {key: filled_ranges(path) for key, path in files.items()}
        facts = {
            key: {"bytes": path.stat().st_size, "content": content_hash(path), "ranges": ranges[key]}
            for key, path in files.items()
        }
        head = {"archive_version": FORMAT_VERSION, "collection": info_to_json(info), "files": facts}
        text = json.dumps(head, ensure_ascii=False).encode()
        fresh = target.with_name(f".{target.name}.{os.getpid()}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_private_bytes(fresh) as whole, tarfile.open(fileobj=whole, mode="w") as tar:
                _add(tar, _HEAD, len(text), io.BytesIO(text))
                for key, path in files.items():
                    size = sum(end - start for start, end in ranges[key])
                    with path.open("rb") as file:
                        _add(tar, key, size, PackedReader(file, ranges[key]))
                tail = hashlib.sha256(text).hexdigest().encode()
                _add(tar, _TAIL, len(tail), io.BytesIO(tail))
            fresh.replace(target)
        finally:
            fresh.unlink(missing_ok=True)


def _add(tar: tarfile.TarFile, name: str, size: int, content: Any) -> None:  # noqa: ANN401 - anything with read()
    member = tarfile.TarInfo(name)
    member.size = size
    tar.addfile(member, content)


def import_collection(
    home: Path, source: Path, *, name: str | None = None, force: bool = False
) -> ImportedCollection:
    """Bring a collection back from a file, whole or not at all.

    Args:
        home: the folder of medclip's data.
        source: the file.
        name: of the new collection; None takes the one it had.
        force: replace a collection of this name. Who reads it goes on with what was opened.

    Raises:
        CollectionError: the file is no archive, is damaged or altered, of a newer format, or the name is
            taken.
    """
    with _reading(source) as tar:
        head = _read_head(source, tar)
        # An archive may come from anybody: what it says becomes a path only as one plain name.
        plain_name(
            f"{head['collection'].get('model_name')}-{head['collection'].get('fingerprint')}",
            "a model folder",
            CollectionError,
        )
        info = info_from_json(name or str(head["collection"].get("name", "")), head["collection"])
        folder = generations.collection_folder(home, info.name)
        if generations.read_manifest(folder) is not None and not force:
            raise CollectionError(
                f"collection {info.name!r} exists: replace it with force, or give the import another name"
            )
        with generations.only_writer(folder, 0.0):
            return _unpack(home, folder, source, tar, head, info)


@contextmanager
def _reading(source: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(source, "r|") as tar:
            yield tar
    except FileNotFoundError as error:
        raise CollectionError(f"there is no file {source}") from error
    except (tarfile.TarError, EOFError) as error:
        raise CollectionError(
            f"{source} is not a collection, or is damaged ({error}): fetch it again"
        ) from error


def _read_head(source: Path, tar: tarfile.TarFile) -> dict[str, Any]:
    member = tar.next()
    file = tar.extractfile(member) if member and member.name == _HEAD and member.size < _HEAD_LIMIT else None
    if file is None:
        raise CollectionError(f"{source} is not a collection exported by medclip")
    text = file.read()
    try:
        head = json.loads(text)
        version = int(head["archive_version"])
        known = isinstance(head["collection"], dict) and isinstance(head["files"], dict)
    except (ValueError, KeyError, TypeError):
        version, known = 0, False
    if version > FORMAT_VERSION:
        raise CollectionError(f"{source} has format {version}, newer than {FORMAT_VERSION}: update medclip")
    if not known:
        raise _altered(source, _HEAD)
    head["hash"] = hashlib.sha256(text).hexdigest()
    return dict(head)


def _altered(source: Path, member: str) -> CollectionError:
    return CollectionError(
        f"{source} is damaged or was altered ({member}): fetch it again, nothing was imported"
    )


def _unpack(
    home: Path, folder: Path, source: Path, tar: tarfile.TarFile, head: dict[str, Any], info: CollectionInfo
) -> ImportedCollection:
    number = generations.next_generation(folder)
    generation = generations.generation_folder(folder, number)
    fresh = generation.with_name(generation.name + generations.PART)
    model = home / "models" / f"{info.model_name}-{info.fingerprint}"
    try:
        _extract_all(source, tar, head, fresh)
        generations.record_files(fresh)
        load_shard(info.name, fresh).close()
        has_model = (fresh / _MODEL).is_dir()
        if has_model and not model.exists():
            model.parent.mkdir(parents=True, exist_ok=True)
            (fresh / _MODEL).rename(model)
        shutil.rmtree(fresh / _MODEL, ignore_errors=True)
        fresh.rename(generation)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    info = replace(
        info, generation=number, model_path=str(model.absolute()) if has_model else info.model_path
    )
    generations.write_manifest(folder, info)
    generations.remove_old_generations(folder, {number})
    return ImportedCollection(info, model if has_model else None, _model_fault(info))


def _extract_all(source: Path, tar: tarfile.TarFile, head: Mapping[str, Any], target: Path) -> None:
    left = dict(head["files"])
    complete = False
    while (member := tar.next()) is not None:
        file = tar.extractfile(member) if member.isreg() else None
        if member.name == _TAIL and file is not None and not left:
            complete = file.read(64).decode("ascii", "replace") == head["hash"]
            continue
        facts = left.pop(member.name, None)
        if file is None or not isinstance(facts, dict) or not member.name.startswith((_SHARD, _MODEL)):
            raise _altered(source, member.name)
        try:
            path = generations.path_inside(target, member.name)
            ranges = [(int(start), int(end)) for start, end in facts["ranges"]]
            unpack(file, path, facts["bytes"], ranges)  # type: ignore[arg-type]
            if content_hash(path) != facts["content"]:
                raise ValueError("another content")
        except (KeyError, TypeError, ValueError, CollectionError) as error:
            raise _altered(source, member.name) from error
    if left or not complete:
        raise _altered(source, next(iter(left), _TAIL))
