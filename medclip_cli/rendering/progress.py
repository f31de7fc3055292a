"""Progress on stderr: a bar on a terminal, nothing in a pipe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medclip_cli.rendering import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


@dataclass(slots=True)
class Bar:
    """One running task: how far it is and how much of it failed."""

    unit: str = "images"
    _progress: Progress | None = None
    _task: TaskID | None = None
    done: int = 0
    failed: int = 0

    def advance(self, count: int = 1) -> None:
        """Count `count` more items as done."""
        self.done += count
        self._refresh()

    def fail(self, count: int = 1) -> None:
        """Count `count` more items as done and failed."""
        self.failed += count
        self.advance(count)

    def _refresh(self) -> None:
        if self._progress is None or self._task is None:
            return
        speed = self._progress.tasks[0].speed
        self._progress.update(
            self._task,
            completed=self.done,
            rate=f"{speed:.0f} {self.unit}/s" if speed else "",
            failures=f"{self.failed} failed" if self.failed else "",
        )


@contextmanager
def track_output(description: str, unit: str = "images") -> Iterator[Bar]:
    """Show a bar while answers go into a file or a pipe; on a terminal the answers themselves are seen."""
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
        total: how many items there are; None when nobody knows.
        unit: what the items are called.
    """
    if console.verbosity.quiet or not console.stderr().is_terminal:
        yield Bar(unit)
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        TextColumn("[red]{task.fields[failures]}"),
    )
    with Progress(*columns, console=console.stderr(), transient=True) as progress:
        task = progress.add_task(description, total=total, rate="", failures="")
        yield Bar(unit, progress, task)
