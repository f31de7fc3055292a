"""Contrastive training of both towers, from pairs to a model folder (CLIP, arXiv 2103.00020)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.bundle import check_replaceable
from encoders.dual import build_dual_encoder, build_tokenizer
from encoders.export import describe_model, save_bundle
from encoders.preprocessing import CaptionTokenizer
from trainers.batches import TrainingPair
from trainers.contrastive_run import ContrastiveRun
from trainers.errors import DataError, DivergedError
from trainers.journal import FILE_NAME
from trainers.listeners import SilentListener, TrainingListener
from trainers.options import ContrastiveOptions
from trainers.placement import choose_placement
from trainers.randomness import seed_torch
from trainers.validation import RetrievalRecall

MIN_PAIRS = 2


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came out of a run.

    Attributes:
        bundle_path: the model folder.
        best_epoch: the epoch it was taken from, from 1; 0 when no epoch was finished.
        validation: recall of the model on the validation pairs.
        interrupted: whether the run was stopped before its end.
        epochs: finished epochs.
        skipped: training images that could not be read.
        seconds: the run took, without the export.
    """

    bundle_path: Path
    best_epoch: int
    validation: RetrievalRecall
    interrupted: bool
    epochs: int
    skipped: int
    seconds: float


def train_encoders(
    train: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    out: Path,
    options: ContrastiveOptions,
    listener: TrainingListener | None = None,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> TrainingResult:
    """Train a dual encoder and write its model folder.

    The model is the one of the epoch with the highest mean recall on the validation pairs. KeyboardInterrupt,
    from Ctrl-C or from the listener, ends the run early with the best epoch so far.

    Args:
        train: pairs to learn from.
        validation: pairs each epoch is judged on; they should share no patient with ``train``.
        out: the model folder to write.
        options: everything else.
        listener: hears of every step and epoch.
        provenance: what is known of the corpus (name, caption style ...), for ``config.json``.

    Raises:
        DataError: there are too few pairs, or too few of their images can be read.
        DivergedError: the loss is no longer a number; the best epoch before, if any, was written all the
            same.
        OptionsError: the device is not there.
        encoders.errors.EncoderError: weights are missing, or ``out`` cannot be written.
    """
    _check_pairs(train, validation)
    check_replaceable(out, force=options.force)
    seed_torch(options.seed, "weights")
    captions = (text for pair in train for text in (pair.text, *pair.other_texts))
    tokenizer = build_tokenizer(
        options.preset, captions, from_scratch=options.from_scratch, offline=options.offline
    )
    model = build_dual_encoder(
        options.preset,
        vocab_size=tokenizer.vocab_size,
        image_weights=options.image_weights,
        text_weights=options.text_weights,
        from_scratch=options.from_scratch,
        offline=options.offline,
    )
    placement = choose_placement(options.device, options.precision)
    with ContrastiveRun(
        model,
        tokenizer,
        train,
        validation,
        options,
        placement,
        listener or SilentListener(),
        _work_folder(out),
    ) as run:
        try:
            interrupted = run.fit()
        except DivergedError as error:
            if run.best.weights is None:
                raise
            _write_model(run, tokenizer, out, _trained_on(run, provenance, interrupted=True))
            raise DivergedError(f"{error}; the model of epoch {run.best.epoch} is in {out}") from error
        _write_model(run, tokenizer, out, _trained_on(run, provenance, interrupted=interrupted))
        return _result(run, out, interrupted)


def _check_pairs(train: Sequence[TrainingPair], validation: Sequence[TrainingPair]) -> None:
    for name, pairs in (("training", train), ("validation", validation)):
        if len(pairs) < MIN_PAIRS:
            raise DataError(f"{len(pairs)} {name} pairs: at least {MIN_PAIRS} are needed to tell them apart")


def _work_folder(out: Path) -> Path:
    return out.with_name(f"{out.name}.training")


def _trained_on(
    run: ContrastiveRun, provenance: Mapping[str, Any] | None, *, interrupted: bool
) -> dict[str, Any]:
    return {**(provenance or {}), **run.summary(), "interrupted": interrupted}


def _write_model(
    run: ContrastiveRun, tokenizer: CaptionTokenizer, out: Path, trained_on: dict[str, Any]
) -> None:
    model, recall = run.best_model(), run.best_recall()
    run.journal.write("end", {**trained_on, "validation": recall.to_dict()})
    save_bundle(
        out,
        model,
        tokenizer,
        describe_model(
            model, tokenizer, run.options.preset, trained_on=trained_on, validation=recall.to_dict()
        ),
        extra={FILE_NAME: run.journal.content()},
        force=run.options.force,
    )
    run.clean_up()


def _result(run: ContrastiveRun, out: Path, interrupted: bool) -> TrainingResult:
    return TrainingResult(
        bundle_path=out,
        best_epoch=run.best.epoch,
        validation=run.best_recall(),
        interrupted=interrupted,
        epochs=run.epochs_done,
        skipped=run.skipped,
        seconds=run.pace.elapsed,
    )
