"""Training: encoders and a decoder from a corpus, and the confidence of their captions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from medclip_cli.cleaning.corpus_builder import prepare_corpus
from medclip_cli.errors import CorpusError, UsageError
from medclip_cli.extras import require
from medclip_cli.progress import OnProgress, Progress, counted, log, no_progress

if TYPE_CHECKING:
    from typing import Unpack

    from medclip_cli.captioning.calibration import Calibration
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.records import CaptionedImage
    from trainers.data import TrainingPair
    from trainers.listeners import (
        CaptionEpoch,
        CaptionListener,
        EpochReport,
        RunListener,
        RunStart,
        StepReport,
    )

SHOWN_SKIPS = 10
DECODER_CURVES_FILE = "decoder-curves.png"  # the encoders have files of their own by the plain names
NO_CONFIDENCE = (
    "Answers come without confidence: too few val images have a modality, view or region to judge them by."
)


class ModelShape(TypedDict, total=False):
    """Fields of a preset that can be overridden; None keeps the preset's."""

    image_encoder: str | None
    text_encoder: str | None
    image_size: int | None
    image_widths: tuple[int, ...] | None
    image_blocks: tuple[int, ...] | None
    text_width: int | None
    text_layers: int | None
    embedding_dim: int | None
    projection: Literal["linear", "residual"] | None


class RunOptions(TypedDict, total=False):
    """What every training run can be told; None keeps the default."""

    epochs: int | None
    time_limit_minutes: float | None
    batch_size: int | None
    learning_rate: float | None
    schedule: Literal["cosine", "plateau"] | None
    weight_decay: float | None
    patience: int | None
    seed: int
    checkpoint_steps: int | None
    resume: bool
    force: bool
    device: Literal["auto", "cpu", "cuda"]
    precision: Literal["auto", "bf16", "fp32"] | None


class EncoderOptions(ModelShape, RunOptions, total=False):
    """Options of `train_encoders`: `trainers.options.ContrastiveOptions` says what each means."""

    from_scratch: bool
    image_weights: Path | None
    text_weights: Path | None
    offline: bool
    loss: Literal["infonce", "matched", "soft", "sigmoid"] | None
    freeze: Literal["none", "image", "text", "both"]
    image_learning_rate: float | None
    text_learning_rate: float | None
    ema: float | None
    label_agreement: float | None
    label_weight: float | None
    view_weight: float | None
    image_epochs: int | None
    accumulate: int
    cache_chunk: int | None


class DecoderOptions(RunOptions, total=False):
    """Options of `train_decoder`: `trainers.options.CaptioningOptions` says what each means."""

    decoder: Literal["lstm", "transformer"]
    retrieve: int
    retrieved_tokens: int | None
    width: int | None
    layers: int | None
    max_tokens: int | None
    dropout: float | None
    label_smoothing: float | None
    views: int | None


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
        validation: recall in both directions, with the size of the pool.
        calibration: of its caption methods; None when it was not measured.
    """

    path: Path
    fingerprint: str
    best_epoch: int
    epochs: int
    interrupted: bool
    skipped: int
    seconds: float
    validation: Mapping[str, Any]
    calibration: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values, without the calibration, which the model folder has."""
        values = {**asdict(self), "path": str(self.path)}
        del values["calibration"]
        return values


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
        captioning: the model's calibration, measured anew; None when the model stayed as it was.
    """

    best_epoch: int
    epochs: int
    interrupted: bool
    skipped: int
    seconds: float
    scores: dict[str, float]
    captioning: Calibration | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {**asdict(self), "captioning": self.captioning and self.captioning.to_dict()}


def train_encoders(
    corpus: Corpus | Path | str,
    out: Path | str,
    *,
    preset: str = "tiny",
    augmentation: float | None = None,
    confidence: bool = True,
    tensorboard: Path | None = None,
    listener: RunListener[EpochReport] | None = None,
    on_progress: OnProgress = no_progress,
    **options: Unpack[EncoderOptions],
) -> TrainedModel:
    """Train an image and a text encoder, and write the model folder.

    Ctrl-C keeps the best epoch so far, and a checkpoint: the same call with ``resume=True`` goes on. Under
    torchrun every process calls this, and the first one writes.

    Args:
        corpus: with train and val splits, or its folder, or a folder of images with captions.
        out: the model folder to make.
        preset: name of the preset.
        augmentation: strength, 1 being the usual one, 0 none; None leaves it to the preset.
        confidence: whether the caption methods of the new model are measured, see `train_confidence`.
        tensorboard: folder for TensorBoard's event files.
        listener: hears of the run; None reports it to ``on_progress`` and the log.
        on_progress: hears how far the work is.
        **options: fields of `EncoderOptions`.

    Raises:
        UsageError: an option is out of range, or no preset or tower has this name.
        CorpusError: the corpus cannot be read.
        ModelError: training failed, or the folder cannot be written.
    """
    require("train", "medclip train")
    if tensorboard is not None:
        require("tensorboard", "tensorboard")
    opened, out = prepare_corpus(corpus, on_progress=on_progress), Path(out)
    _announce(opened)
    from encoders.presets import preset_named
    from medclip_cli.pages.charts import training_curves
    from trainers.augmentation import Augmentation
    from trainers.contrastive import train_encoders as fit
    from trainers.options import options_for

    given: dict[str, Any] = dict(options)
    shape = {name: given.pop(name) for name in ModelShape.__annotations__ if name in given}
    strength = None if augmentation is None else Augmentation().times(augmentation)
    recipe = options_for(preset_named(preset, **shape), **given, augmentation=strength)
    reported: RunListener[EpochReport] = listener or RunReporter(on_progress)
    if tensorboard is not None and is_first_process():
        from trainers.listeners import TensorBoardListener

        reported = TensorBoardListener(tensorboard, reported)
    train, validation = _pairs(opened, "train"), _pairs(opened, "val")
    result = fit(
        *(train, validation, out, recipe, reported),
        provenance=_provenance(opened),
        draw_curves=training_curves,
    )
    calibration = None
    if confidence and is_first_process() and not result.interrupted:
        calibration = _measure_new_model(opened, out, on_progress)
    return TrainedModel(
        path=out,
        fingerprint=result.fingerprint,
        best_epoch=result.best_epoch,
        epochs=result.epochs,
        interrupted=result.interrupted,
        skipped=result.skipped,
        seconds=round(result.seconds, 1),
        validation=result.validation.to_dict(),
        calibration=calibration,
    )


def train_decoder(
    corpus: Corpus | Path | str,
    model: Path | str,
    *,
    listener: CaptionListener | None = None,
    on_progress: OnProgress = no_progress,
    **options: Unpack[DecoderOptions],
) -> TrainedDecoder:
    """Train a caption decoder, put it into the model folder, and measure the caption methods anew.

    The image tower stays as it is, and so do collections made with the model. Ctrl-C as in `train_encoders`.

    Args:
        corpus: that the model was trained on, or its folder.
        model: the folder of the encoders.
        listener: hears of the run; None reports it to ``on_progress`` and the log.
        on_progress: hears how far the work is.
        **options: fields of `DecoderOptions`.

    Raises:
        UsageError: an option is out of range, or a split of the corpus is empty.
        CorpusError: the corpus cannot be read.
        ModelError: training failed, or the folder cannot be read or written.
    """
    require("train", "medclip train")
    opened, model = prepare_corpus(corpus, on_progress=on_progress), Path(model)
    if not opened.split("train") or not opened.split("val"):
        raise UsageError(f"{opened.path} needs images in its train and val splits to train a decoder")
    _announce(opened)
    from encoders.bundle import ModelBundle, add_files
    from medclip_cli.captioning.calibration import FILE_NAME as CALIBRATION_FILE
    from medclip_cli.pages.charts import training_curves
    from medclip_cli.scoring.captions import score_captions
    from trainers.captioning import JOURNAL, forget_run
    from trainers.captioning import train_decoder as fit
    from trainers.options import CaptioningOptions

    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    recipe, bundle = CaptioningOptions(**given), ModelBundle.open(model)
    result = fit(
        _pairs(opened, "train"),
        _pairs(opened, "val"),
        bundle,
        recipe,
        lambda captions, references: score_captions(captions, references).corpus,
        listener or RunReporter(on_progress),
        provenance=_provenance(opened),
    )
    captioning = None
    if result.files:
        # What was measured of the decoder before is no longer true.
        curves = {DECODER_CURVES_FILE: training_curves(result.files[JOURNAL])}
        add_files(bundle, result.files | curves, remove=(CALIBRATION_FILE,))
        if not result.interrupted:
            forget_run(bundle)
        captioning = train_confidence(opened, model, on_progress=on_progress)
    return TrainedDecoder(
        result.best_epoch,
        result.epochs,
        result.interrupted,
        result.skipped,
        round(result.seconds, 1),
        result.scores,
        captioning,
    )


def train_confidence(
    corpus: Corpus | Path | str, model: Path | str, *, on_progress: OnProgress = no_progress
) -> Calibration:
    """Measure on the val split which caption method wins and how often its answers are right.

    The model folder keeps it, in ``captioning.json`` and in its card.

    Raises:
        CorpusError: the corpus lacks readable training or validation images.
        ModelError: the model cannot be read or written.
    """
    from medclip_cli.captioning.calibrate import CARD_FILE, calibrate, with_captions
    from medclip_cli.captioning.calibration import FILE_NAME as CALIBRATION_FILE
    from medclip_cli.models import load_model

    opened = load_model(Path(model), for_many=True)
    measured = calibrate(prepare_corpus(corpus, on_progress=on_progress), opened, on_progress)
    card = with_captions(opened.read_addition(CARD_FILE) or "", measured)
    opened.add_files(
        {
            CALIBRATION_FILE: measured.to_json().encode("utf-8"),
            CARD_FILE: card.encode("utf-8"),
        }
    )
    return measured


def _measure_new_model(corpus: Corpus, model: Path, on_progress: OnProgress) -> Calibration | None:
    """Measure a model just written; without val images of other cases there is nothing to measure."""
    try:
        measured = train_confidence(corpus, model, on_progress=on_progress)
    except CorpusError as error:
        log.info("Nothing is known of the model's confidence: %s.", error)
        return None
    best = measured.methods[measured.best_method].scores["cider"]
    log.info(
        "%s Of the caption methods %s had the best CIDEr on the val images, %.3f: medclip caption uses it.",
        "Confidence is measured." if measured.knows_confidence else NO_CONFIDENCE,
        measured.best_method,
        best,
    )
    return measured


class RunReporter:
    """A listener of encoders and decoders alike: steps to ``on_progress``, everything else to the log."""

    def __init__(self, on_progress: OnProgress = no_progress) -> None:
        self.on_progress = on_progress
        self._epochs = self._skipped = self._embedded = 0

    def on_features(self, images: int, total: int) -> None:
        """Report what a frozen image tower embedded before the run begins."""
        self._embedded += images
        self.on_progress(Progress("Embedding", self._embedded, total))

    def on_start(self, start: RunStart) -> None:
        """Log what will be trained on what."""
        self._epochs = start.epochs
        log.info(
            f"Training {start.parameters / 1e6:.1f} M parameters on {counted(start.train_pairs, 'pair')} "
            f"({start.device}, {start.precision}): {counted(start.epochs, 'epoch')}, "
            f"{counted(start.total_steps, 'step')}; "
            f"each epoch is evaluated on {counted(start.validation_pairs, 'validation pair')}"
        )

    def on_step(self, report: StepReport) -> None:
        """Report the step."""
        self.on_progress(Progress("Training", report.step, report.total_steps, unit="steps"))

    def on_epoch(self, report: EpochReport | CaptionEpoch) -> None:
        """Log one line."""
        log.info(
            f"epoch {report.epoch}/{self._epochs}: loss {report.loss:.3f}, {report.summary()}, "
            f"{report.images_per_second:.0f} images/s, {report.waiting_share:.1%} waiting for data"
            f"{', best so far' if report.is_best else ''}"
        )

    def on_skip(self, pair_id: str, image: Path, reason: str) -> None:
        """Name an image that cannot be read; after some, only count."""
        self._skipped += 1
        if self._skipped <= SHOWN_SKIPS:
            log.warning(f"{image}: {reason}; {pair_id} is left out")
        elif self._skipped == SHOWN_SKIPS + 1:
            log.warning("more images cannot be read; they are counted only")

    def on_note(self, message: str) -> None:
        """Log it."""
        log.info(message)


def is_first_process() -> bool:
    """Whether this process writes and reports; torchrun starts several, numbered by RANK."""
    return os.environ.get("RANK", "0") == "0"


def training_pair(record: CaptionedImage, image: Path) -> TrainingPair:
    """A record as the trainers know it."""
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


def _pairs(corpus: Corpus, split: Literal["train", "val"]) -> list[TrainingPair]:
    return [training_pair(record, corpus.image_path(record)) for record in corpus.split(split)]


def _announce(corpus: Corpus) -> None:
    if is_first_process():
        log.info(f"{corpus.name}: {counted(len(corpus.split('train')), 'training pair')}; loading torch ...")


def _provenance(corpus: Corpus) -> dict[str, str]:
    return {"corpus": corpus.name, "caption_style": corpus.caption_style}
