"""A training run on stderr, of encoders or of a decoder: a bar while it steps, a line for each epoch.

The two kinds of run differ in how an epoch is judged, and so in one function that tells what it was worth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from medclip_cli.terminal import console

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

SHOWN_SKIPS = 10


class Start(Protocol):
    """What is shown of a run that starts."""

    @property
    def train_pairs(self) -> int: ...  # noqa: D102
    @property
    def validation_pairs(self) -> int: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def total_steps(self) -> int: ...  # noqa: D102
    @property
    def first_step(self) -> int: ...  # noqa: D102
    @property
    def device(self) -> str: ...  # noqa: D102
    @property
    def precision(self) -> str: ...  # noqa: D102
    @property
    def parameters(self) -> int: ...  # noqa: D102


class Step(Protocol):
    """What is shown of a step."""

    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def images_per_second(self) -> float: ...  # noqa: D102
    @property
    def seconds_left(self) -> float: ...  # noqa: D102


class Direction(Protocol):
    """Recall in one direction."""

    @property
    def r1(self) -> float: ...  # noqa: D102
    @property
    def r5(self) -> float: ...  # noqa: D102
    @property
    def r10(self) -> float: ...  # noqa: D102
    @property
    def median_rank(self) -> float: ...  # noqa: D102


class Recall(Protocol):
    """Recall in both directions."""

    @property
    def pool(self) -> int: ...  # noqa: D102
    @property
    def image_to_text(self) -> Direction: ...  # noqa: D102
    @property
    def text_to_image(self) -> Direction: ...  # noqa: D102


class Epoch(Protocol):
    """What is shown of an epoch, however it was judged."""

    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def is_best(self) -> bool: ...  # noqa: D102
    @property
    def images_per_second(self) -> float: ...  # noqa: D102
    @property
    def waiting_share(self) -> float: ...  # noqa: D102


class RecallEpoch(Epoch, Protocol):
    """An epoch of encoders."""

    @property
    def validation(self) -> Recall: ...  # noqa: D102


class CaptionEpoch(Epoch, Protocol):
    """An epoch of a decoder."""

    @property
    def scores(self) -> Mapping[str, float]: ...  # noqa: D102


AnyEpoch = TypeVar("AnyEpoch", bound=Epoch, contravariant=True)


class TrainingProgress(Generic[AnyEpoch]):
    """Listens to a run and shows it."""

    def __init__(self, worth: Callable[[AnyEpoch], str], progress: Progress | None = None) -> None:
        """Show lines, and a bar when there is one to draw on.

        Args:
            worth: what an epoch was worth, in words.
            progress: to draw bars on.
        """
        self._worth, self._progress = worth, progress
        self._task: TaskID | None = None
        self._epochs = self._skipped = self._seen = 0

    def on_features(self, pictures: int, total: int) -> None:
        """Move the bar of what a frozen tower looks at before the run begins."""
        self._seen += pictures
        if self._progress is None:
            return
        if self._task is None:
            self._task = self._progress.add_task("looking", total=total, loss="", rate="", left="")
        speed = self._progress.tasks[0].speed
        rate = f"{speed:.0f} pictures/s" if speed else ""
        self._progress.update(self._task, completed=self._seen, rate=rate)

    def on_start(self, start: Start) -> None:
        """Say what will be trained on what."""
        self._epochs = start.epochs
        counted = console.counted
        console.note(
            f"Training {start.parameters / 1e6:.1f} M parameters on {counted(start.train_pairs, 'pair')} "
            f"({start.device}, {start.precision}): {counted(start.epochs, 'epoch')}, "
            f"{counted(start.total_steps, 'step')}; "
            f"each epoch is judged on {counted(start.validation_pairs, 'validation pair')}"
        )
        if self._progress is not None:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task = self._progress.add_task(
                "", total=start.total_steps, completed=start.first_step, loss="", rate="", left=""
            )

    def on_step(self, report: Step) -> None:
        """Move the bar."""
        if self._progress is None or self._task is None:
            return
        self._progress.update(
            self._task,
            completed=report.step,
            description=f"epoch {report.epoch}/{self._epochs}",
            loss=f"loss {report.loss:.3f}",
            rate=f"{report.images_per_second:.0f} images/s",
            left=f"{_clock(report.seconds_left)} left",
        )

    def on_epoch(self, report: AnyEpoch) -> None:
        """Print the epoch's line."""
        console.note(
            f"epoch {report.epoch}/{self._epochs}: loss {report.loss:.3f}, {self._worth(report)}, "
            f"{report.images_per_second:.0f} images/s, {report.waiting_share:.1%} waiting for data"
            f"{', best so far' if report.is_best else ''}"
        )

    def on_skip(self, pair_id: str, image: Path, reason: str) -> None:
        """Name an image that cannot be read; after some, only count."""
        self._skipped += 1
        if self._skipped <= SHOWN_SKIPS:
            console.warn(f"{image}: {reason}; {pair_id} is left out")
        elif self._skipped == SHOWN_SKIPS + 1:
            console.warn("more images cannot be read; they are counted only")

    def on_note(self, message: str) -> None:
        """Print it."""
        console.note(message)


@contextmanager
def show_training() -> Iterator[TrainingProgress[RecallEpoch]]:
    """A listener for encoders: it draws a bar on a terminal and prints lines everywhere."""
    with _bars() as progress:
        yield TrainingProgress(_recall, progress)


@contextmanager
def show_decoder_training() -> Iterator[TrainingProgress[CaptionEpoch]]:
    """The same for a decoder."""
    with _bars() as progress:
        yield TrainingProgress(_captions, progress)


@contextmanager
def _bars() -> Iterator[Progress | None]:
    if console.verbosity.quiet or not console.can_animate():
        yield None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}  {task.fields[rate]}  {task.fields[left]}"),
    )
    with Progress(*columns, console=console.stderr(), transient=True, redirect_stdout=False) as progress:
        yield progress


def _recall(report: RecallEpoch) -> str:
    found = report.validation
    return (
        f"R@1/5/10 of {found.pool} image to text {_recalls(found.image_to_text)}, "
        f"text to image {_recalls(found.text_to_image)}"
    )


def _captions(report: CaptionEpoch) -> str:
    shown = ", ".join(f"{name} {report.scores[name]:.3f}" for name in ("bleu4", "rouge_l", "cider"))
    return f"val {shown}"


def _recalls(way: Direction) -> str:
    return f"{way.r1:.3f}/{way.r5:.3f}/{way.r10:.3f} (median rank {way.median_rank:g})"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
