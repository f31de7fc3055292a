"""A decoder's training run on stderr: a bar while its images are looked at, a line for each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from medclip_cli.rendering import console, progress

SHOWN_SKIPS = 10


class Epoch(Protocol):
    """What is shown of an epoch."""

    @property
    def epoch(self) -> int: ...  # noqa: D102
    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def loss(self) -> float: ...  # noqa: D102
    @property
    def scores(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def is_best(self) -> bool: ...  # noqa: D102
    @property
    def seconds_left(self) -> float: ...  # noqa: D102


class DecoderProgress:
    """Listens to a decoder run and shows it."""

    def __init__(self, bar: progress.Bar) -> None:
        """Show what is looked at on a bar, everything else as lines."""
        self._bar = bar
        self._skipped = 0

    def on_start(self, parameters: int, captions: int, device: str) -> None:
        """Say what will be trained on what."""
        console.note(f"Training {parameters / 1e6:.1f} M parameters on {captions:,} captions ({device})")

    def on_seen(self, images: int, total: int) -> None:
        """Move the bar."""
        self._bar.advance(images)

    def on_epoch(self, report: Epoch) -> None:
        """Print the epoch's line."""
        shown = ", ".join(f"{name} {report.scores[name]:.3f}" for name in ("bleu4", "rouge_l", "cider"))
        minutes, seconds = divmod(round(report.seconds_left), 60)
        console.note(
            f"epoch {report.epoch}/{report.epochs}: loss {report.loss:.3f}, val {shown}, "
            f"{minutes}:{seconds:02} left{', best so far' if report.is_best else ''}"
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
def show_decoder_training(pictures: int) -> Iterator[DecoderProgress]:
    """A listener that draws a bar on a terminal and prints lines everywhere.

    Args:
        pictures: that the image tower will look at.
    """
    with progress.track("Looking", total=pictures, unit="pictures") as bar:
        yield DecoderProgress(bar)
