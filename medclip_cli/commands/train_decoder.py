"""`medclip train decoder`: teaches a model to write captions of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from medclip_cli.commands import options as opt
from medclip_cli.commands import train_confidence
from medclip_cli.commands import train_options as options
from medclip_cli.terminal import console, json_output

EXAMPLE = "Example: medclip train decoder work/medpix --model work/model --decoder transformer --retrieve 3"

_decoder, _recipe, _machine = options.panel("Decoder"), options.panel("Recipe"), options.panel("Machine")


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
    width: Annotated[int | None, _decoder("Width of its layers, a multiple of 32. [default: 128]")] = None,
    layers: Annotated[int | None, _decoder("Layers of the transformer. [default: 2]")] = None,
    max_tokens: Annotated[int | None, _decoder("Longest caption it learns to write. [default: 128]")] = None,
    epochs: Annotated[int | None, _recipe("Passes over the training captions. [default: 20]")] = None,
    minutes: options.Minutes = None,
    batch_size: Annotated[int | None, _recipe("Captions per step. [default: 64]")] = None,
    learning_rate: Annotated[float | None, _recipe("Peak learning rate. [default: 0.002]")] = None,
    schedule: Annotated[
        Literal["cosine", "plateau"],
        _recipe(
            "Learning-rate schedule: cosine falls over the run; plateau halves the rate after two epochs "
            "without a better CIDEr."
        ),
    ] = "cosine",
    patience: Annotated[
        int | None, _recipe("Stop after so many epochs without a better CIDEr. [default: never]")
    ] = None,
    dropout: Annotated[
        float | None,
        _recipe("Dropout rate of the decoder. [default: 0.2]"),
    ] = None,
    seed: Annotated[int, _recipe("The same seed gives the same decoder on a CPU.")] = 0,
    resume: options.Resume = False,
    force: Annotated[bool, _machine("Start anew where an interrupted run stands.", "--force")] = False,
    checkpoint_steps: options.CheckpointSteps = None,
    device: options.Device = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "fp32"] | None,
        _machine("Number format of tower and decoder; auto is bf16 where the hardware has it."),
    ] = None,
    as_json: opt.JsonOutput = False,
) -> None:
    """Train a caption decoder onto a model; it replaces the decoder the model has.

    The image tower stays as it is, and so do collections made with the model. The decoder is that of the
    epoch with the best CIDEr on the corpus's val split; then the model's confidence is measured anew.
    Neighbours of an image's own patient or case are never read. Ctrl-C keeps the best so far, and --resume
    goes on. On several GPUs: torchrun --nproc-per-node N -m medclip_cli train decoder ...
    """
    from medclip_cli import training
    from medclip_cli.terminal.training_progress import show_training

    is_first = training.is_first_process()
    console.verbosity.quiet = console.verbosity.quiet or not is_first
    with show_training() as listener:
        trained = training.train_decoder(
            corpus, model, listener=listener, on_progress=listener.on_progress,
            decoder=kind, retrieve=retrieve, width=width, layers=layers,
            max_tokens=max_tokens, epochs=epochs, time_limit_minutes=minutes, batch_size=batch_size,
            learning_rate=learning_rate, schedule=schedule, patience=patience, dropout=dropout, seed=seed,
            resume=resume, force=force, checkpoint_steps=checkpoint_steps, device=device, precision=precision,
        )  # fmt: skip
    if is_first:
        if as_json:
            json_output.write(trained.to_dict())
        elif trained.captioning:
            train_confidence.show(trained.captioning)
        if trained.captioning:
            console.note(
                f"Decoder of epoch {trained.best_epoch}. Next: medclip caption IMAGE --method generate"
            )
    options.exit_after(interrupted=trained.interrupted, skipped=trained.skipped)
