"""`medclip train`: a corpus to a model, with encoders, a decoder, and a measure of confidence."""

from __future__ import annotations

from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medclip_cli.commands import options as opt
from medclip_cli.errors import INTERRUPTED, SOME_FAILED, UsageError
from medclip_cli.pages.reports import SCORES
from medclip_cli.terminal import console, json_output, progress, tables

if TYPE_CHECKING:
    from medclip_cli.captioning.calibration import Calibration
    from medclip_cli.training import TrainedModel

SHOWN = ("bleu1", "bleu4", "rouge_l", "cider")

_model, _decoder = opt.panel("Model"), opt.panel("Decoder")
_recipe, _machine = opt.panel("Recipe"), opt.machine
Minutes = Annotated[float | None, _recipe("Time limit in minutes; the learning rate has come down by then.")]
Resume = Annotated[bool, _machine("Continue the interrupted run of the same options.", "--resume")]
CheckpointSteps = Annotated[
    int | None,
    _machine("Write a checkpoint after so many steps, besides those after epochs. [default: 1000]"),
]
Device = Annotated[Literal["auto", "cpu", "cuda"], _machine("Where to train.")]

app = typer.Typer(no_args_is_help=True, help="Train a model on a corpus.")


@app.callback()
def train() -> None:
    """Train a model on a corpus."""


@app.command(
    epilog="Example: medclip train encoders work/medpix --preset tiny --from-scratch --out work/model"
)
def encoders(
    corpus: opt.Corpus,
    out: Annotated[Path, opt.option("The model folder to make.", "--out", "-o")],
    preset: Annotated[str, _model("tiny (a CPU will do), base or original.")] = "tiny",
    from_scratch: Annotated[bool, _model("Use no pretrained weights.", "--from-scratch")] = False,
    image_encoder: Annotated[
        str | None, _model("Another image tower: any torchvision classification model.")
    ] = None,
    text_encoder: Annotated[
        str | None, _model("Another text tower: a transformers model's name, or a folder of one.")
    ] = None,
    image_weights: Annotated[Path | None, _model("A weights file for the image tower.")] = None,
    text_weights: Annotated[Path | None, _model("A weights file or folder for the text tower.")] = None,
    image_size: Annotated[int | None, _model("Side of the model's input image, in pixels.")] = None,
    image_widths: Annotated[
        str | None,
        _model("Channels of each stage of the small image tower. [default: the preset's]", metavar="N,N,..."),
    ] = None,
    image_blocks: Annotated[
        str | None,
        _model(
            "Residual blocks of each stage of the small image tower. [default: the preset's]",
            metavar="N,N,...",
        ),
    ] = None,
    text_width: Annotated[
        int | None, _model("Width of the small text tower, a multiple of 32. [default: the preset's]")
    ] = None,
    text_layers: Annotated[
        int | None, _model("Layers of the small text tower. [default: the preset's]")
    ] = None,
    embedding_dim: Annotated[int | None, _model("Dimension of the vectors.")] = None,
    projection: Annotated[
        Literal["linear", "residual"] | None,
        _model("Projection heads between the towers and the vectors. [default: the preset's]"),
    ] = None,
    loss: Annotated[
        Literal["infonce", "matched", "soft", "sigmoid"] | None,
        _recipe(
            "Training loss. matched treats equal captions and images of one case as positives. "
            "[default: the preset's]"
        ),
    ] = None,
    epochs: Annotated[int | None, _recipe("Passes over the training pairs. [default: the preset's]")] = None,
    minutes: Minutes = None,
    batch_size: Annotated[
        int | None,
        _recipe("Image-caption pairs per batch, contrasted with each other. [default: the preset's]"),
    ] = None,
    learning_rate: Annotated[float | None, _recipe("Peak learning rate. [default: the preset's]")] = None,
    image_learning_rate: Annotated[
        float | None, _recipe("Peak learning rate of the image tower. [default: the preset's]")
    ] = None,
    text_learning_rate: Annotated[
        float | None, _recipe("Peak learning rate of the text tower. [default: the preset's]")
    ] = None,
    schedule: Annotated[
        Literal["cosine", "plateau"] | None,
        _recipe(
            "Learning-rate schedule: cosine over the run, or lower at each plateau of the validation loss. "
            "[default: the preset's]"
        ),
    ] = None,
    weight_decay: Annotated[
        float | None, _recipe("Weight decay of matrices. [default: the preset's]")
    ] = None,
    ema: Annotated[
        float | None,
        _recipe(
            "Evaluate and keep an exponential moving average of the weights with this decay (0.99). "
            "[default: the preset's]"
        ),
    ] = None,
    label_agreement: Annotated[
        float | None,
        _recipe(
            "How positive pairs with equal modality, view, region and findings are to the matched loss, 0 "
            "to 1. [default: the preset's]"
        ),
    ] = None,
    label_weight: Annotated[
        float | None,
        _recipe(
            "Weight of an auxiliary loss: linear heads, dropped at the end, predict modality, view, region "
            "and category from the image vector. [default: the preset's]"
        ),
    ] = None,
    view_weight: Annotated[
        float | None,
        _recipe(
            "Weight of a further loss that contrasts two augmented views of each image (SimCLR). "
            "[default: the preset's]"
        ),
    ] = None,
    image_epochs: Annotated[
        int | None,
        _recipe(
            "Epochs at the start that learn from such views alone, without captions. [default: the preset's]"
        ),
    ] = None,
    freeze: Annotated[
        Literal["none", "image", "text", "both"],
        _recipe("Towers to freeze: their features are computed once, so the rest trains fast."),
    ] = "none",
    patience: Annotated[
        int | None, _recipe("Stop after so many epochs without a better recall. [default: never]")
    ] = None,
    augmentation: Annotated[
        bool | None,
        _recipe(
            "Rotate, scale, shift and re-window training images a little. [default: the preset's]",
            "--augmentation/--no-augmentation",
        ),
    ] = None,
    augment_strength: Annotated[float | None, _recipe("Augmentation strength; 1 is the usual one.")] = None,
    seed: Annotated[int, _recipe("The same seed gives the same model on a CPU.")] = 0,
    accumulate: Annotated[
        int, _machine("Batches whose gradients make one step; only pairs of one batch are contrasted.")
    ] = 1,
    cache_chunk: Annotated[
        int | None,
        _machine(
            "Pairs per forward pass, so that any batch size fits in memory; the gradients stay those of "
            "the whole batch (gradient caching). [default: the whole batch]"
        ),
    ] = None,
    confidence: Annotated[
        bool, opt.option("Then measure which caption method wins and how sure an answer may be.")
    ] = True,
    resume: Resume = False,
    checkpoint_steps: CheckpointSteps = None,
    tensorboard: Annotated[Path | None, _machine("Write TensorBoard event files into this folder.")] = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "fp32"] | None,
        _machine("Number format of the towers; auto is bf16 where the hardware has it."),
    ] = None,
    offline: opt.Offline = None,
    force: opt.Force = False,
    as_json: opt.JsonOutput = False,
) -> None:
    """Train an image and a text encoder together, so that an image and its caption get similar vectors.

    The model is the epoch with the best recall on the corpus's val split; then its caption methods are
    measured, as by medclip train confidence. Ctrl-C keeps the best so far, and --resume continues.
    On several GPUs: torchrun --nproc-per-node N -m medclip_cli train encoders ...
    """
    from medclip_cli import training
    from medclip_cli.settings import load_settings
    from medclip_cli.terminal.training_progress import show_training

    is_first = training.is_first_process()
    console.verbosity.quiet = console.verbosity.quiet or not is_first
    with show_training() as listener:
        trained = training.train_encoders(
            corpus, out, preset=preset, listener=listener, on_progress=listener.on_progress,
            confidence=confidence, augmentation=_strength(augmentation, augment_strength),
            tensorboard=tensorboard, image_encoder=image_encoder, text_encoder=text_encoder,
            image_size=image_size, image_widths=_numbers(image_widths, "--image-widths"),
            image_blocks=_numbers(image_blocks, "--image-blocks"), text_width=text_width,
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
        show_model(trained)
        console.note(
            f"Model {trained.path} ({trained.fingerprint}), {trained.seconds:.0f} s. "
            f"Next: medclip index {quote(str(corpus))} --model {quote(str(trained.path))}"
        )
    _exit_after(interrupted=trained.interrupted, skipped=trained.skipped)


def show_model(trained: TrainedModel) -> None:
    """Print the validation recall of a new model."""
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


@app.command(
    epilog="Example: medclip train decoder work/medpix --model work/model --decoder transformer --retrieve 3"
)
def decoder(
    corpus: Annotated[Path, opt.argument("CORPUS", "The corpus or folder the model was trained on.")],
    model: Annotated[Path, opt.option("The model folder to add the decoder to.", "--model", "-m")],
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
    minutes: Minutes = None,
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
    dropout: Annotated[float | None, _recipe("Dropout rate of the decoder. [default: 0.2]")] = None,
    seed: Annotated[int, _recipe("The same seed gives the same decoder on a CPU.")] = 0,
    resume: Resume = False,
    force: Annotated[bool, _machine("Discard an interrupted run and start again.", "--force")] = False,
    checkpoint_steps: CheckpointSteps = None,
    device: Device = "auto",
    precision: Annotated[
        Literal["auto", "bf16", "fp32"] | None,
        _machine("Number format of tower and decoder; auto is bf16 where the hardware has it."),
    ] = None,
    as_json: opt.JsonOutput = False,
) -> None:
    """Train a caption decoder onto a model; it replaces the decoder the model has.

    The image tower stays as it is, and so do collections made with the model. The decoder is that of the
    epoch with the best CIDEr on the corpus's val split; then the model's confidence is measured again.
    Neighbours of an image's own patient or case are never read. Ctrl-C keeps the best so far, and --resume
    continues. On several GPUs: torchrun --nproc-per-node N -m medclip_cli train decoder ...
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
            _show_calibration(trained.captioning)
        if trained.captioning:
            console.note(
                f"Decoder of epoch {trained.best_epoch}. Next: medclip caption IMAGE --method generate"
            )
    _exit_after(interrupted=trained.interrupted, skipped=trained.skipped)


@app.command(epilog="Example: medclip train confidence work/medpix --model work/model")
def confidence(
    corpus: Annotated[Path, opt.argument("CORPUS", "The corpus or folder the model was trained on.")],
    model: Annotated[Path, opt.option("The model folder to add it to.", "--model", "-m")],
    as_json: opt.JsonOutput = False,
) -> None:
    """Measure on the val split which caption method wins and how often its answers are right.

    The result is kept in the model folder: medclip caption reads it for --method auto, for the confidence of
    each answer, and to recognise images that are no scans.
    """
    from medclip_cli import training

    with progress.reported() as on_progress:
        measured = training.train_confidence(corpus, model, on_progress=on_progress)
    if as_json:
        json_output.write(measured.to_dict())
    else:
        _show_calibration(measured)
    console.note(f"Model {model} now answers with {measured.best_method} unless --method is given.")
    if not measured.knows_confidence:
        console.note(training.NO_CONFIDENCE)


def _show_calibration(measured: Calibration) -> None:
    tables.show(
        f"Captions of the val split of {measured.corpus}",
        ("method", *(SCORES[score] for score in SHOWN), "fields right", "answers"),
        [
            (
                name,
                *(record.scores[score] for score in SHOWN),
                record.right if record.answers else None,
                record.answers,
            )
            for name, record in measured.methods.items()
        ],
    )
    if not measured.knows_confidence:
        return
    tables.gap()
    tables.show(
        "Reliability of the confidence",
        ("method", "from", "to", "answers", "mean confidence", "right"),
        [
            (name, float(row.low), float(row.high), row.answers, row.confidence, row.right)
            for name, record in measured.methods.items()
            for row in record.reliability
        ],
    )


def _numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Read ``48,96,192``; None stays None."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} is '{text}': give whole numbers with commas, as in 48,96,192") from error


def _strength(augmentation: bool | None, augment_strength: float | None) -> float | None:
    """Augmentation strength by the two options, which must not contradict each other."""
    if augmentation is False:
        if augment_strength:
            raise UsageError("--no-augmentation and --augment-strength contradict each other: leave one out")
        return 0.0
    return 1.0 if augmentation and augment_strength is None else augment_strength


def _exit_after(*, interrupted: bool, skipped: int) -> None:
    if interrupted:
        console.note("The same command with --resume continues where it stopped.")
        raise typer.Exit(INTERRUPTED)
    if skipped:
        raise typer.Exit(SOME_FAILED)
