"""The generations of a collection on disk.

::

    <home>/collections/<name>/
        collection.json         what it is, and which generation is live
        generations/<n>/shard/  the Qdrant Edge shard: never written after it went live
        generations/<n>/files.json   size and hash of each of its files
        building.json           a generation being built, and by which rules
        writer.lock             held by the one run that writes

A run builds generation n+1 beside n, and goes live by replacing collection.json. Old generations are
removed when no reader holds them.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from encoders.names import plain_name
from medclip_cli.errors import CollectionError
from medclip_cli.vector_index import locks
from medclip_cli.vector_index.base import CollectionInfo
from medclip_cli.vector_index.manifest import HOW_TO_MEND, MANIFEST, check_name, read_manifest, write_json
from medclip_cli.vector_index.sparse_files import content_hash, stable_files

BUILDING = "building.json"
FILES = "files.json"
SHARD = "shard"
# The engine rewrites these whenever a shard is opened: same content, keys in another order.
REWRITTEN = ("edge_config.json", "segment.json")
PART = ".part"  # a copy or an empty shard that is not complete yet
_TRASH = ".trash-"


def collections_folder(home: Path) -> Path:
    """Return the folder that holds all collections."""
    return home / "collections"


def collection_folder(home: Path, name: str) -> Path:
    """Return the folder of one collection, which need not exist.

    Raises:
        UsageError: no collection can have this name.
    """
    return collections_folder(home) / check_name(name)


def generation_folder(folder: Path, generation: int) -> Path:
    """Return the folder of one generation of a collection."""
    return folder / "generations" / f"{generation:06d}"


def collection_names(home: Path) -> list[str]:
    """Return the names of the collections that there are, damaged ones included."""
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        entries = collections_folder(home).iterdir()
        return sorted(path.name for path in entries if (path / MANIFEST).exists())
    return []


def live_collection(home: Path, name: str) -> CollectionInfo:
    """Return the description of a collection.

    Raises:
        CollectionError: there is none of this name (the message lists those there are), or it is damaged.
    """
    info = read_manifest(collection_folder(home, name))
    if info is None:
        known = collection_names(home)
        hint = f"name one of {', '.join(known)}" if known else "make one with medclip index"
        raise CollectionError(f"no collection {name!r} in {collections_folder(home)}: {hint}")
    return info


@dataclass(frozen=True, slots=True)
class Building:
    """A generation that is being built.

    Attributes:
        generation: its number.
        base: the live generation it began as a copy of; 0 when it began empty.
        live: the generation that was live when it began.
        fingerprint: of the model its vectors come from.
        dim: length of its vectors.
        average_words: see `CollectionSpec`.
    """

    generation: int
    base: int
    live: int
    fingerprint: str
    dim: int
    average_words: float


def read_building(folder: Path) -> Building | None:
    """Return what an interrupted run was building, or None."""
    try:
        building = Building(**json.loads((folder / BUILDING).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    numbers = (building.generation, building.base, building.live, building.dim)
    return building if all(isinstance(number, int) and number >= 0 for number in numbers) else None


def write_building(folder: Path, building: Building) -> None:
    """Remember what is being built, for the next run if this one ends early."""
    write_json(folder / BUILDING, asdict(building))


def next_generation(folder: Path) -> int:
    """Return the number after the highest that is on disk."""
    return max(_generation_numbers(folder), default=0) + 1


def _generation_numbers(folder: Path) -> Iterator[int]:
    with contextlib.suppress(FileNotFoundError):
        for path in (folder / "generations").iterdir():
            if path.name.isdigit():
                yield int(path.name)


def hold_generation(folder: Path, generation: int) -> int:
    """Keep a generation from being removed; closing the returned descriptor lets go of it.

    Raises:
        LockTakenError: it is being removed just now; read collection.json again.
        CollectionError: it is missing although collection.json names it.
    """
    path = generation_folder(folder, generation)
    try:
        return locks.hold_folder(path, exclusive=False)
    except FileNotFoundError as error:
        info = read_manifest(folder)
        if info is not None and info.generation == generation:
            raise CollectionError(
                f"collection {folder.name!r} is damaged ({path.name} is missing): {HOW_TO_MEND}"
            ) from error
        raise locks.LockTakenError from error


def remove_old_generations(folder: Path, keep: set[int]) -> None:
    """Remove generations that nobody reads, and what earlier removals left behind."""
    for path in (folder / "generations").glob("*"):
        if path.name.isdigit():
            if int(path.name) not in keep:
                remove_unless_held(path)
        elif path.name.startswith(_TRASH) or path.suffix == PART:
            shutil.rmtree(path, ignore_errors=True)


def remove_unless_held(path: Path) -> None:
    """Remove a folder unless a reader holds it; a later run will."""
    try:
        descriptor = locks.hold_folder(path, exclusive=True)
    except (locks.LockTakenError, FileNotFoundError):
        return
    try:
        # Renamed first: a reader that comes too late finds no folder rather than half of one.
        trash = path.with_name(f"{_TRASH}{uuid.uuid4().hex}")
        path.rename(trash)
        shutil.rmtree(trash, ignore_errors=True)
    finally:
        os.close(descriptor)


def disk_bytes(folder: Path) -> int:
    """Return how many bytes the files of a folder take on disk."""
    total = 0
    for path in stable_files(folder):
        with contextlib.suppress(FileNotFoundError):  # written anew by whoever opens the shard
            total += path.stat().st_blocks * 512
    return total


def path_inside(folder: Path, name: str) -> Path:
    """Return the path of a file below a folder, whose name a list or an archive gave.

    Raises:
        CollectionError: a part of it is not a plain name, and might lead out of the folder.
    """
    return folder.joinpath(*(plain_name(part, "file name", CollectionError) for part in name.split("/")))


def record_files(generation: Path) -> None:
    """Write down the size and the hash of every file of a finished shard."""
    shard = generation / SHARD
    files = {
        path.relative_to(shard).as_posix(): {"bytes": path.stat().st_size, "content": content_hash(path)}
        for path in stable_files(shard)
        if path.name not in REWRITTEN
    }
    write_json(generation / FILES, {"files": files})


def check_files(generation: Path, *, contents: bool = False) -> None:
    """Check that every file of a shard is there and whole; a short one would crash the engine.

    Args:
        generation: its folder.
        contents: also compare each file's hash, which reads all of them.

    Raises:
        ValueError: naming the first file that is not as it was written.
    """
    shard = generation / SHARD
    try:
        files = json.loads((generation / FILES).read_text(encoding="utf-8"))["files"]
        for name, facts in files.items():
            path = path_inside(shard, name)
            if path.stat().st_size != facts["bytes"]:
                raise ValueError(f"{name} has {path.stat().st_size} bytes instead of {facts['bytes']}")
            if contents and content_hash(path) != facts["content"]:
                raise ValueError(f"{name} is altered")
    except FileNotFoundError as error:
        raise ValueError(f"{Path(error.filename).name} is missing") from error
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError, CollectionError) as error:
        raise ValueError(f"{FILES} cannot be read") from error


def drop_collection(home: Path, name: str, *, lock_timeout_seconds: float = 10.0) -> None:
    """Remove a collection; who has it open goes on with what was opened.

    Raises:
        CollectionError: there is none of this name, or a run is writing to it.
    """
    folder = collection_folder(home, name)
    if not (folder / MANIFEST).exists():
        live_collection(home, name)  # says which collections there are
    with locks.only_writer(folder, lock_timeout_seconds):
        (folder / MANIFEST).unlink(missing_ok=True)
        trash = folder.with_name(f"{_TRASH}{uuid.uuid4().hex}")
        folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)
