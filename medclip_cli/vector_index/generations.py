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

Locks are advisory ``flock`` locks, which the system drops with the process, so that a killed one leaves
nothing behind. A generation's own folder is what readers lock: nothing is written for them, and a file
system that cannot lock folders only loses the protection against removal while reading.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from encoders.names import plain_name
from medclip_cli.discovery import collection_names as collection_names
from medclip_cli.errors import CollectionError, UsageError
from medclip_cli.private_files import make_private_folder
from medclip_cli.vector_index.base import CollectionInfo, check_name, damaged, info_from_json, info_to_json
from medclip_cli.vector_index.sparse_files import content_hash, stable_files

MANIFEST = "collection.json"
BUILDING = "building.json"
FILES = "files.json"
SHARD = "shard"
# The engine rewrites these whenever a shard is opened: same content, keys in another order.
REWRITTEN = ("edge_config.json", "segment.json")
PART = ".part"  # a copy or an empty shard that is not complete yet
_TRASH = ".trash-"
FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.25
_Result = TypeVar("_Result")


def collection_folder(home: Path, name: str) -> Path:
    """Return the folder of one collection, which need not exist; a `UsageError` if none can have the name."""
    return home / "collections" / check_name(name)


def generation_folder(folder: Path, generation: int) -> Path:
    return folder / "generations" / f"{generation:06d}"


def live_collection(home: Path, name: str) -> CollectionInfo:
    """Return the description of a collection.

    Raises:
        CollectionError: there is none of this name (the message lists those there are), or it is damaged.
    """
    info = read_manifest(collection_folder(home, name))
    if info is None:
        known = collection_names(home)
        hint = f"name one of {', '.join(known)}" if known else "make one with medclip index"
        raise CollectionError(f"no collection {name!r} in {home / 'collections'}: {hint}")
    return info


@dataclass(frozen=True, slots=True)
class Building:
    """A generation that is being built; the numbers of generations are 0 where there is none."""

    generation: int
    base: int  # the live generation that it began as a copy of
    live: int  # the one that was live when it began
    fingerprint: str
    dim: int
    average_words: float


def read_building(folder: Path) -> Building | None:
    """Return what an interrupted run was building, or None."""
    from pydantic import TypeAdapter

    try:
        building = TypeAdapter(Building).validate_json((folder / BUILDING).read_bytes(), strict=True)
    except (OSError, ValueError):
        return None
    return building if min(building.generation, building.base, building.live) >= 0 else None


def next_generation(folder: Path) -> int:
    """Return the number after the highest that is on disk."""
    numbers = [int(path.name) for path in (folder / "generations").glob("*") if path.name.isdigit()]
    return max(numbers, default=0) + 1


def hold_live(home: Path, name: str) -> tuple[CollectionInfo, Path, int]:
    """Return the live generation, its folder, and a descriptor that keeps it from being removed until closed.

    Raises:
        LockTakenError: it is being replaced just now: try again.
        CollectionError: there is no such collection, or it is damaged.
    """
    info, folder = live_collection(home, name), collection_folder(home, name)
    path = generation_folder(folder, info.generation)
    try:
        return info, path, hold(path, exclusive=False)
    except FileNotFoundError as error:
        now = read_manifest(folder)
        if now is not None and now.generation == info.generation:
            raise damaged(name, f"{path.name} is missing") from error
        raise LockTakenError from error


def list_collections(home: Path) -> list[CollectionInfo]:
    """Return the collections that can be described; `collection_names` also has the damaged."""
    found = []
    for name in collection_names(home):
        with contextlib.suppress(CollectionError, UsageError):
            found.append(live_collection(home, name))
    return found


def write_manifest(folder: Path, info: CollectionInfo) -> None:
    """Put a description in place of the one that the collection in this folder has, if any."""
    write_json(folder / MANIFEST, info_to_json(info))


def remove_old_generations(folder: Path, keep: set[int]) -> None:
    """Remove generations that nobody reads, and what earlier removals left behind."""
    for path in (folder / "generations").glob("*"):
        if path.name.startswith(_TRASH) or path.suffix == PART:
            shutil.rmtree(path, ignore_errors=True)
        elif path.name.isdigit() and int(path.name) not in keep:
            try:
                descriptor = hold(path, exclusive=True)
            except (LockTakenError, FileNotFoundError):  # a reader holds it: a later run will remove it
                continue
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

    A `CollectionError` where a part of it is not a plain name, and might lead out of the folder.
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
    with only_writer(folder, lock_timeout_seconds):
        (folder / MANIFEST).unlink(missing_ok=True)
        trash = folder.with_name(f"{_TRASH}{uuid.uuid4().hex}")
        folder.rename(trash)
    shutil.rmtree(trash, ignore_errors=True)


def read_manifest(folder: Path) -> CollectionInfo | None:
    """Return the live collection in this folder, or None when there is none (yet).

    Raises:
        CollectionError: it is damaged or of a newer format.
    """
    try:
        data = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CollectionError(
            f"collection {folder.name!r} cannot be read ({error.strerror}): {folder}"
        ) from error
    except ValueError as error:
        raise damaged(folder.name, MANIFEST) from error
    if not isinstance(data, dict):
        raise damaged(folder.name, MANIFEST)
    return info_from_json(folder.name, data)


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Put a file in place whole: an interruption, even of power, leaves the old one or the new."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with fresh.open("w", encoding="utf-8") as file:
            json.dump(data, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems cannot sync a folder
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


class LockTakenError(Exception):
    """Another process holds the lock."""


def with_retries(attempt: Callable[[], _Result], timeout: float, busy: str) -> _Result:
    """Try until `attempt` raises no `LockTakenError`, pausing longer each time, never in step with others.

    After `timeout` seconds (0 tries once) it is a `CollectionError` that says `busy`.
    """
    deadline = time.monotonic() + timeout
    pause = FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except LockTakenError as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise CollectionError(busy) from error
        time.sleep(min(left, pause * random.uniform(0.5, 1.5)))
        pause = min(2 * pause, LONGEST_PAUSE_SECONDS)


def hold(path: Path, *, exclusive: bool, flags: int = os.O_RDONLY) -> int:
    """Open and lock a folder or file, and return the descriptor that holds the lock.

    Raises:
        LockTakenError: another process holds it.
        FileNotFoundError: it is gone, or was replaced meanwhile.
    """
    descriptor = os.open(path, flags, 0o666)
    try:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockTakenError from error
        except OSError:  # this file system has no locks
            pass
        if not os.path.samestat(os.fstat(descriptor), path.stat()):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def only_writer(folder: Path, timeout: float) -> Iterator[None]:
    """Be the one writer of the collection in this folder while the block runs, see `hold_writer_lock`."""
    descriptor = hold_writer_lock(folder, timeout)
    try:
        yield
    finally:
        os.close(descriptor)


def hold_writer_lock(folder: Path, timeout: float) -> int:
    """Become the one writer of a collection; closing the returned descriptor ends that.

    Raises:
        CollectionError: another process is writing.
    """
    path = folder / "writer.lock"

    def attempt() -> int:
        make_private_folder(folder)
        try:
            descriptor = hold(path, exclusive=True, flags=os.O_RDWR | os.O_CREAT)
        except FileNotFoundError as error:  # the collection was dropped meanwhile
            raise LockTakenError from error
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor

    holder = ""
    with contextlib.suppress(OSError, ValueError):
        holder = f" (process {int(path.read_text())})"
    busy = f"another run{holder} is writing to collection {folder.name!r}: wait for it to end"
    return with_retries(attempt, timeout, busy)
