"""What every benchmark measures with, and the one shape in which it says what it found.

A script ends each claim with `record`: it prints a line and, under `make bench`, adds a row to the table::

    record(compare("medclip --help / importing typer and rich", ours, theirs, aim=2.0))
    record(Row("peak memory of index, 10 x the rows", 1.03, aim=1.2, ours="310 MiB", theirs="300 MiB"))
    record(Row("recall@10 of the default search", 0.997, against="exact search", aim=0.98, at_least=True))
    record(Row("consensus of 20 captions", against="nearest", value=0.6, aim=5, unit="ms"))
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

RUNS = 7
ROWS_VARIABLE = "MEDCLIP_BENCH_ROWS"  # the file to which `make bench` has every row added


@dataclass(frozen=True, slots=True)
class Row:
    """One claim about speed or size: what was measured, and whether it is what was aimed at.

    Attributes:
        what: our side.
        against: the other side; empty where the aim is a figure of its own.
        ours: our side as it was measured, for people.
        theirs: the other side as it was measured, for people.
        value: the ratio ours / theirs; with `unit`, a figure in that unit.
        aim: the limit of `value`.
        at_least: whether `value` is to reach the aim; otherwise it is to stay under it.
        unit: of `value`; empty for a ratio.
    """

    what: str
    value: float
    aim: float
    against: str = ""
    ours: str = ""
    theirs: str = ""
    at_least: bool = False
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether the aim is met."""
        return self.value >= self.aim if self.at_least else self.value <= self.aim

    def report(self) -> str:
        """One line for people."""
        pair = f"{self.what} / {self.against}" if self.against else self.what
        sides = " / ".join(filter(None, [self.ours, self.theirs]))
        found = f"{sides} = {self.found}" if sides else self.found
        return f"{pair}: {found} (aim {self.wanted}, {'met' if self.met else 'MISSED'})"

    @property
    def found(self) -> str:
        """The value, with its unit."""
        return f"{self.value:.3g} {self.unit}".rstrip()

    @property
    def wanted(self) -> str:
        """The aim, with its direction and unit."""
        return f"{'at least' if self.at_least else 'at most'} {self.aim:.3g} {self.unit}".rstrip()


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides of one claim.

    Attributes:
        claim: what is compared, as "ours / theirs".
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

    @property
    def row(self) -> Row:
        """The same as a row of the table: both medians with their ranges."""
        what, _, against = self.claim.partition(" / ")
        sides = _spread(self.ours), _spread(self.theirs)
        return Row(what, self.ratio, self.aim, against, *sides)

    def report(self) -> str:
        """One line: both medians with their ranges, the ratio and the aim."""
        return self.row.report()


def compare(
    claim: str, ours: Callable[[], object], theirs: Callable[[], object], aim: float, runs: int = RUNS
) -> Comparison:
    """Run both sides in turn, after one run of each that is not counted.

    Taken in turn, a machine that slows down slows both sides.
    """
    ours_seconds, theirs_seconds = [], []
    for run in range(runs + 1):
        for side, seconds in ((ours, ours_seconds), (theirs, theirs_seconds)):
            start = time.perf_counter()
            side()
            if run:
                seconds.append(time.perf_counter() - start)
    return Comparison(claim, ours_seconds, theirs_seconds, aim)


def record(found: Row | Comparison) -> None:
    """Print a claim, and add it to the table where one is being made."""
    row = found.row if isinstance(found, Comparison) else found
    print(row.report(), flush=True)
    if path := os.environ.get(ROWS_VARIABLE):
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(asdict(row)) + "\n")


def process(command: Sequence[str], env: dict[str, str] | None = None) -> Callable[[], object]:
    """Return a side that runs a command from start to exit and fails if it fails."""
    return lambda: subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=env)


def _spread(seconds: Sequence[float]) -> str:
    median, low, high = (_short(value) for value in (statistics.median(seconds), min(seconds), max(seconds)))
    return f"{median} [{low}..{high}]"


def _short(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"
