"""Work on many small things in threads, in order, in memory that does not grow with their number."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

# Handing over one small image at a time costs as much as decoding it does.
CHUNK = 64
# Chunks of findings waiting per thread: enough to keep every thread busy, few enough to keep memory flat.
WAITING_PER_THREAD = 2

Item = TypeVar("Item")
Result = TypeVar("Result")


def ordered_map(
    work: Callable[[Sequence[Item]], Sequence[Result]],
    items: Iterable[Item],
    threads: int | None = None,
    *,
    chunk: int = CHUNK,
    ahead: int | None = None,
) -> Iterator[Result]:
    """Yield what `work` makes of `items`, in their order, with only a few results waiting at a time.

    Args:
        work: turns some items, `chunk` at most, into as many results.
        items: taken only as they are needed, by whoever takes the results.
        threads: as many as there are cores by default.
        chunk: items that are handed over at once.
        ahead: chunks that are handed over before the result of the first is waited for; `WAITING_PER_THREAD`
            for each thread by default. With 1 there are no threads: one thing happens after the other.

    An exception comes when the turn of its chunk does, after the results of the chunks before.
    """
    threads = threads or usable_cores()
    ahead = ahead or WAITING_PER_THREAD * threads
    source = iter(items)
    if ahead == 1:
        while some := list(islice(source, chunk)):
            yield from work(some)
        return
    waiting: deque[Future[Sequence[Result]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="in-order")
    try:
        while some := list(islice(source, chunk)):
            waiting.append(pool.submit(work, some))
            if len(waiting) >= ahead:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    finally:
        # On Ctrl-C nothing that has not begun is begun.
        pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Return how many cores this process may use; a container often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
