"""The options of `medclip train encoders`, by what they are about; some are those of a decoder, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medclip_cli.errors import INTERRUPTED, SOME_FAILED, UsageError
from medclip_cli.terminal import console


def panel(name: str) -> Callable[..., Any]:
    """What makes options of one panel of the help: from what they say, their flags, and what typer takes."""
    return lambda text, *flags, **more: typer.Option(*flags, help=text, rich_help_panel=name, **more)


_model, _recipe, _machine = panel("Model"), panel("Recipe"), panel("Machine")

Preset = Annotated[str, _model("tiny (a CPU will do), base or original.")]
FromScratch = Annotated[bool, _model("Use no pretrained weights.", "--from-scratch")]
ImageEncoder = Annotated[str | None, _model("Another image tower: any torchvision classification model.")]
TextEncoder = Annotated[
    str | None, _model("Another text tower: a transformers model's name, or a folder of one.")
]
ImageWeights = Annotated[Path | None, _model("A weights file for the image tower.")]
TextWeights = Annotated[Path | None, _model("A weights file or folder for the text tower.")]
ImageSize = Annotated[int | None, _model("Side of the model's input image, in pixels.")]
ImageWidths = Annotated[
    str | None,
    _model("Channels of each stage of the small image tower. [default: the preset's]", metavar="N,N,..."),
]
ImageBlocks = Annotated[
    str | None,
    _model(
        "Residual blocks of each stage of the small image tower. [default: the preset's]", metavar="N,N,..."
    ),
]
TextWidth = Annotated[
    int | None, _model("Width of the small text tower, a multiple of 32. [default: the preset's]")
]
TextLayers = Annotated[int | None, _model("Layers of the small text tower. [default: the preset's]")]
EmbeddingDim = Annotated[int | None, _model("Dimension of the vectors.")]
Projection = Annotated[
    Literal["linear", "residual"] | None,
    _model("Projection heads between the towers and the vectors. [default: the preset's]"),
]
Loss = Annotated[
    Literal["infonce", "matched", "soft", "sigmoid"] | None,
    _recipe(
        "Training loss. matched treats equal captions and images of one case as positives. "
        "[default: the preset's]"
    ),
]
Epochs = Annotated[int | None, _recipe("Passes over the training pairs. [default: the preset's]")]
Minutes = Annotated[float | None, _recipe("Time limit in minutes; the learning rate has come down by then.")]
BatchSize = Annotated[
    int | None, _recipe("Image-caption pairs per batch, contrasted with each other. [default: the preset's]")
]
LearningRate = Annotated[float | None, _recipe("Peak learning rate. [default: the preset's]")]
ImageLearningRate = Annotated[
    float | None, _recipe("Peak learning rate of the image tower. [default: the preset's]")
]
TextLearningRate = Annotated[
    float | None, _recipe("Peak learning rate of the text tower. [default: the preset's]")
]
Schedule = Annotated[
    Literal["cosine", "plateau"] | None,
    _recipe(
        "Learning-rate schedule: cosine over the run, or lower at each plateau of the validation loss. "
        "[default: the preset's]"
    ),
]
WeightDecay = Annotated[float | None, _recipe("Weight decay of matrices. [default: the preset's]")]
Ema = Annotated[
    float | None,
    _recipe(
        "Evaluate and keep an exponential moving average of the weights with this decay (0.99). "
        "[default: the preset's]"
    ),
]
LabelAgreement = Annotated[
    float | None,
    _recipe(
        "How positive pairs with equal modality, view, region and findings are to the matched loss, 0 "
        "to 1. [default: the preset's]"
    ),
]
LabelWeight = Annotated[
    float | None,
    _recipe(
        "Weight of an auxiliary loss: linear heads, dropped at the end, predict modality, view, region "
        "and category from the image vector. [default: the preset's]"
    ),
]
ViewWeight = Annotated[
    float | None,
    _recipe(
        "Weight of a further loss that contrasts two augmented views of each image (SimCLR). "
        "[default: the preset's]"
    ),
]
ImageEpochs = Annotated[
    int | None,
    _recipe(
        "Epochs at the start that learn from such views alone, without captions. [default: the preset's]"
    ),
]
Freeze = Annotated[
    Literal["none", "image", "text", "both"],
    _recipe("Towers to freeze: their features are computed once, so the rest trains fast."),
]
Patience = Annotated[
    int | None, _recipe("Stop after so many epochs without a better recall. [default: never]")
]
AugmentationChoice = Annotated[
    bool | None,
    _recipe(
        "Rotate, scale, shift and re-window training images a little. [default: the preset's]",
        "--augmentation/--no-augmentation",
    ),
]
AugmentStrength = Annotated[float | None, _recipe("Augmentation strength; 1 is the usual one.")]
Seed = Annotated[int, _recipe("The same seed gives the same model on a CPU.")]
Accumulate = Annotated[
    int, _machine("Batches whose gradients make one step; only pairs of one batch are contrasted.")
]
CacheChunk = Annotated[
    int | None,
    _machine(
        "Pairs per forward pass, so that any batch size fits in memory; the gradients stay those of "
        "the whole batch (gradient caching). [default: the whole batch]"
    ),
]
Resume = Annotated[bool, _machine("Go on with the interrupted run of the same options.", "--resume")]
CheckpointSteps = Annotated[
    int | None,
    _machine("Write a checkpoint after so many steps, besides those after epochs. [default: 1000]"),
]
TensorBoard = Annotated[Path | None, _machine("Write TensorBoard event files into this folder.")]
Device = Annotated[Literal["auto", "cpu", "cuda"], _machine("Where to train.")]
Precision = Annotated[
    Literal["auto", "bf16", "fp32"] | None,
    _machine("Number format of the towers; auto is bf16 where the hardware has it."),
]


def numbers(text: str | None, option: str) -> tuple[int, ...] | None:
    """Return the numbers of ``48,96,192``; None stays None.

    Raises:
        UsageError: a part is no whole number.
    """
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} is '{text}': give whole numbers with commas, as in 48,96,192") from error


def strength(augmentation: bool | None, augment_strength: float | None) -> float | None:
    """Augmentation strength: what the two options say of it, or None.

    Raises:
        UsageError: both are given, and they contradict each other.
    """
    if augmentation is False:
        if augment_strength:
            raise UsageError("--no-augmentation and --augment-strength contradict each other: leave one out")
        return 0.0
    return 1.0 if augmentation and augment_strength is None else augment_strength


def exit_after(*, interrupted: bool, skipped: int) -> None:
    """End a command of training with the exit code of how it went."""
    if interrupted:
        console.note("The same command with --resume goes on where it stopped.")
        raise typer.Exit(INTERRUPTED)
    if skipped:
        raise typer.Exit(SOME_FAILED)
