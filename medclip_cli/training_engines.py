"""The door from the command line to the training of encoders.

As in `engines`, both packages behind it are imported inside functions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.engines import is_first_process, model_errors, training_errors, training_pair
from medclip_cli.records import CaptionedImage

if TYPE_CHECKING:
    from trainers.listeners import TrainingListener


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What training is asked for; None anywhere leaves the choice to the preset.

    Attributes:
        preset: name of the preset.
        shape: fields of the preset to override.
        recipe: fields of the trainers' options to override.
        augmentation: how far training images are moved, as a multiple of the usual amounts; 0 for not at all.
        tensorboard: folder for TensorBoard's event files, if they are wanted.
    """

    preset: str
    shape: Mapping[str, Any]
    recipe: Mapping[str, Any]
    augmentation: float | None = None
    tensorboard: Path | None = None


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A model that training has just written.

    Attributes:
        path: its folder.
        fingerprint: of its weights and preprocessing.
        best_epoch: the epoch it was taken from; 0 when none was finished.
        epochs: finished epochs.
        interrupted: whether training was stopped before its end.
        skipped: training images that could not be read.
        seconds: training took.
        validation: recall both ways, with the size of the pool.
    """

    path: Path
    fingerprint: str
    best_epoch: int
    epochs: int
    interrupted: bool
    skipped: int
    seconds: float
    validation: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "path": str(self.path)}


def train_encoders(
    train: Sequence[CaptionedImage],
    validation: Sequence[CaptionedImage],
    image_path: Callable[[CaptionedImage], Path],
    out: Path,
    request: TrainingRequest,
    listener: TrainingListener,
    *,
    provenance: Mapping[str, Any],
) -> TrainedModel:
    """Train an image and a text encoder, and write the model folder.

    Args:
        train: records to learn from.
        validation: records to judge by.
        image_path: where the image of a record lies.
        out: the model folder to make.
        request: preset and overrides.
        listener: hears of the run.
        provenance: what `config.json` says of the corpus.

    Raises:
        UsageError: an option is out of range, or no preset or tower has this name.
        ModelError: training failed, or the folder cannot be written.
    """
    with model_errors(), training_errors():
        from encoders.presets import preset_named
        from trainers.augmentation import Augmentation
        from trainers.contrastive import train_encoders as fit
        from trainers.recipes import options_for

        strength = request.augmentation
        moves = None if strength is None else Augmentation().times(strength)
        preset = preset_named(request.preset, **request.shape)
        options = options_for(preset, **request.recipe, augmentation=moves)
        train_pairs, judged_pairs = (
            [training_pair(record, image_path(record)) for record in part] for part in (train, validation)
        )
        if request.tensorboard is not None and is_first_process():
            from trainers.tensorboard import TensorBoardListener

            listener = TensorBoardListener(request.tensorboard, listener)
        result = fit(train_pairs, judged_pairs, out, options, listener, provenance=provenance)
    return TrainedModel(
        path=out,
        fingerprint=result.fingerprint,
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        interrupted=result.interrupted,
        skipped=result.skipped,
        seconds=round(result.seconds, 1),
        validation=result.validation.to_dict(),
    )
