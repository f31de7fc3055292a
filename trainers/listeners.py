"""What a run reports to its listener, and TensorBoard as one; a trainer itself never prints."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from encoders.errors import OptionsError
from encoders.retrieval import RetrievalRecall

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


@dataclass(frozen=True, slots=True)
class RunStart:
    """A run that is about to take its first step."""

    train_pairs: int  # pairs to train on
    validation_pairs: int  # pairs each epoch is evaluated on
    epochs: int  # passes over the training pairs
    total_steps: int  # steps of the whole run
    first_step: int  # 0, or where a resumed run goes on
    device: str  # the torch device
    precision: str  # ``fp32`` or ``bf16``
    parameters: int  # trainable numbers in the model


@dataclass(frozen=True, slots=True)
class StepReport:
    """One optimiser step."""

    step: int  # steps taken so far, this one included
    total_steps: int  # steps of the whole run
    epoch: int  # from 1
    loss: float  # of the batch, before the step
    learning_rate: float  # of the step, as a factor of the peak rates times the base rate
    images_per_second: float  # since the run started or was resumed, without validation
    waiting_share: float  # share of the training time spent waiting for data
    seconds_left: float  # estimate for the rest of the run, validation included


@dataclass(frozen=True, slots=True)
class EpochFacts:
    """What the loop knows of an epoch that was evaluated, in any kind of run."""

    epoch: int  # from 1
    steps: int  # taken so far
    loss: float  # mean over the epoch; of a decoder nats a token, smoothing included
    learning_rate: float  # of the last step
    seconds: float  # validation included
    images_per_second: float  # of its training part
    waiting_share: float  # share of its training time spent waiting for data

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the journal."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class EpochReport(EpochFacts):
    """One epoch of both towers and what it was worth."""

    # Of the validation pairs, in batches of the run's size; without the parts of the loss that are added for
    # labels and views.
    validation_loss: float
    logit_scale: float  # 1 / temperature at its end
    validation: RetrievalRecall
    is_best: bool  # no epoch before had a higher mean recall
    skipped: int  # training images that could not be read so far

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the journal."""
        return {**asdict(self), "validation": self.validation.to_dict()}

    def summary(self) -> str:
        """What it was worth, in words."""
        found = self.validation
        images, texts = (
            f"{way.r1:.3f}/{way.r5:.3f}/{way.r10:.3f} (median rank {way.median_rank:g})"
            for way in (found.image_to_text, found.text_to_image)
        )
        return f"R@1/5/10 of {found.pool} image to text {images}, text to image {texts}"


@dataclass(frozen=True, slots=True)
class CaptionEpoch(EpochFacts):
    """One epoch of a decoder and what it was worth."""

    scores: dict[str, float]  # of greedy captions of the validation images
    is_best: bool  # no epoch before had a higher CIDEr

    def summary(self) -> str:
        """What it was worth, in words."""
        shown = ", ".join(f"{name} {self.scores[name]:.3f}" for name in ("bleu4", "rouge_l", "cider"))
        return f"val {shown}"


Report_contra = TypeVar("Report_contra", bound=EpochFacts, contravariant=True)


class RunListener(Protocol[Report_contra]):
    """Watches a run. Raising KeyboardInterrupt from any method ends it gracefully."""

    def on_start(self, start: RunStart) -> None:
        """The run begins."""

    def on_step(self, report: StepReport) -> None:
        """A step was taken."""

    def on_epoch(self, report: Report_contra) -> None:
        """An epoch was finished and evaluated."""

    def on_skip(self, pair_id: str, image: Path, reason: str) -> None:
        """An image cannot be read; its pair is left out, and no other takes its place."""

    def on_note(self, message: str) -> None:
        """Something worth knowing happened: the time is over, a model was kept ..."""


TrainingListener = RunListener[EpochReport]


class CaptionListener(RunListener[CaptionEpoch], Protocol):
    """Watches a decoder run."""

    def on_features(self, images: int, total: int) -> None:
        """The frozen image tower embedded so many more images, views counted, of all; before the run."""


class SilentListener:
    """Ignores everything, of any kind of run."""

    def on_features(self, images: int, total: int) -> None: ...
    def on_start(self, start: RunStart) -> None: ...
    def on_step(self, report: StepReport) -> None: ...
    def on_epoch(self, report: Any) -> None: ...  # noqa: ANN401 - of any kind of run
    def on_skip(self, pair_id: str, image: Path, reason: str) -> None: ...
    def on_note(self, message: str) -> None: ...


class TensorBoardListener:
    """Writes TensorBoard's event files, and passes everything on to another listener."""

    def __init__(self, folder: Path, listener: TrainingListener) -> None:
        """Open the event file.

        Raises:
            OptionsError: TensorBoard is not installed.
        """
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError as error:
            raise OptionsError(
                "tensorboard is not installed: pip install 'medclip-cli[tensorboard]'"
            ) from error
        self._writer: SummaryWriter = SummaryWriter(str(folder))
        self.on_start, self.on_skip, self.on_note = listener.on_start, listener.on_skip, listener.on_note
        self._listener = listener

    def on_step(self, report: StepReport) -> None:
        """Write loss, rate and speed."""
        for name in ("loss", "learning_rate", "images_per_second"):
            self._writer.add_scalar(f"train/{name}", getattr(report, name), report.step)
        self._listener.on_step(report)

    def on_epoch(self, report: EpochReport) -> None:
        """Write the validation loss, and recall and median rank in both directions."""
        self._writer.add_scalar("validation/loss", report.validation_loss, report.steps)
        for direction in ("image_to_text", "text_to_image"):
            for score in ("r1", "r5", "r10", "median_rank"):
                value = getattr(getattr(report.validation, direction), score)
                self._writer.add_scalar(f"{direction}/{score}", value, report.steps)
        self._writer.add_scalar("train/logit_scale", report.logit_scale, report.steps)
        self._writer.flush()
        self._listener.on_epoch(report)
