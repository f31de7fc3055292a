"""`medclip train`: a corpus to a model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer

from medclip_cli.commands import train_confidence, train_decoder
from medclip_cli.commands.options import Debug, Force, JsonOutput, Quiet, Verbose
from medclip_cli.rendering import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.engines import TrainedModel

EXAMPLE = "Example: medclip train encoders work/medpix --preset tiny --from-scratch --out work/model"
SOME_FAILED = 3
INTERRUPTED = 130
_MODEL = "Model"
_RECIPE = "Recipe"
_MACHINE = "Machine"

app = typer.Typer(no_args_is_help=True, help="Train a model on a corpus.")


@app.callback()
def train() -> None:
    """Train a model on a corpus."""


@app.command(epilog=EXAMPLE)
def encoders(
    corpus: Annotated[Path, typer.Argument(metavar="CORPUS", help="A corpus folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to make.")],
    preset: Annotated[
        str, typer.Option(help="tiny (a CPU will do), base or seed.", rich_help_panel=_MODEL)
    ] = "tiny",
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Use no pretrained weights.", rich_help_panel=_MODEL)
    ] = False,
    image_encoder: Annotated[
        Optional[str],  # noqa: UP045 - typer reads it at run time on Python 3.10
        typer.Option(
            help="Another image tower: any torchvision classification model.", rich_help_panel=_MODEL
        ),
    ] = None,
    text_encoder: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Another text tower: a transformers model's name, or a folder of one.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    image_weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A weights file for the image tower.", rich_help_panel=_MODEL),
    ] = None,
    text_weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(help="A weights file or folder for the text tower.", rich_help_panel=_MODEL),
    ] = None,
    image_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Side of the square the model sees, in pixels.", rich_help_panel=_MODEL),
    ] = None,
    embedding_dim: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Length of the vectors.", rich_help_panel=_MODEL),
    ] = None,
    loss: Annotated[
        Optional[Literal["infonce", "matched", "soft", "sigmoid"]],  # noqa: UP045
        typer.Option(
            help="What is minimised; matched does not push equal captions and one case's scans apart. "
            "[default: the preset's]",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    epochs: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(help="Passes over the training pairs. [default: the preset's]", rich_help_panel=_RECIPE),
    ] = None,
    minutes: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Stop after this time, with the learning rate brought down by then.", rich_help_panel=_RECIPE
        ),
    ] = None,
    batch_size: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Pairs that are told from each other. [default: the preset's]", rich_help_panel=_RECIPE
        ),
    ] = None,
    learning_rate: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Peak learning rate. [default: the preset's]", rich_help_panel=_RECIPE),
    ] = None,
    weight_decay: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(help="Decay of the matrices. [default: the preset's]", rich_help_panel=_RECIPE),
    ] = None,
    label_agreement: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="How much of a match equal modality, view, region and findings are to the matched loss, "
            "0 to 1. [default: the preset's]",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    label_weight: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Also predict modality, view, region and category from the image vector, by heads that are "
            "thrown away at the end; this is the weight of their loss. [default: the preset's]",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    freeze: Annotated[
        Literal["none", "image", "text", "both"],
        typer.Option(
            help="Towers that learn nothing: their features are computed once, so the rest trains fast.",
            rich_help_panel=_RECIPE,
        ),
    ] = "none",
    patience: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Stop after so many epochs without a better recall. [default: never]",
            rich_help_panel=_RECIPE,
        ),
    ] = None,
    augmentation: Annotated[
        bool,
        typer.Option(
            help="Rotate, scale, shift and re-window training images a little.", rich_help_panel=_RECIPE
        ),
    ] = True,
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same model on a CPU.", rich_help_panel=_RECIPE)
    ] = 0,
    accumulate: Annotated[
        int,
        typer.Option(
            help="Batches whose gradients make one step; only pairs of one batch are told apart.",
            rich_help_panel=_MACHINE,
        ),
    ] = 1,
    cache_chunk: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Pairs that go through the towers at once, so that any batch size fits; the gradients stay "
            "those of the whole batch. [default: the whole batch]",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the interrupted run of the same options.", rich_help_panel=_MACHINE
        ),
    ] = False,
    checkpoint_steps: Annotated[
        Optional[int],  # noqa: UP045
        typer.Option(
            help="Write a checkpoint after so many steps, besides those after epochs. [default: 1000]",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    tensorboard: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            help="Write the run's curves for TensorBoard into this folder.", rich_help_panel=_MACHINE
        ),
    ] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.", rich_help_panel=_MACHINE)
    ] = "auto",
    precision: Annotated[
        Optional[Literal["auto", "bf16", "fp32"]],  # noqa: UP045
        typer.Option(
            help="Number format of the towers; auto is bf16 where the hardware has it.",
            rich_help_panel=_MACHINE,
        ),
    ] = None,
    offline: Annotated[
        bool,
        typer.Option(
            "--offline", help="Never fetch weights.", envvar="MEDCLIP_OFFLINE", rich_help_panel=_MACHINE
        ),
    ] = False,
    force: Force = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Train an image and a text encoder together, so that a scan and its caption meet.

    The model is the epoch with the best recall on the corpus's val split. Ctrl-C keeps the best so far, and
    --resume goes on. On several GPUs: torchrun --nproc-per-node N -m medclip_cli train encoders ...
    """
    from medclip_cli import engines
    from medclip_cli.corpora.corpus_folder import open_corpus
    from medclip_cli.rendering.training_progress import show_training

    if not engines.is_first_process():
        console.verbosity.quiet = True
    opened = open_corpus(corpus)
    console.note(f"{opened.name}: {len(opened.split('train')):,} training pairs; loading torch ...")
    shape: dict[str, object] = {
        "image_encoder": image_encoder,
        "text_encoder": text_encoder,
        "image_size": image_size,
        "embedding_dim": embedding_dim,
    }
    recipe: dict[str, object] = {
        "from_scratch": from_scratch,
        "image_weights": image_weights,
        "text_weights": text_weights,
        "loss": loss,
        "epochs": epochs,
        "label_agreement": label_agreement,
        "label_weight": label_weight,
        "freeze": freeze,
        "patience": patience,
        "accumulate": accumulate,
        "cache_chunk": cache_chunk,
        "resume": resume,
        "checkpoint_steps": checkpoint_steps,
        "time_limit_minutes": minutes,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "seed": seed,
        "device": device,
        "precision": precision,
        "offline": offline,
        "force": force,
    }
    asked = engines.TrainingRequest(preset, shape, recipe, augmented=augmentation, tensorboard=tensorboard)
    with show_training() as listener:
        trained = engines.train_encoders(
            opened.split("train"), opened.split("val"), opened.image_path, out, asked, listener,
            provenance={"corpus": opened.name, "caption_style": opened.caption_style},
        )  # fmt: skip
    if as_json and engines.is_first_process():
        json_output.write(trained.to_dict())
    elif engines.is_first_process():
        _show(trained)
    if trained.interrupted:
        console.note("The same command with --resume goes on where it stopped.")
        raise typer.Exit(INTERRUPTED)
    if trained.skipped:
        raise typer.Exit(SOME_FAILED)


def _show(trained: TrainedModel) -> None:
    scores = trained.validation
    ways = (("image to text", scores["image_to_text"]), ("text to image", scores["text_to_image"]))
    tables.show(
        f"Validation recall of epoch {trained.best_epoch}",
        ("query", "pool", "R@1", "R@5", "R@10", "median rank"),
        [
            (name, scores["pool"], way["r1"], way["r5"], way["r10"], f"{way['median_rank']:g}")
            for name, way in ways
        ],
    )
    console.note(
        f"Model {trained.path} ({trained.fingerprint}), {trained.seconds:.0f} s. "
        f"Next: medclip index CORPUS --model {trained.path}"
    )


app.command(epilog=train_decoder.EXAMPLE)(train_decoder.decoder)
app.command(epilog=train_confidence.EXAMPLE)(train_confidence.confidence)
