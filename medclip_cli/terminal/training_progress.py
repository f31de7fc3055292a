"""A training run on stderr: a bar while it steps, on a terminal, and a line for each epoch everywhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from medclip_cli.progress import Progress as Report
from medclip_cli.terminal import console
from medclip_cli.training import RunReporter

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from trainers.listeners import StepReport


class TrainingProgress(RunReporter):
    """Draws what a run reports as one bar at a time; the lines are the reporter's."""

    def __init__(self, bars: Progress) -> None:
        super().__init__(self._draw)
        self._bars = bars
        self._task: TaskID | None = None
        self._stage = ""

    def _draw(self, report: Report) -> None:
        if report.stage != self._stage:
            if self._task is not None:
                self._bars.remove_task(self._task)
            self._stage = report.stage
            self._task = self._bars.add_task(report.stage, total=report.total, loss="", rate="", left="")
        assert self._task is not None
        self._bars.update(self._task, completed=report.done)

    def on_step(self, report: StepReport) -> None:
        """Draw the step, with its loss, the speed and the time left."""
        super().on_step(report)
        assert self._task is not None
        self._bars.update(
            self._task,
            description=f"epoch {report.epoch}/{self._epochs}",
            loss=f"loss {report.loss:.3f}",
            rate=f"{report.images_per_second:.0f} images/s",
            left=f"{timedelta(seconds=round(report.seconds_left))} left",
        )


@contextmanager
def show_training() -> Iterator[RunReporter]:
    """A listener for a run: it draws a bar on a terminal and prints lines everywhere."""
    if console.verbosity.quiet or not console.can_animate():
        yield RunReporter()
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}  {task.fields[rate]}  {task.fields[left]}"),
    )
    with Progress(*columns, console=console.stderr(), transient=True, redirect_stdout=False) as progress:
        yield TrainingProgress(progress)
