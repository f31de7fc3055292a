"""Training images that could not be read: each is reported once, and counted over all processes."""

from __future__ import annotations

from collections.abc import Sequence

from trainers.batches import TrainingPair
from trainers.listeners import TrainingListener
from trainers.processes import Processes


class Skips:
    """The rows that are left out, by any process up to the last time they compared notes."""

    def __init__(
        self, pairs: Sequence[TrainingPair], listener: TrainingListener, processes: Processes
    ) -> None:
        """Know of none yet.

        Args:
            pairs: to train on.
            listener: hears of each skipped one.
            processes: each reads other images.
        """
        self._pairs, self._listener, self._processes = pairs, listener, processes
        self._reasons: dict[int, str] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._reasons)

    def add(self, row: int, reason: str) -> None:
        """Leave a row out."""
        if row not in self._reasons:
            self._reasons[row] = reason
            self._listener.on_skip(self._pairs[row].id, self._pairs[row].image, reason)

    def share(self) -> None:
        """Tell the other processes, and hear what they left out."""
        for found in self._processes.collect(dict(self._reasons)):
            for row, reason in found.items():
                self.add(row, reason)
