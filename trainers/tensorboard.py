"""The curves of a run for TensorBoard, beside whoever else listens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from encoders.errors import OptionsError
from trainers.listeners import EpochReport, RunStart, StepReport, TrainingListener

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class TensorBoardListener:
    """Writes event files, and passes everything on."""

    def __init__(self, folder: Path, listener: TrainingListener) -> None:
        """Open the event file.

        Args:
            folder: for the event files.
            listener: hears everything too.

        Raises:
            OptionsError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise OptionsError(
                "--tensorboard needs a package that is not installed: pip install 'medclip-cli[tensorboard]'"
            ) from error
        self._writer: SummaryWriter = SummaryWriter(str(folder))
        self._listener = listener

    def on_start(self, start: RunStart) -> None:
        """Pass it on."""
        self._listener.on_start(start)

    def on_step(self, report: StepReport) -> None:
        """Write loss, rate and speed."""
        self._write("train/loss", report.loss, report.step)
        self._write("train/learning_rate", report.learning_rate, report.step)
        self._write("train/images_per_second", report.images_per_second, report.step)
        self._listener.on_step(report)

    def on_epoch(self, report: EpochReport) -> None:
        """Write the validation loss, and recall and median rank both ways."""
        self._write("validation/loss", report.validation_loss, report.steps)
        for name in ("image_to_text", "text_to_image"):
            way = getattr(report.validation, name)
            for score in ("r1", "r5", "r10", "median_rank"):
                self._write(f"{name}/{score}", getattr(way, score), report.steps)
        self._write("train/logit_scale", report.logit_scale, report.steps)
        self._writer.flush()
        self._listener.on_epoch(report)

    def on_skip(self, pair_id: str, image: Path, reason: str) -> None:
        """Pass it on."""
        self._listener.on_skip(pair_id, image, reason)

    def on_note(self, message: str) -> None:
        """Pass it on."""
        self._listener.on_note(message)

    def _write(self, name: str, value: float, step: int) -> None:
        self._writer.add_scalar(name, value, step)
