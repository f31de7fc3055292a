"""`medclip train`: a corpus to a model."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

import typer

from medclip_cli.commands import options as opt
from medclip_cli.commands import train_confidence, train_decoder
from medclip_cli.commands import train_options as options
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
    preset: options.Preset = "tiny",
    from_scratch: options.FromScratch = False,
    image_encoder: options.ImageEncoder = None,
    text_encoder: options.TextEncoder = None,
    image_weights: options.ImageWeights = None,
    text_weights: options.TextWeights = None,
    image_size: options.ImageSize = None,
    image_widths: options.ImageWidths = None,
    image_blocks: options.ImageBlocks = None,
    text_width: options.TextWidth = None,
    text_layers: options.TextLayers = None,
    embedding_dim: options.EmbeddingDim = None,
    projection: options.Projection = None,
    loss: options.Loss = None,
    epochs: options.Epochs = None,
    minutes: options.Minutes = None,
    batch_size: options.BatchSize = None,
    learning_rate: options.LearningRate = None,
    image_learning_rate: options.ImageLearningRate = None,
    text_learning_rate: options.TextLearningRate = None,
    schedule: options.Schedule = None,
    weight_decay: options.WeightDecay = None,
    ema: options.Ema = None,
    label_agreement: options.LabelAgreement = None,
    label_weight: options.LabelWeight = None,
    view_weight: options.ViewWeight = None,
    image_epochs: options.ImageEpochs = None,
    freeze: options.Freeze = "none",
    patience: options.Patience = None,
    augmentation: options.AugmentationChoice = None,
    augment_strength: options.AugmentStrength = None,
    seed: options.Seed = 0,
    accumulate: options.Accumulate = 1,
    cache_chunk: options.CacheChunk = None,
    confidence: Annotated[
        bool,
        typer.Option(help="Then measure which caption method wins and how sure an answer may be."),
    ] = True,
    resume: options.Resume = False,
    checkpoint_steps: options.CheckpointSteps = None,
    tensorboard: options.TensorBoard = None,
    device: options.Device = "auto",
    precision: options.Precision = None,
    offline: opt.Offline = None,
    force: opt.Force = False,
    as_json: opt.JsonOutput = False,
) -> None:
    """Train an image and a text encoder together, so that a scan and its caption meet.

    The model is the epoch with the best recall on the corpus's val split; then its
    caption methods are measured, as by medclip train confidence. Ctrl-C keeps the best so far, and --resume
    goes on. On several GPUs: torchrun --nproc-per-node N -m medclip_cli train encoders ...
    """
    from medclip_cli import training
    from medclip_cli.settings import load_settings
    from medclip_cli.terminal.training_progress import show_training

    is_first = training.is_first_process()
    console.verbosity.quiet = console.verbosity.quiet or not is_first
    with show_training() as listener:
        trained = training.train_encoders(
            corpus, out, preset=preset, listener=listener, on_progress=listener.on_progress,
            confidence=confidence, augmentation=options.strength(augmentation, augment_strength),
            tensorboard=tensorboard, image_encoder=image_encoder, text_encoder=text_encoder,
            image_size=image_size, image_widths=options.numbers(image_widths, "--image-widths"),
            image_blocks=options.numbers(image_blocks, "--image-blocks"), text_width=text_width,
            text_layers=text_layers, embedding_dim=embedding_dim, projection=projection,
            from_scratch=from_scratch, image_weights=image_weights, text_weights=text_weights,
            offline=load_settings({"offline": offline}).offline, loss=loss, epochs=epochs,
            time_limit_minutes=minutes, batch_size=batch_size, learning_rate=learning_rate,
            image_learning_rate=image_learning_rate, text_learning_rate=text_learning_rate,
            schedule=schedule, weight_decay=weight_decay, ema=ema, label_agreement=label_agreement,
            label_weight=label_weight, view_weight=view_weight, image_epochs=image_epochs, freeze=freeze,
            patience=patience, seed=seed, accumulate=accumulate, cache_chunk=cache_chunk, resume=resume,
            checkpoint_steps=checkpoint_steps, device=device, precision=precision, force=force,
        )  # fmt: skip
    if as_json and is_first:
        json_output.write(trained.to_dict())
    elif is_first:
        _show(trained, corpus)
    options.exit_after(interrupted=trained.interrupted, skipped=trained.skipped)


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
