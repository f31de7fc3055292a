"""Trains a caption decoder on the grids of a frozen image tower; the epoch with the best CIDEr is kept."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from encoders.bundle import ModelBundle
from encoders.decoder_export import decoder_files, describe_decoder
from trainers.caption_evaluation import ScoreCaptions
from trainers.caption_features import grid_sides
from trainers.caption_task import CaptioningTask, PreparedData, prepare
from trainers.checkpoints import data_fingerprint, plain_options, read_checkpoint, refuse_interrupted_run
from trainers.data import PairSplits, TrainingPair
from trainers.device import choose_placement, memory_errors
from trainers.listeners import CaptionListener, SilentListener
from trainers.options import CaptioningOptions
from trainers.processes import joined_processes
from trainers.training_run import TrainingRun

# The encoders have files of their own by the plain names.
JOURNAL = "decoder-training.jsonl"


@dataclass(frozen=True, slots=True)
class CaptioningResult:
    """What came out of a decoder run."""

    # What belongs into the model folder, by name; empty in processes that do not write it, and when no epoch
    # was finished: the model then stays as it was.
    files: dict[str, bytes]
    best_epoch: int  # it was taken from, from 1; 0 when no epoch was finished
    scores: dict[str, float]  # of the best epoch's greedy captions on the validation images
    interrupted: bool  # whether the run was stopped before its end
    epochs: int  # finished epochs
    skipped: int  # images that could not be read
    seconds: float  # the run took, without the export


def train_decoder(
    train: Sequence[TrainingPair],
    validation: Sequence[TrainingPair],
    bundle: ModelBundle,
    options: CaptioningOptions,
    score: ScoreCaptions,
    listener: CaptionListener | None = None,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> CaptioningResult:
    """Train a decoder for the images of an encoder model.

    KeyboardInterrupt, from Ctrl-C or from the listener, ends the run early with the best epoch so far. Call
    `forget_run` once the files are where they belong.

    Args:
        train: pairs to learn from.
        validation: pairs each epoch is evaluated on; they should share no patient with ``train``.
        bundle: the encoder model; it is not changed.
        options: everything else.
        score: captions and their references to scores by name, ``cider`` among them.
        listener: hears of every step and epoch.
        provenance: what is known of the corpus, for ``decoder.json``.

    Raises:
        DataError: no training or no validation image can be read.
        DeviceMemoryError: the GPU's memory is too small.
        DivergedError: the loss is no longer a number.
        CheckpointError: there is no run to resume, or it was another one.
        OptionsError: the device is not there, or an interrupted run stands in the way.
        ModelError: the encoder is damaged or its image tower has no grid.
    """
    work, data = work_folder(bundle), f"{data_fingerprint(train, validation)} {bundle.fingerprint}"
    if options.resume:  # refused before the images are looked at, which takes long
        read_checkpoint(work, plain_options(options), data)
    refuse_interrupted_run(work, options)
    placement = choose_placement(options.device, options.precision)
    with (
        memory_errors("use a smaller width or batch size"),
        joined_processes(placement.device) as processes,
    ):
        listener_here = listener if listener and processes.is_first else SilentListener()
        splits = PairSplits(train, validation)
        prepared = prepare(splits, bundle, options, score, placement, listener_here, processes)
        task = CaptioningTask(prepared, options, placement, processes)
        run = TrainingRun(task, placement, work, data, listener=listener_here, processes=processes)
        interrupted = run.fit()
        known = {
            **(provenance or {}),
            "pairs": len(train),
            "groups": len({pair.group for pair in train}),
            "interrupted": interrupted,
        }
        return CaptioningResult(
            files=_files(run, prepared, bundle, known),
            best_epoch=run.task.best.epoch,
            scores=run.task.best.scores or {},
            interrupted=interrupted,
            epochs=run.progress.epochs,
            skipped=prepared.skipped,
            seconds=run.throughput.elapsed,
        )


def work_folder(bundle: ModelBundle) -> Path:
    """Where a run for this model keeps its journal and checkpoint until it is done."""
    return bundle.path.with_name(f"{bundle.path.name}.decoder-training")


def forget_run(bundle: ModelBundle) -> None:
    """Remove journal and checkpoint of a run whose decoder is in its model folder."""
    shutil.rmtree(work_folder(bundle), ignore_errors=True)


def _files(
    run: TrainingRun[CaptioningTask], prepared: PreparedData, bundle: ModelBundle, known: Mapping[str, Any]
) -> dict[str, bytes]:
    if not run.task.best.epoch or not run.processes.is_first:
        return {}
    decoder, spec = run.task.best_decoder(), bundle.config.image
    summary = {
        **known,
        **run.summary(),
        "options": plain_options(run.task.options),
    }
    scores = {"pool": run.task.validation_pairs, **(run.task.best.scores or {})}
    run.journal.write("end", {**known, "best_epoch": run.task.best.epoch, "validation": scores})
    config = describe_decoder(
        decoder,
        grid_sides(prepared.encoder, spec.size),
        run.task.options.max_tokens,
        trained_on=summary,
        validation=scores,
    )
    journal = run.journal.content()
    return decoder_files(decoder, prepared.encoder, prepared.codec, config, spec.size) | {JOURNAL: journal}
