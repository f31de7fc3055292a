"""`medclip train decoder`: teaches a model to write captions of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.commands import train_confidence
from medclip_cli.commands import train_options as asked
from medclip_cli.commands.options import Debug, JsonOutput, Quiet, Verbose
from medclip_cli.errors import INTERRUPTED, SOME_FAILED, UsageError
from medclip_cli.terminal import console, json_output

if TYPE_CHECKING:
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.training import TrainedDecoder

EXAMPLE = "Example: medclip train decoder work/medpix --model work/model --decoder transformer --retrieve 3"

_decoder, _recipe, _machine = asked.panel("Decoder"), asked.panel("Recipe"), asked.panel("Machine")


def decoder(
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", help="The corpus or folder the model was trained on.")
    ],
    model: Annotated[Path, typer.Option("--model", "-m", help="The model folder to add the decoder to.")],
    kind: Annotated[
        Literal["lstm", "transformer"], _decoder("lstm: show, attend and tell.", "--decoder")
    ] = "transformer",
    retrieve: Annotated[
        int, _decoder("Let the transformer also read the captions of this many neighbours.", min=0, max=20)
    ] = 0,
    width: Annotated[int | None, _decoder("Of its layers, a multiple of 32. [default: 128]")] = None,
    layers: Annotated[int | None, _decoder("Of the transformer. [default: 2]")] = None,
    max_tokens: Annotated[int | None, _decoder("Longest caption it learns to write. [default: 128]")] = None,
    epochs: Annotated[int | None, _recipe("Passes over the training captions. [default: 20]")] = None,
    minutes: asked.Minutes = None,
    batch_size: Annotated[int | None, _recipe("Captions in a step. [default: 64]")] = None,
    learning_rate: Annotated[float | None, _recipe("Peak learning rate. [default: 0.002]")] = None,
    schedule: Annotated[
        Literal["cosine", "plateau"],
        _recipe(
            "cosine: the learning rate comes down over the run; plateau: it is halved when two epochs "
            "brought no better CIDEr."
        ),
    ] = "cosine",
    patience: Annotated[
        int | None, _recipe("Stop after so many epochs without a better CIDEr. [default: never]")
    ] = None,
    dropout: Annotated[
        float | None,
        _recipe("Share of the decoder's values left out at random in training. [default: 0.2]"),
    ] = None,
    seed: Annotated[int, _recipe("The same seed gives the same decoder on a CPU.")] = 0,
    resume: asked.Resume = False,
    force: Annotated[bool, _machine("Start anew where an interrupted run stands.", "--force")] = False,
    checkpoint_steps: asked.CheckpointSteps = None,
    device: asked.Device = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "fp32"] | None,
        _machine("Number format of tower and decoder; auto is bf16 where the hardware has it."),
    ] = None,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Train a caption decoder onto a model; it replaces the decoder the model has.

    The image tower stays as it is, and so do collections made with the model. The decoder is that of the
    epoch with the best CIDEr on the corpus's val split; then the model's confidence is measured anew.
    Neighbours of an image's own patient or case are never read. Ctrl-C keeps the best so far, and --resume
    goes on. On several GPUs: torchrun --nproc-per-node N -m medclip_cli train decoder ...
    """
    from medclip_cli import training
    from medclip_cli.captioning.calibration import FILE_NAME as CALIBRATION
    from medclip_cli.cleaning.corpus_builder import prepare_corpus
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.scoring.captions import score_captions
    from medclip_cli.settings import load_settings
    from medclip_cli.terminal.training_progress import show_decoder_training
    from medclip_cli.training import DecoderRequest, train_decoder

    if not training.is_first_process():
        console.verbosity.quiet = True
    opened = Corpus.open(prepare_corpus(corpus, load_settings().home))
    train, judged = opened.split("train"), opened.split("val")
    if not train or not judged:
        raise UsageError(f"{corpus} needs images in its train and val splits to train a decoder")
    console.note(f"{opened.name}: {len(train):,} training pairs; loading torch ...")
    recipe: dict[str, object] = {
        "decoder": kind,
        "retrieve": retrieve,
        "width": width,
        "layers": layers,
        "max_tokens": max_tokens,
        "epochs": epochs,
        "time_limit_minutes": minutes,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "patience": patience,
        "dropout": dropout,
        "seed": seed,
        "resume": resume,
        "force": force,
        "checkpoint_steps": checkpoint_steps,
        "device": device,
        "precision": precision,
    }
    request = DecoderRequest(
        recipe, lambda captions, references: score_captions(captions, references).corpus, (CALIBRATION,)
    )
    with show_decoder_training() as listener:
        trained = train_decoder(
            train, judged, opened.image_path, model, request, listener,
            provenance={"corpus": opened.name, "caption_style": opened.caption_style},
        )  # fmt: skip
    if training.is_first_process():
        _measure_and_show(opened, model, trained, as_json=as_json)
    if trained.interrupted:
        console.note("The same command with --resume goes on where it stopped.")
        raise typer.Exit(INTERRUPTED)
    if trained.skipped:
        raise typer.Exit(SOME_FAILED)


def _measure_and_show(opened: Corpus, model: Path, trained: TrainedDecoder, *, as_json: bool) -> None:
    """Measure the methods of a model with a new decoder, and show what came out."""
    from dataclasses import asdict

    measured = train_confidence.measure(opened, model) if trained.best_epoch else None
    if as_json:
        captioning = measured and train_confidence.as_json_object(measured)
        json_output.write({**asdict(trained), "captioning": captioning})
    elif measured:
        train_confidence.show(measured)
    if measured:
        console.note(f"Decoder of epoch {trained.best_epoch}. Next: medclip caption IMAGE --method generate")
