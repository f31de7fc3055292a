"""Contrastive training of both towers, from pairs to a model folder (CLIP, arXiv 2103.00020)."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.bundle import check_replaceable
from encoders.dual import DualEncoder, build_dual_encoder, build_tokenizer
from encoders.errors import DataError, DivergedError, OptionsError
from encoders.export import describe_model, save_bundle
from encoders.preprocessing import CaptionTokenizer
from encoders.retrieval import RetrievalRecall
from trainers.checkpoints import JOURNAL_FILE, data_fingerprint, plain_options, refuse_interrupted_run
from trainers.contrastive_task import MIN_PAIRS, ContrastiveTask
from trainers.data import PairSplits, TrainingPair
from trainers.device import choose_placement, memory_errors, tuned_convolutions
from trainers.listeners import SilentListener, TrainingListener
from trainers.model_card import CARD_FILE, write_card
from trainers.options import ContrastiveOptions
from trainers.processes import Processes, joined_processes
from trainers.randomness import seed_torch
from trainers.training_run import TrainingRun

CURVES_FILE = "curves.png"
_LESS_MEMORY = "use a smaller image size or batch size"


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What came out of a run."""

    bundle_path: Path  # the model folder
    fingerprint: str  # of the model; empty in processes that did not write it
    best_epoch: int  # the epoch it was taken from, from 1; 0 when no epoch was finished
    validation: RetrievalRecall  # recall of the model on the validation pairs
    interrupted: bool  # whether the run was stopped before its end
    epochs: int  # finished epochs
    skipped: int  # training images that could not be read
    seconds: float  # the run took, without the export


def train_encoders(
    train: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    out: Path,
    options: ContrastiveOptions,
    listener: TrainingListener | None = None,
    *,
    provenance: Mapping[str, Any] | None = None,
    draw_curves: Callable[[bytes], bytes] | None = None,
) -> TrainingResult:
    """Train a dual encoder and write its model folder.

    The model is the one of the epoch with the highest mean recall on the validation pairs. KeyboardInterrupt,
    from Ctrl-C or from the listener, ends the run early with the best epoch so far.

    Args:
        train: pairs to learn from.
        validation: pairs each epoch is evaluated on; they should share no patient with ``train``.
        out: the model folder to write.
        options: everything else.
        listener: hears of every step and epoch.
        provenance: what is known of the corpus (name, caption style ...), for ``config.json``.
        draw_curves: draws the journal as a PNG, for the model folder; None leaves the picture out.

    Raises:
        DeviceMemoryError: the GPU's memory is too small.
        DataError: there are too few pairs, or too few of their images can be read.
        DivergedError: the loss is no longer a number; the best epoch before, if any, was written all the
            same.
        OptionsError: the device is not there.
        ModelError: weights are missing, or ``out`` cannot be written.
    """
    _check_pairs(train, validation)
    refuse_interrupted_run(work_folder(out), options)
    check_replaceable(out, force=options.force or options.resume)
    placement = choose_placement(options.device, options.precision)
    with (
        memory_errors(_LESS_MEMORY),
        tuned_convolutions(),
        joined_processes(placement.device) as processes,
    ):
        _check_shares(options, processes)
        tokenizer, model = _build_model(train, options)
        listener_here = listener if listener and processes.is_first else SilentListener()
        splits = PairSplits(train, validation)
        task = ContrastiveTask(model, tokenizer, splits, options, placement, listener_here, processes)
        with closing(task):
            data = data_fingerprint(train, validation)
            run = TrainingRun(
                task, placement, work_folder(out), data, listener=listener_here, processes=processes
            )
            return _run_and_write(run, tokenizer, out, dict(provenance or {}), draw_curves)


def _build_model(
    train: Sequence[TrainingPair], options: ContrastiveOptions
) -> tuple[CaptionTokenizer, DualEncoder]:
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
    return tokenizer, model


def _run_and_write(
    run: TrainingRun[ContrastiveTask],
    tokenizer: CaptionTokenizer,
    out: Path,
    provenance: dict[str, Any],
    draw_curves: Callable[[bytes], bytes] | None,
) -> TrainingResult:
    task, diverged, interrupted = run.task, None, True
    try:
        interrupted = run.fit()
    except DivergedError as error:
        if not task.best.epoch:
            raise
        diverged = error
    trained_on = {
        **provenance,
        "pairs": task.train_pairs,
        "groups": len({pair.group for pair in task.pairs}),
        "skipped": task.skipped,
        "loss": task.options.loss,
        "batch_size": task.options.batch_size,
        "seed": task.options.seed,
        **run.summary(),
        "interrupted": interrupted,
    }
    fingerprint = _write_model(run, tokenizer, out, trained_on, draw_curves)
    if diverged is not None:
        raise DivergedError(f"{diverged}; the model of epoch {task.best.epoch} is in {out}") from diverged
    if run.processes.is_first and not interrupted:
        shutil.rmtree(work_folder(out), ignore_errors=True)
    return TrainingResult(
        bundle_path=out,
        fingerprint=fingerprint,
        best_epoch=run.task.best.epoch,
        validation=run.task.best_recall(),
        interrupted=interrupted,
        epochs=run.progress.epochs,
        skipped=run.task.skipped,
        seconds=run.throughput.elapsed,
    )


def _check_pairs(train: Sequence[TrainingPair], validation: Sequence[TrainingPair]) -> None:
    for name, pairs in (("training", train), ("validation", validation)):
        if len(pairs) < MIN_PAIRS:
            raise DataError(f"{len(pairs)} {name} pairs: at least {MIN_PAIRS} are needed to tell them apart")


def _check_shares(options: ContrastiveOptions, processes: Processes) -> None:
    if options.batch_size < 2 * processes.world:
        raise OptionsError(
            f"batch_size is {options.batch_size}: {processes.world} processes need at least two pairs each"
        )


def work_folder(out: Path) -> Path:
    """Where the run of a model folder keeps its journal and checkpoint until it is done."""
    return out.with_name(f"{out.name}.training")


def _write_model(
    run: TrainingRun[ContrastiveTask],
    tokenizer: CaptionTokenizer,
    out: Path,
    trained_on: dict[str, Any],
    draw_curves: Callable[[bytes], bytes] | None,
) -> str:
    recall, preset = run.task.best_recall(), run.task.options.preset
    if not run.processes.is_first:
        return ""
    model, scores = run.task.best_model(), recall.to_dict()
    run.journal.write("end", {**trained_on, "validation": scores})
    config = describe_model(model, tokenizer, preset, trained_on=trained_on, validation=scores)
    journal = run.journal.content()
    card = write_card(config, plain_options(run.task.options))
    extra = {JOURNAL_FILE: journal, CARD_FILE: card.encode()}
    if draw_curves is not None:
        extra[CURVES_FILE] = draw_curves(journal)
    force = run.task.options.force or run.task.options.resume
    return save_bundle(out, model, tokenizer, config, extra=extra, force=force).fingerprint
