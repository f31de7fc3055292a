"""The options of `medclip train encoders`, by what they are about."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Optional

import typer

from medclip_cli.errors import UsageError

_MODEL = "Model"
_RECIPE = "Recipe"
_MACHINE = "Machine"

# typer reads these at run time, where Python 3.10 knows no `str | None`: hence Optional.
Preset = Annotated[str, typer.Option(help="tiny (a CPU will do), base or seed.", rich_help_panel=_MODEL)]
FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="Use no pretrained weights.", rich_help_panel=_MODEL)
]
ImageEncoder = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(help="Another image tower: any torchvision classification model.", rich_help_panel=_MODEL),
]
TextEncoder = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Another text tower: a transformers model's name, or a folder of one.", rich_help_panel=_MODEL
    ),
]
ImageWeights = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="A weights file for the image tower.", rich_help_panel=_MODEL),
]
TextWeights = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="A weights file or folder for the text tower.", rich_help_panel=_MODEL),
]
ImageSize = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Side of the square the model sees, in pixels.", rich_help_panel=_MODEL),
]
ImageWidths = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Channels of each stage of the small image tower. [default: the preset's]",
        metavar="N,N,...",
        rich_help_panel=_MODEL,
    ),
]
ImageBlocks = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        help="Residual blocks of each stage of the small image tower. [default: the preset's]",
        metavar="N,N,...",
        rich_help_panel=_MODEL,
    ),
]
TextWidth = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Width of the small text tower, a multiple of 32. [default: the preset's]",
        rich_help_panel=_MODEL,
    ),
]
TextLayers = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Layers of the small text tower. [default: the preset's]", rich_help_panel=_MODEL),
]
EmbeddingDim = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Length of the vectors.", rich_help_panel=_MODEL),
]
Projection = Annotated[
    Optional[Literal["linear", "residual"]],  # noqa: UP045
    typer.Option(
        help="The heads that lead from the towers to the vectors. [default: the preset's]",
        rich_help_panel=_MODEL,
    ),
]
Loss = Annotated[
    Optional[Literal["infonce", "matched", "soft", "sigmoid"]],  # noqa: UP045
    typer.Option(
        help="What is minimised; matched does not push equal captions and one case's scans apart. "
        "[default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
Epochs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(help="Passes over the training pairs. [default: the preset's]", rich_help_panel=_RECIPE),
]
Minutes = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Stop after this time, with the learning rate brought down by then.", rich_help_panel=_RECIPE
    ),
]
BatchSize = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Pairs that are told from each other. [default: the preset's]", rich_help_panel=_RECIPE
    ),
]
LearningRate = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="Peak learning rate. [default: the preset's]", rich_help_panel=_RECIPE),
]
ImageLearningRate = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Peak learning rate of the image tower. [default: the preset's]", rich_help_panel=_RECIPE
    ),
]
TextLearningRate = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Peak learning rate of the text tower. [default: the preset's]", rich_help_panel=_RECIPE
    ),
]
Schedule = Annotated[
    Optional[Literal["cosine", "plateau"]],  # noqa: UP045
    typer.Option(
        help="How the learning rate falls: over the whole run, or when the validation loss stops falling. "
        "[default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
WeightDecay = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="Decay of the matrices. [default: the preset's]", rich_help_panel=_RECIPE),
]
Ema = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Judge and keep a moving average of the weights, which keeps this share in a step (0.99). "
        "[default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
LabelAgreement = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="How much of a match equal modality, view, region and findings are to the matched loss, "
        "0 to 1. [default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
LabelWeight = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Also predict modality, view, region and category from the image vector, by heads that are "
        "thrown away at the end; this is the weight of their loss. [default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
ViewWeight = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        help="Also tell two augmented views of a scan from those of others (SimCLR); this is the weight of "
        "that loss. [default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
ImageEpochs = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="So many of the epochs come first and learn from such views alone, without captions. "
        "[default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
Freeze = Annotated[
    Literal["none", "image", "text", "both"],
    typer.Option(
        help="Towers that learn nothing: their features are computed once, so the rest trains fast.",
        rich_help_panel=_RECIPE,
    ),
]
Patience = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Stop after so many epochs without a better recall. [default: never]", rich_help_panel=_RECIPE
    ),
]
AugmentationChoice = Annotated[
    Optional[bool],  # noqa: UP045
    typer.Option(
        "--augmentation/--no-augmentation",
        help="Rotate, scale, shift and re-window training images a little. [default: the preset's]",
        rich_help_panel=_RECIPE,
    ),
]
AugmentStrength = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(help="How far they are moved, 1 being a little.", rich_help_panel=_RECIPE),
]
Seed = Annotated[
    int, typer.Option(help="The same seed gives the same model on a CPU.", rich_help_panel=_RECIPE)
]
Accumulate = Annotated[
    int,
    typer.Option(
        help="Batches whose gradients make one step; only pairs of one batch are told apart.",
        rich_help_panel=_MACHINE,
    ),
]
CacheChunk = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Pairs that go through the towers at once, so that any batch size fits; the gradients stay "
        "those of the whole batch. [default: the whole batch]",
        rich_help_panel=_MACHINE,
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the interrupted run of the same options.", rich_help_panel=_MACHINE
    ),
]
CheckpointSteps = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        help="Write a checkpoint after so many steps, besides those after epochs. [default: 1000]",
        rich_help_panel=_MACHINE,
    ),
]
TensorBoard = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(help="Write the run's curves for TensorBoard into this folder.", rich_help_panel=_MACHINE),
]
Device = Annotated[
    Literal["auto", "cpu", "cuda"], typer.Option(help="Where to train.", rich_help_panel=_MACHINE)
]
Precision = Annotated[
    Optional[Literal["auto", "bf16", "fp32"]],  # noqa: UP045
    typer.Option(
        help="Number format of the towers; auto is bf16 where the hardware has it.", rich_help_panel=_MACHINE
    ),
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
