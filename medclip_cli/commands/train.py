"""`medclip train`: a corpus to a model."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from medclip_cli.commands import train_confidence, train_decoder
from medclip_cli.commands import train_options as asked
from medclip_cli.commands.options import Debug, Force, JsonOutput, Offline, Quiet, Verbose
from medclip_cli.errors import INTERRUPTED, SOME_FAILED
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.training import TrainedModel

EXAMPLE = "Example: medclip train encoders work/medpix --preset tiny --from-scratch --out work/model"

app = typer.Typer(no_args_is_help=True, help="Train a model on a corpus.")


@app.callback()
def train() -> None:
    """Train a model on a corpus."""


@app.command(epilog=EXAMPLE)
def encoders(
    corpus: Annotated[
        Path,
        typer.Argument(
            metavar="CORPUS", help="A corpus made by medclip clean, or a folder of images with captions."
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The model folder to make.")],
    preset: asked.Preset = "tiny",
    from_scratch: asked.FromScratch = False,
    image_encoder: asked.ImageEncoder = None,
    text_encoder: asked.TextEncoder = None,
    image_weights: asked.ImageWeights = None,
    text_weights: asked.TextWeights = None,
    image_size: asked.ImageSize = None,
    image_widths: asked.ImageWidths = None,
    image_blocks: asked.ImageBlocks = None,
    text_width: asked.TextWidth = None,
    text_layers: asked.TextLayers = None,
    embedding_dim: asked.EmbeddingDim = None,
    projection: asked.Projection = None,
    loss: asked.Loss = None,
    epochs: asked.Epochs = None,
    minutes: asked.Minutes = None,
    batch_size: asked.BatchSize = None,
    learning_rate: asked.LearningRate = None,
    image_learning_rate: asked.ImageLearningRate = None,
    text_learning_rate: asked.TextLearningRate = None,
    schedule: asked.Schedule = None,
    weight_decay: asked.WeightDecay = None,
    ema: asked.Ema = None,
    label_agreement: asked.LabelAgreement = None,
    label_weight: asked.LabelWeight = None,
    view_weight: asked.ViewWeight = None,
    image_epochs: asked.ImageEpochs = None,
    freeze: asked.Freeze = "none",
    patience: asked.Patience = None,
    augmentation: asked.AugmentationChoice = None,
    augment_strength: asked.AugmentStrength = None,
    seed: asked.Seed = 0,
    accumulate: asked.Accumulate = 1,
    cache_chunk: asked.CacheChunk = None,
    confidence: Annotated[
        bool,
        typer.Option(help="Then measure which caption method wins and how sure an answer may be."),
    ] = True,
    resume: asked.Resume = False,
    checkpoint_steps: asked.CheckpointSteps = None,
    tensorboard: asked.TensorBoard = None,
    device: asked.Device = "auto",
    precision: asked.Precision = None,
    offline: Offline = None,
    force: Force = False,
    as_json: JsonOutput = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    debug: Debug = False,
) -> None:
    """Train an image and a text encoder together, so that a scan and its caption meet.

    The model is the epoch with the best recall on the corpus's val split; what medclip train confidence
    measures is measured then, too. Ctrl-C keeps the best so far, and --resume goes on. On several GPUs:
    torchrun --nproc-per-node N -m medclip_cli train encoders ...
    """
    from medclip_cli import training
    from medclip_cli.cleaning.corpus_builder import prepare_corpus
    from medclip_cli.corpora.corpus_folder import Corpus
    from medclip_cli.settings import load_settings
    from medclip_cli.terminal.training_progress import show_training

    if not training.is_first_process():
        console.verbosity.quiet = True
    settings = load_settings({"offline": offline})
    opened = Corpus.open(prepare_corpus(corpus, settings.home))
    console.note(f"{opened.name}: {len(opened.split('train')):,} training pairs; loading torch ...")
    shape: dict[str, object] = {
        "image_encoder": image_encoder,
        "text_encoder": text_encoder,
        "image_size": image_size,
        "image_widths": asked.numbers(image_widths, "--image-widths"),
        "image_blocks": asked.numbers(image_blocks, "--image-blocks"),
        "text_width": text_width,
        "text_layers": text_layers,
        "embedding_dim": embedding_dim,
        "projection": projection,
    }
    recipe: dict[str, object] = {
        "from_scratch": from_scratch,
        "image_weights": image_weights,
        "text_weights": text_weights,
        "loss": loss,
        "epochs": epochs,
        "label_agreement": label_agreement,
        "label_weight": label_weight,
        "view_weight": view_weight,
        "image_epochs": image_epochs,
        "freeze": freeze,
        "patience": patience,
        "accumulate": accumulate,
        "cache_chunk": cache_chunk,
        "resume": resume,
        "checkpoint_steps": checkpoint_steps,
        "time_limit_minutes": minutes,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "image_learning_rate": image_learning_rate,
        "text_learning_rate": text_learning_rate,
        "schedule": schedule,
        "weight_decay": weight_decay,
        "ema": ema,
        "seed": seed,
        "device": device,
        "precision": precision,
        "offline": settings.offline,
        "force": force,
    }
    request = training.TrainingRequest(
        preset,
        shape,
        recipe,
        augmentation=asked.strength(augmentation, augment_strength),
        tensorboard=tensorboard,
    )
    with show_training() as listener:
        trained = training.train_encoders(
            opened.split("train"), opened.split("val"), opened.image_path, out, request, listener,
            provenance={"corpus": opened.name, "caption_style": opened.caption_style},
        )  # fmt: skip
    if as_json and training.is_first_process():
        json_output.write(trained.to_dict())
    elif training.is_first_process():
        _show(trained, corpus)
    if confidence and training.is_first_process() and not trained.interrupted:
        train_confidence.measure_new_model(opened, out)
    if trained.interrupted:
        console.note("The same command with --resume goes on where it stopped.")
        raise typer.Exit(INTERRUPTED)
    if trained.skipped:
        raise typer.Exit(SOME_FAILED)


def _show(trained: TrainedModel, corpus: Path) -> None:
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
        f"Next: medclip index {quote(str(corpus))} --model {quote(str(trained.path))}"
    )


app.command(epilog=train_decoder.EXAMPLE)(train_decoder.decoder)
app.command(epilog=train_confidence.EXAMPLE)(train_confidence.confidence)
