"""Whole-process timings, taken in turn so that a machine that slows down slows both sides."""

from __future__ import annotations

import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

RUNS = 7


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides of one claim.

    Attributes:
        claim: what is compared.
        ours: seconds of each run of our side.
        theirs: seconds of each run of the other side.
        aim: the largest ratio ours / theirs that meets the claim.
    """

    claim: str
    ours: Sequence[float]
    theirs: Sequence[float]
    aim: float

    @property
    def ratio(self) -> float:
        """Median of ours over median of theirs."""
        return statistics.median(self.ours) / statistics.median(self.theirs)

    def report(self) -> str:
        """One line: both medians with their ranges, the ratio and the aim."""
        verdict = "met" if self.ratio <= self.aim else "MISSED"
        sides = f"{_spread(self.ours)} / {_spread(self.theirs)}"
        return f"{self.claim}: {sides} = {self.ratio:.3f} (aim {self.aim:g}, {verdict})"


def compare(
    claim: str, ours: Callable[[], object], theirs: Callable[[], object], aim: float, runs: int = RUNS
) -> Comparison:
    """Run both sides in turn, after one run of each that is not counted."""
    ours_seconds, theirs_seconds = [], []
    for run in range(runs + 1):
        for side, seconds in ((ours, ours_seconds), (theirs, theirs_seconds)):
            start = time.perf_counter()
            side()
            if run:
                seconds.append(time.perf_counter() - start)
    return Comparison(claim, ours_seconds, theirs_seconds, aim)


def process(command: Sequence[str], env: dict[str, str] | None = None) -> Callable[[], object]:
    """Return a side that runs a command from start to exit and fails if it fails."""
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.3f} s [{min(seconds):.3f}..{max(seconds):.3f}]"
