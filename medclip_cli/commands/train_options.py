"""The options of `medclip train encoders`, by what they are about; some are those of a decoder, too."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from medclip_cli.errors import UsageError


def panel(name: str) -> Callable[..., Any]:
    """What makes options of one panel of the help: from what they say, their flags, and what typer takes."""
    return lambda text, *flags, **more: typer.Option(*flags, help=text, rich_help_panel=name, **more)


_model, _recipe, _machine = panel("Model"), panel("Recipe"), panel("Machine")

Preset = Annotated[str, _model("tiny (a CPU will do), base or seed.")]
FromScratch = Annotated[bool, _model("Use no pretrained weights.", "--from-scratch")]
ImageEncoder = Annotated[str | None, _model("Another image tower: any torchvision classification model.")]
TextEncoder = Annotated[
    str | None, _model("Another text tower: a transformers model's name, or a folder of one.")
]
ImageWeights = Annotated[Path | None, _model("A weights file for the image tower.")]
TextWeights = Annotated[Path | None, _model("A weights file or folder for the text tower.")]
ImageSize = Annotated[int | None, _model("Side of the square the model sees, in pixels.")]
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
EmbeddingDim = Annotated[int | None, _model("Length of the vectors.")]
Projection = Annotated[
    Literal["linear", "residual"] | None,
    _model("The heads that lead from the towers to the vectors. [default: the preset's]"),
]
Loss = Annotated[
    Literal["infonce", "matched", "soft", "sigmoid"] | None,
    _recipe(
        "What is minimised; matched does not push equal captions and one case's scans apart. "
        "[default: the preset's]"
    ),
]
Epochs = Annotated[int | None, _recipe("Passes over the training pairs. [default: the preset's]")]
Minutes = Annotated[
    float | None, _recipe("Stop after this time, with the learning rate brought down by then.")
]
BatchSize = Annotated[int | None, _recipe("Pairs that are told from each other. [default: the preset's]")]
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
        "How the learning rate falls: over the whole run, or when the validation loss stops "
        "falling. [default: the preset's]"
    ),
]
WeightDecay = Annotated[float | None, _recipe("Decay of the matrices. [default: the preset's]")]
Ema = Annotated[
    float | None,
    _recipe(
        "Judge and keep a moving average of the weights, which keeps this share in a step (0.99). "
        "[default: the preset's]"
    ),
]
LabelAgreement = Annotated[
    float | None,
    _recipe(
        "How much of a match equal modality, view, region and findings are to the matched loss, 0 "
        "to 1. [default: the preset's]"
    ),
]
LabelWeight = Annotated[
    float | None,
    _recipe(
        "Also predict modality, view, region and category from the image vector, by heads that "
        "are thrown away at the end; this is the weight of their loss. [default: the preset's]"
    ),
]
ViewWeight = Annotated[
    float | None,
    _recipe(
        "Also tell two augmented views of a scan from those of others (SimCLR); this is the "
        "weight of that loss. [default: the preset's]"
    ),
]
ImageEpochs = Annotated[
    int | None,
    _recipe(
        "So many of the epochs come first and learn from such views alone, without captions. "
        "[default: the preset's]"
    ),
]
Freeze = Annotated[
    Literal["none", "image", "text", "both"],
    _recipe("Towers that learn nothing: their features are computed once, so the rest trains fast."),
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
AugmentStrength = Annotated[float | None, _recipe("How far they are moved, 1 being a little.")]
Seed = Annotated[int, _recipe("The same seed gives the same model on a CPU.")]
Accumulate = Annotated[
    int, _machine("Batches whose gradients make one step; only pairs of one batch are told apart.")
]
CacheChunk = Annotated[
    int | None,
    _machine(
        "Pairs that go through the towers at once, so that any batch size fits; the gradients "
        "stay those of the whole batch. [default: the whole batch]"
    ),
]
Resume = Annotated[bool, _machine("Go on with the interrupted run of the same options.", "--resume")]
CheckpointSteps = Annotated[
    int | None,
    _machine("Write a checkpoint after so many steps, besides those after epochs. [default: 1000]"),
]
TensorBoard = Annotated[Path | None, _machine("Write the run's curves for TensorBoard into this folder.")]
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
    """How far training images are moved: what was said of it, or None.

    Raises:
        UsageError: both are given, and they contradict each other.
    """
    if augmentation is False:
        if augment_strength:
            raise UsageError("--no-augmentation and --augment-strength contradict each other: leave one out")
        return 0.0
    return 1.0 if augmentation and augment_strength is None else augment_strength
