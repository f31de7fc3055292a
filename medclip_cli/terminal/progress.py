"""Progress on stderr: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

from medclip_cli.progress import OnProgress, Progress, no_progress
from medclip_cli.terminal import console

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID


@dataclass(slots=True)
class Bar:
    """One running task: how far it is and how much of it failed."""

    unit: str = "images"
    _bars: Bars | None = None
    _task: TaskID | None = None
    total: int | None = None
    done: int = 0
    failed: int = 0
    _began: float = field(default_factory=monotonic)

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self.done += count
        self._refresh()

    def fail(self, count: int = 1) -> None:
        """Count `count` more items as done and failed."""
        self.failed += count
        self.advance(count)

    def _refresh(self) -> None:
        if self._bars is None or self._task is None:
            return
        self._bars.update(self._task, completed=self.done, **self.columns())

    def columns(self) -> dict[str, Any]:
        """Return what is shown beside the bar: the count, the rate, the time left, the failures."""
        # Whole batches end at once: only the mean over the run says anything of the speed.
        seconds = max(monotonic() - self._began, 1e-3)
        rate = self.done / seconds
        remaining = max((self.total or 0) - self.done, 0)
        return {
            "count": f"{self.done}/{self.total}" if self.total is not None else str(self.done),
            "rate": f"{rate:.{0 if rate >= 10 else 1}f} {self.unit}/s" if self.done else "",
            "left": f"{clock(remaining / rate)} left" if self.done and remaining else "",
            "failures": f"{self.failed} failed" if self.failed else "",
        }


def clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def track_output(description: str, unit: str = "images") -> Iterator[Bar]:
    """Show a bar while answers go into a file or a pipe; on a terminal the answers themselves are shown."""
    if console.stdout().is_terminal:
        yield Bar(unit)
        return
    with track(description, unit=unit) as bar:
        yield bar


@contextmanager
def track(description: str, total: int | None = None, unit: str = "images") -> Iterator[Bar]:
    """Show a bar with rate, time left and failures so far while the block runs.

    Args:
        description: what is being done.
        total: how many items there are; None when unknown.
        unit: what the items are called.
    """
    if console.verbosity.quiet or not console.can_animate():
        yield Bar(unit)
        return
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as Bars

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        *(TextColumn(f"{{task.fields[{name}]}}") for name in ("count", "rate", "left")),
        TextColumn("[red]{task.fields[failures]}"),
    )
    # What goes to stdout is data: rich must not take it to its own console, which is stderr.
    with Bars(*columns, console=console.stderr(), transient=True, redirect_stdout=False) as bars:
        bar = Bar(unit, bars, total=total)
        bar._task = bars.add_task(description, total=total, **bar.columns())
        yield bar


@contextmanager
def reported() -> Iterator[OnProgress]:
    """Show what a library function reports: a bar for each of its stages, one after the other."""
    if console.verbosity.quiet or not console.can_animate():
        yield no_progress
        return
    with ExitStack() as stack:
        current: list[tuple[str, Bar]] = []

        def show(report: Progress) -> None:
            if not current or current[0][0] != report.stage:
                stack.close()
                bar = stack.enter_context(track(report.stage, report.total, report.unit))
                current[:] = [(report.stage, bar)]
            bar = current[0][1]
            bar.total, bar.failed = report.total, report.failed
            bar.advance(report.done - bar.done)

        yield show
