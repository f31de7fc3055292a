"""What training an encoder costs beside the arithmetic: waiting for data, starting, and a plain loop's speed.

Scans and captions are drawn. The aim of 8 x a plain loop is one for a GPU; on a CPU the ratio is printed and
not judged, since there arithmetic is nearly all there is.

    python -m benchmarks.bench_training [--device auto] [--steps N] [--only waiting|starting|speed]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from benchmarks import seed_loop
from benchmarks.drawn_base import draw_scans
from benchmarks.timing import Row, record
from encoders.dual import build_dual_encoder, build_tokenizer
from encoders.presets import preset_named
from medclip_cli.corpora.corpus_folder import write_corpus
from medclip_cli.records import CaptionedImage
from trainers.contrastive_task import ContrastiveTask
from trainers.data import PairSplits, TrainingPair
from trainers.device import Placement, choose_placement, tuned_convolutions
from trainers.listeners import EpochReport, SilentListener, StepReport
from trainers.options import options_for
from trainers.processes import Processes
from trainers.training_run import TrainingRun

MEDCLIP = str(Path(sys.executable).with_name("medclip"))
SCANS, JUDGED = 512, 64
EPOCHS = 5
ON_GPU = (64, 256)  # the preset's batch, and one that is worth a GPU's while
STARTS = 5
PLACES = ("chest", "abdomen", "pelvis", "left knee", "right knee", "brain", "neck", "lumbar spine")


def main() -> None:
    """Record the claims."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    arguments.add_argument(
        "--steps", type=int, help="of the loops that are compared; default: 60, on a CPU 3"
    )
    arguments.add_argument("--only", choices=("waiting", "starting", "speed"))
    given = arguments.parse_args()
    placement = choose_placement(given.device, "auto")
    with tempfile.TemporaryDirectory() as folder:
        records = draw_records(Path(folder))
        pairs = [TrainingPair(row.id, Path(folder) / row.image, row.caption, row.group) for row in records]
        if given.only in (None, "waiting"):
            record(waiting(pairs, placement, Path(folder)))
        if given.only in (None, "starting"):
            record(starting(records, Path(folder)))
        if given.only in (None, "speed"):
            speed(pairs, placement, given.steps, Path(folder))


def draw_records(folder: Path) -> list[CaptionedImage]:
    """Draw scans, and captions of the length that the seed's template gives."""
    scans = draw_scans(folder / "scans", SCANS + JUDGED)
    captions = [
        f"a Axial plane CT scan of {PLACES[number % 8]} on a {20 + number % 60} year old patient depicting "
        f"finding number {number // 8}, of {number % 5} centimetres, without any further abnormality seen."
        for number in range(len(scans))
    ]
    return [
        CaptionedImage(
            id=f"drawn/{number}",
            image=str(scan.relative_to(folder)),
            caption=caption,
            captions=(caption,),
            modality="CT",
            group=f"case {number}",
            split="train" if number < SCANS else "val",
            source="drawn",
            licence="CC0",
        )
        for number, (scan, caption) in enumerate(zip(scans, captions, strict=True))
    ]


class Timekeeper(SilentListener):
    """Notes when each step ended and what each epoch waited, and stops the run after enough steps."""

    def __init__(self, steps: int | None = None) -> None:
        """Stop after so many steps; None lets the run end by itself."""
        self.ends: list[float] = []
        self.epochs: list[EpochReport] = []
        self._steps = steps

    def on_step(self, report: StepReport) -> None:
        """Note the time."""
        self.ends.append(time.perf_counter())
        if report.step == self._steps:
            raise KeyboardInterrupt

    def on_epoch(self, report: object) -> None:
        """Keep the report."""
        assert isinstance(report, EpochReport)
        self.epochs.append(report)


def waiting(pairs: Sequence[TrainingPair], placement: Placement, folder: Path) -> Row:
    """Share of the time of a step in which the model waits for its batch; the first epoch decodes."""
    listener = Timekeeper()
    train("tiny", pairs, placement, folder, listener, epochs=EPOCHS)
    share = listener.epochs[-1].waiting_share
    return Row(
        f"waiting for data, preset tiny, {EPOCHS} epochs of {SCANS} drawn scans, decoding included",
        against="the time of a step",
        value=100 * share,
        aim=5,
        unit="%",
        ours=f"{listener.epochs[-1].images_per_second:.0f} images/s on {placement.device}",
    )


def starting(records: Sequence[CaptionedImage], folder: Path) -> Row:
    """Seconds from the start of `medclip train encoders` to its line about the run, over importing torch."""
    corpus = folder / "corpus"
    write_corpus(
        corpus,
        name="drawn",
        image_root=folder,
        caption_style="drawn",
        records=records,
        rejected=(),
        report={},
    )
    command = [MEDCLIP, "train", "encoders", str(corpus), "--preset", "tiny", "--from-scratch"]
    command += ["--out", str(folder / "model"), "--force"]
    import_torch = [sys.executable, "-c", "import torch; print('Training', flush=True)"]
    ours, theirs = [], []
    for run in range(STARTS + 1):
        found = seconds_to_line(command, "Training"), seconds_to_line(import_torch, "Training")
        if run:
            ours.append(found[0])
            theirs.append(found[1])
    ours_median, theirs_median = statistics.median(ours), statistics.median(theirs)
    return Row(
        "first line about the run of medclip train encoders",
        against="importing torch",
        value=ours_median - theirs_median,
        aim=3,
        unit="s later",
        ours=f"{ours_median:.3g} s [{min(ours):.3g}..{max(ours):.3g}]",
        theirs=f"{theirs_median:.3g} s [{min(theirs):.3g}..{max(theirs):.3g}]",
    )


def seconds_to_line(command: Sequence[str], start: str) -> float:
    """Run a command until it prints a line that starts so, then stop it."""
    began = time.perf_counter()
    env = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
    ) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith(start):
                seconds = time.perf_counter() - began
                running.kill()
                return seconds
    raise SystemExit(f"{' '.join(command)} ended without a line that starts with {start!r}")


def speed(pairs: Sequence[TrainingPair], placement: Placement, steps: int | None, folder: Path) -> None:
    """Images/s of preset base, from scratch, beside the seed's loop on the same device."""
    on_gpu = placement.device.type == "cuda"
    steps = steps or (60 if on_gpu else 3)
    theirs = seed_loop.images_per_second(pairs, placement.device, steps)
    for batch in ON_GPU if on_gpu else (seed_loop.BATCH_SIZE,):
        row = _faster(batch, steps, theirs, pairs, placement, folder)
        if on_gpu:
            record(row)
        else:
            sides = f"{row.ours} / {row.theirs} = {row.found}"
            print(f"{row.what} / {row.against}: {sides} (the aim of 8 is for a GPU)")


def _faster(
    batch: int,
    steps: int,
    theirs: float,
    pairs: Sequence[TrainingPair],
    placement: Placement,
    folder: Path,
) -> Row:
    # On a GPU the first epoch, which decodes, is not counted: a run has dozens.
    first = SCANS // batch if placement.device.type == "cuda" else 1
    listener = Timekeeper(first + steps)
    train(
        "base",
        pairs,
        placement,
        folder,
        listener,
        epochs=1 + (first + steps) * batch // SCANS,
        batch_size=batch,
    )
    ends = listener.ends[first - 1 :]
    ours = batch * (len(ends) - 1) / (ends[-1] - ends[0])
    return Row(
        f"images/s of preset base from scratch, {placement.precision}, batch {batch}, on {placement.device}",
        against="the seed's loop: float32, batch 12, two workers",
        value=ours / theirs,
        aim=8,
        at_least=True,
        ours=f"{ours:.3g} images/s",
        theirs=f"{theirs:.3g} images/s",
    )


def train(
    name: str,
    pairs: Sequence[TrainingPair],
    placement: Placement,
    folder: Path,
    listener: Timekeeper,
    **given: int,
) -> None:
    """Run the loop of `medclip train encoders`, without the export."""
    options = options_for(preset_named(name), from_scratch=True, offline=True, **given)
    tokenizer = build_tokenizer(
        options.preset, [pair.text for pair in pairs], from_scratch=True, offline=True
    )
    model = build_dual_encoder(
        options.preset, vocab_size=tokenizer.vocab_size, from_scratch=True, offline=True
    )
    options = replace(options, checkpoint_steps=10**9)
    splits = PairSplits(pairs[:SCANS], pairs[SCANS:])
    task = ContrastiveTask(model, tokenizer, splits, options, placement, listener, Processes())
    with tuned_convolutions(), closing(task):
        work = folder / f"{name}.training"
        TrainingRun(task, placement, work, "", listener=listener, processes=Processes()).fit()


if __name__ == "__main__":
    main()
