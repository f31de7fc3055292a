"""How fast a run goes, how long it waits for data, and when it will be done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


class Pace:
    """Measures a run by the clock."""

    def __init__(
        self, limit_seconds: float | None, *, before: float = 0.0, now: Callable[[], float] = time.monotonic
    ) -> None:
        """Start the clock.

        Args:
            limit_seconds: the run may take this long; None for no limit.
            before: seconds an interrupted run had taken when it was resumed.
            now: the clock.
        """
        self._now, self._start, self._limit = now, now() - before, limit_seconds
        self._images = self._steps = self._judged = 0
        self._waiting = self._stepping = self._judging = 0.0

    @property
    def elapsed(self) -> float:
        """Seconds since the start, those before a resumption included."""
        return self._now() - self._start

    @property
    def is_over(self) -> bool:
        """Whether the time limit is reached."""
        return self._limit is not None and self.elapsed >= self._limit

    def timed(self, batches: Iterable[Item]) -> Iterator[Item]:
        """Pass batches on, counting the wait for each, and what is done with it, as training time."""
        asked = self._now()
        for batch in batches:
            self._waiting += self._now() - asked
            yield batch
            self._stepping += self._now() - asked
            asked = self._now()

    def count_step(self, images: int) -> None:
        """A step over this many images was taken."""
        self._steps += 1
        self._images += images

    def count_judging(self, seconds: float) -> None:
        """An epoch was judged in this time."""
        self._judged += 1
        self._judging += seconds

    @property
    def images_per_second(self) -> float:
        """Over all steps so far."""
        return self._images / self._stepping if self._stepping else 0.0

    @property
    def waiting_share(self) -> float:
        """Share of the training time in which the model waited for a batch."""
        return self._waiting / self._stepping if self._stepping else 0.0

    def seconds_left(self, steps: int, epochs: int) -> float:
        """Estimate of the time that steps and judged epochs still to come will take."""
        per_step = self._stepping / self._steps if self._steps else 0.0
        per_epoch = self._judging / self._judged if self._judged else 0.0
        estimate = steps * per_step + epochs * per_epoch
        return estimate if self._limit is None else max(0.0, min(estimate, self._limit - self.elapsed))
