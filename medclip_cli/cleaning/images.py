"""Looking at every image once: is it there, does it decode, does it show anything, have we seen it."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclip_cli.cleaning.rules import Reason
from medclip_cli.errors import MedclipError

ReadScan = Callable[[BinaryIO], Image.Image]

# A picture whose brightest and darkest grey differ by less shows nothing; JPEG alone adds a step or two.
BLANK_GREY_RANGE = 4
# Decoded pictures waiting per thread: enough to keep every thread busy, few enough to keep memory flat.
WAITING_PER_THREAD = 4

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
        if root is not None and not Path(os.path.realpath(path)).is_relative_to(root):
            return Reason("unsafe_path", "a link leads out of the image root")
        content = path.read_bytes()
        picture = read_scan(BytesIO(content))
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return Reason("missing_image")
    except MedclipError as error:
        return Reason(getattr(error, "code", "unreadable_image"), str(error))
    except (OSError, ValueError) as error:
        return Reason("unreadable_image", getattr(error, "strerror", None) or "not readable")
    if is_blank(picture):
        return Reason("blank_image", "one flat grey")
    digest, (coarse, fine) = hashlib.sha256(content).hexdigest(), difference_hashes(picture)
    return ImageFacts(digest, coarse, fine, *picture.size)


def is_blank(picture: Image.Image) -> bool:
    """Whether every channel of the picture is one flat value, give or take compression noise."""
    extrema = [picture.getchannel(band).getextrema() for band in picture.getbands()]
    return all(float(high) - float(low) < BLANK_GREY_RANGE for low, high in extrema)  # type: ignore[arg-type]


def difference_hashes(picture: Image.Image) -> tuple[str, str]:
    """Return the coarse (64-bit) and the fine (512-bit) difference hash of a picture, in hex.

    The coarse one says bit by bit, row by row, whether a cell of the 9 x 8 grey miniature is darker than
    its right neighbour. It survives scaling, recompression and brightness (N. Krawetz, "Kind of Like That",
    hackerfactor.com, 2013), and it is alike for many chest X-rays. The fine one says the same of 16 x 16
    cells and their right neighbours, then of 16 x 16 cells and those below.
    """
    # Averaging down in two steps costs a tenth of one resize of a large picture.
    small = picture.reduce(max(1, min(picture.size) // 128)).convert("L")
    coarse, across, down = (_miniature(small, size) for size in ((9, 8), (17, 16), (16, 17)))
    fine = np.concatenate([across[:, 1:] > across[:, :-1], down[1:] > down[:-1]])
    return np.packbits(coarse[:, 1:] > coarse[:, :-1]).tobytes().hex(), np.packbits(fine).tobytes().hex()


def _miniature(picture: Image.Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.asarray(picture.resize(size, Image.Resampling.BOX))


def in_order(
    work: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Map `work` over `items` in threads, in order, with only a few results waiting at a time."""
    threads = threads or usable_cores()
    source = iter(items)
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="examine")
    try:
        for item in source:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= WAITING_PER_THREAD * threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        # On Ctrl-C nothing that has not begun is begun.
        pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Return how many cores this process may use; a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
