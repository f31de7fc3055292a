"""Threads that keep the order."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from medclip_cli.parallel import CHUNK, WAITING_PER_THREAD, ordered_map


def test_results_come_in_order_and_few_wait() -> None:
    second_chunk_begun = threading.Event()
    asked: list[int] = []

    def items() -> Iterator[int]:
        for number in range(1000):
            asked.append(number)
            yield number

    def work(chunk: Sequence[int]) -> list[int]:
        if chunk[0] == 0:
            second_chunk_begun.wait(10)  # the first chunk is the last to finish
        elif chunk[0] == CHUNK:
            second_chunk_begun.set()
        return [item * item for item in chunk]

    results = ordered_map(work, items(), threads=2)
    assert next(results) == 0
    assert len(asked) <= CHUNK * WAITING_PER_THREAD * 2
    assert list(results) == [n * n for n in range(1, 1000)]


def test_one_ahead_does_nothing_while_a_result_is_used() -> None:
    begun: list[int] = []

    def work(chunk: Sequence[int]) -> Sequence[int]:
        begun.append(len(chunk))
        return chunk

    results = ordered_map(work, range(10), threads=1, chunk=4, ahead=1)
    seen = [(next(results), len(begun)) for _ in range(10)]
    assert seen == [(n, n // 4 + 1) for n in range(10)]
    assert begun == [4, 4, 2]


def test_an_exception_comes_after_the_results_before_it() -> None:
    def work(chunk: Sequence[int]) -> Sequence[int]:
        if chunk[0] == CHUNK:
            raise KeyError(chunk[0])
        return chunk

    results = ordered_map(work, range(100), threads=2)
    assert [next(results) for _ in range(CHUNK)] == list(range(CHUNK))
    with pytest.raises(KeyError):
        next(results)


def test_stopping_early_leaves_no_thread() -> None:
    results = ordered_map(lambda chunk: chunk, range(1000), threads=2)
    next(results)
    results.close()  # type: ignore[attr-defined]
    assert not [t for t in threading.enumerate() if t.name.startswith("in-order")]
