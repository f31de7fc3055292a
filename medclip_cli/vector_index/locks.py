"""Who holds what: readers share a generation, one writer holds a collection.

Locks are advisory ``flock`` locks, which the system drops with the process, so that a killed one leaves
nothing behind. A generation's own folder is what readers lock: nothing is written for them, and a file
system that cannot lock folders only loses the protection against removal while reading.
"""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from medclip_cli.errors import CollectionError
from medclip_cli.private_files import make_private_folder

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows has no flock; one user at a time there
    fcntl = None  # type: ignore[assignment]

FIRST_PAUSE_SECONDS = 0.005
LONGEST_PAUSE_SECONDS = 0.25
_Result = TypeVar("_Result")


class LockTakenError(Exception):
    """Another process holds the lock."""


def with_retries(attempt: Callable[[], _Result], timeout: float, busy: str) -> _Result:
    """Try until the lock is free, pausing longer each time and never in step with others.

    Args:
        attempt: raises `LockTakenError` when the lock is taken.
        timeout: seconds after which to give up; 0 tries once.
        busy: what to say then.

    Raises:
        CollectionError: still taken after `timeout`.
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


def _flock(descriptor: int, *, exclusive: bool) -> None:
    if fcntl is None:  # pragma: no cover
        return
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH) | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise LockTakenError from error
    except OSError:  # this file system has no locks
        pass


def _is_still(descriptor: int, path: Path) -> bool:
    """Return whether what was opened is what the path names now."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return False
    held = os.fstat(descriptor)
    return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)


def hold_folder(folder: Path, *, exclusive: bool) -> int:
    """Lock a folder and return the descriptor that holds the lock.

    Raises:
        LockTakenError: another process holds it.
        FileNotFoundError: it is gone.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _flock(descriptor, exclusive=exclusive)
        if not _is_still(descriptor, folder):
            raise FileNotFoundError(folder)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def only_writer(folder: Path, timeout: float) -> Iterator[None]:
    """Be the one writer of the collection in this folder while the block runs.

    Raises:
        CollectionError: another process is writing.
    """
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
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _flock(descriptor, exclusive=True)
            if not _is_still(descriptor, path):  # the collection was dropped meanwhile
                raise LockTakenError
        except BaseException:
            os.close(descriptor)
            raise
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor

    return with_retries(attempt, timeout, _busy(folder, path))


def _busy(folder: Path, path: Path) -> str:
    with contextlib.suppress(OSError, ValueError):
        holder = f" (process {int(path.read_text())})"
        return _BUSY.format(name=folder.name, holder=holder)
    return _BUSY.format(name=folder.name, holder="")


_BUSY = "another run{holder} is writing to collection {name!r}: wait for it to end"
