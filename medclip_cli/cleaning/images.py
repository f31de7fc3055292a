"""Looking at every image once: is it there, does it decode, does it show anything, have we seen it."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclip_cli.cleaning.rules import Reason
from medclip_cli.errors import MedclipError

ReadScan = Callable[[BinaryIO], Image.Image]

# A picture whose brightest and darkest grey differ by less shows nothing; JPEG alone adds a step or two.
BLANK_GREY_RANGE = 4
# Handing over one small image at a time costs as much as decoding it does.
CHUNK = 8
# Chunks of findings waiting per thread: enough to keep every thread busy, few enough to keep memory flat.
WAITING_PER_THREAD = 2

# Eight pixels a cell of the finest hash; with four, one in three pictures saved again is missed.
_REDUCED_SIDE = 128

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of an image that decodes.

    Attributes:
        sha256: of the file's bytes, 64 hex digits.
        dhash: difference hash of the picture, 16 hex digits.
        fine_hash: the same at 16 x 16 in both directions, 128 hex digits: it tells two chest X-rays apart.
        width: of the decoded picture, in pixels.
        height: of the decoded picture, in pixels.
    """

    sha256: str
    dhash: str
    fine_hash: str
    width: int
    height: int


def examine_image(read_scan: ReadScan, path: Path, root: Path | None = None) -> ImageFacts | Reason:
    """Decode one image file and fingerprint it, or say why it is left out.

    Args:
        read_scan: turns an open file into a picture; its errors may carry a reason ``code``.
        path: the image file.
        root: a link that leads out of this folder (already resolved) is refused.
    """
    try:
        if root is not None and not _lies_in(path, root):
            return Reason("unsafe_path", "a link leads out of the image root")
        content = path.read_bytes()
        picture = read_scan(BytesIO(content))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return Reason("missing_image")
    except MedclipError as error:
        return Reason(getattr(error, "code", "unreadable_image"), str(error))
    except (OSError, ValueError) as error:
        return Reason("unreadable_image", getattr(error, "strerror", None) or "not readable")
    minis = _Miniatures.of(picture)
    # Averaging cannot widen a range of greys: only a picture that is flat when small is worth a whole look.
    if minis.is_flat and is_blank(picture):
        return Reason("blank_image", "one flat grey")
    coarse, fine = minis.hashes()
    return ImageFacts(hashlib.sha256(content).hexdigest(), coarse, fine, *picture.size)


def _lies_in(path: Path, root: Path) -> bool:
    """Whether a file is inside a folder once all links are followed; the folder's are looked up once."""
    if path.is_symlink():
        return Path(os.path.realpath(path)).is_relative_to(root)
    return _folder_lies_in(path.parent, root)


@lru_cache(maxsize=4096)
def _folder_lies_in(folder: Path, root: Path) -> bool:
    return Path(os.path.realpath(folder)).is_relative_to(root)


def is_blank(picture: Image.Image) -> bool:
    """Whether every channel of the picture is one flat value, give or take compression noise."""
    extrema = picture.getextrema()
    # One pair of numbers for a grey picture, one a channel for others.
    pairs = extrema if isinstance(extrema[0], tuple) else (extrema,)
    return all(float(high) - float(low) < BLANK_GREY_RANGE for low, high in pairs)


def difference_hashes(picture: Image.Image) -> tuple[str, str]:
    """Return the coarse (64-bit) and the fine (512-bit) difference hash of a picture, in hex.

    The coarse one says bit by bit, row by row, whether a cell of the 9 x 8 grey miniature is darker than
    its right neighbour. It survives scaling, recompression and brightness (N. Krawetz, "Kind of Like That",
    hackerfactor.com, 2013), and it is alike for many chest X-rays. The fine one says the same of 16 x 16
    cells of a 17 x 17 miniature and their right neighbours, then of the same and those below.
    """
    return _Miniatures.of(picture).hashes()


@dataclass(frozen=True, slots=True)
class _Miniatures:
    """A picture in 9 x 8 and in 17 x 17 greys."""

    coarse: NDArray[np.uint8]
    fine: NDArray[np.uint8]

    @classmethod
    def of(cls, picture: Image.Image) -> _Miniatures:
        # Averaging down by a whole number first costs a tenth of one resize of a large picture.
        factor = min(picture.size) // _REDUCED_SIDE
        small = picture.reduce(factor) if factor > 1 else picture
        small = small if small.mode == "L" else small.convert("L")
        box = Image.Resampling.BOX
        return cls(np.asarray(small.resize((9, 8), box)), np.asarray(small.resize((17, 17), box)))

    @property
    def is_flat(self) -> bool:
        return int(self.fine.max()) - int(self.fine.min()) < BLANK_GREY_RANGE

    def hashes(self) -> tuple[str, str]:
        coarse, fine = self.coarse, self.fine
        across, down = fine[:-1, 1:] > fine[:-1, :-1], fine[1:, :-1] > fine[:-1, :-1]
        fine_bits = np.packbits(np.concatenate([across, down]))
        return np.packbits(coarse[:, 1:] > coarse[:, :-1]).tobytes().hex(), fine_bits.tobytes().hex()


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Map `work` over `items` in threads, in order, with only a few results waiting at a time.

    An exception comes when its turn does, after the results before it.
    """
    threads = threads or usable_cores()
    source = iter(items)
    waiting: deque[Future[_Done[Result]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="examine")
    try:
        while chunk := list(islice(source, CHUNK)):
            waiting.append(pool.submit(_work_through, work, chunk))
            if len(waiting) >= WAITING_PER_THREAD * threads:
                yield from waiting.popleft().result().unpack()
        while waiting:
            yield from waiting.popleft().result().unpack()
    finally:
        # On Ctrl-C nothing that has not begun is begun.
        pool.shutdown(wait=True, cancel_futures=True)


@dataclass(slots=True)
class _Done(Generic[Result]):
    """The results of one chunk, and what stopped it."""

    results: list[Result]
    error: BaseException | None = None

    def unpack(self) -> Iterator[Result]:
        yield from self.results
        if self.error is not None:
            raise self.error


def _work_through(work: Callable[[Item], Result], chunk: Sequence[Item]) -> _Done[Result]:
    done: _Done[Result] = _Done([])
    try:
        for item in chunk:
            done.results.append(work(item))
    except BaseException as error:
        done.error = error
    return done


def usable_cores() -> int:
    """Return how many cores this process may use; a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
