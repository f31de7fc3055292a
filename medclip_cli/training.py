"""Training as a program calls it: encoders and decoders from the records of a corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.extras import require
from medclip_cli.records import CaptionedImage

if TYPE_CHECKING:
    from trainers.data import TrainingPair
    from trainers.listeners import CaptionListener, TrainingListener


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
    require("train", "training encoders")
    from encoders.presets import preset_named
    from trainers.augmentation import Augmentation
    from trainers.contrastive import train_encoders as fit
    from trainers.options import options_for

    if request.tensorboard is not None:
        require("tensorboard", "writing curves for TensorBoard")
    strength = request.augmentation
    moves = None if strength is None else Augmentation().times(strength)
    preset = preset_named(request.preset, **request.shape)
    options = options_for(preset, **request.recipe, augmentation=moves)
    train_pairs, validation_pairs = (
        [training_pair(record, image_path(record)) for record in part] for part in (train, validation)
    )
    if request.tensorboard is not None and is_first_process():
        from trainers.listeners import TensorBoardListener

        listener = TensorBoardListener(request.tensorboard, listener)
    result = fit(train_pairs, validation_pairs, out, options, listener, provenance=provenance)
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


@dataclass(frozen=True, slots=True)
class DecoderRequest:
    """What a decoder's training is asked for.

    Attributes:
        recipe: fields of the trainers' options to override; None anywhere keeps the default.
        score: captions and references to scores by name, ``cider`` among them.
        outdated: files of the model folder that speak of the decoder before.
    """

    recipe: Mapping[str, Any]
    score: Callable[[Sequence[str], Sequence[Sequence[str]]], Mapping[str, float]]
    outdated: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainedDecoder:
    """A decoder that training has just put into its model folder.

    Attributes:
        best_epoch: the epoch it was taken from; 0 when none was finished, and the model stayed as it was.
        epochs: finished epochs.
        interrupted: whether training was stopped before its end.
        skipped: images that could not be read.
        seconds: training took.
        scores: of its greedy captions on the validation images.
    """

    best_epoch: int
    epochs: int
    interrupted: bool
    skipped: int
    seconds: float
    scores: dict[str, float]


def train_decoder(
    train: Sequence[CaptionedImage],
    validation: Sequence[CaptionedImage],
    image_path: Callable[[CaptionedImage], Path],
    model: Path,
    request: DecoderRequest,
    listener: CaptionListener,
    *,
    provenance: Mapping[str, Any],
) -> TrainedDecoder:
    """Train a caption decoder and put it into the model folder.

    Args:
        train: records to learn from.
        validation: records to judge by.
        image_path: where the image of a record lies.
        model: the folder of the encoders.
        request: recipe, judge, and what a new decoder makes untrue.
        listener: hears of the run.
        provenance: what `decoder.json` says of the corpus.

    Raises:
        UsageError: an option is out of range.
        ModelError: training failed, or the folder cannot be read or written.
    """
    require("train", "training a decoder")
    from encoders.bundle import ModelBundle
    from encoders.bundle_update import add_files
    from trainers.captioning import forget_run
    from trainers.captioning import train_decoder as fit
    from trainers.options import CaptioningOptions

    given = {name: value for name, value in request.recipe.items() if value is not None}
    options, bundle = CaptioningOptions(**given), ModelBundle.open(model)
    pairs, judged = (
        [training_pair(record, image_path(record)) for record in part] for part in (train, validation)
    )
    result = fit(pairs, judged, bundle, options, request.score, listener, provenance=provenance)
    if result.files:
        add_files(bundle, result.files, remove=request.outdated)
        if not result.interrupted:
            forget_run(bundle)
    return TrainedDecoder(
        result.best_epoch,
        result.epochs,
        result.interrupted,
        result.skipped,
        round(result.seconds, 1),
        result.scores,
    )


def is_first_process() -> bool:
    """Whether this process writes and reports; torchrun starts several, numbered by RANK."""
    return os.environ.get("RANK", "0") == "0"


def training_pair(record: CaptionedImage, image: Path) -> TrainingPair:
    """Return a record as the trainers know it."""
    from trainers.data import TrainingPair

    fields = {name: getattr(record, name) for name in ("modality", "view", "region", "category")}
    labels = [f"{name}={value}" for name, value in fields.items() if value]
    return TrainingPair(
        id=record.id,
        image=image,
        text=record.caption,
        group=record.group,
        labels=(*labels, *(f"finding={finding}" for finding in record.findings)),
        other_texts=tuple(text for text in record.captions if text != record.caption),
    )
