"""What a training run is asked to do: plain data, checked when it is made, and the recipes of the presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from encoders.errors import OptionsError
from encoders.presets import EncoderPreset
from trainers.augmentation import NO_AUGMENTATION, Augmentation

LossName = Literal["infonce", "matched", "soft", "sigmoid"]
DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
ScheduleName = Literal["cosine", "plateau"]
FrozenTowers = Literal["none", "image", "text", "both"]
DecoderName = Literal["lstm", "transformer"]
HEAD_WIDTH = 32


@dataclass(frozen=True, slots=True)
class ContrastiveOptions:
    """Options of one contrastive run."""

    preset: EncoderPreset  # the shape of the model
    from_scratch: bool = False  # start every weight at random, also where pretrained ones exist
    image_weights: Path | None = None  # a file of pretrained weights for the image tower
    text_weights: Path | None = None  # a folder of a pretrained text tower
    offline: bool = False  # never ask the network for weights
    loss: LossName = "matched"  # one of ``LossName``
    # Towers to freeze; their features are computed once, without augmentation of the image, so that only the
    # heads and the other tower cost time.
    freeze: FrozenTowers = "none"
    cache_frozen: bool = True  # keep those features; False computes them again in every step
    # How much of a match two pairs with equal labels are to the ``matched`` loss, 0 to 1.
    label_agreement: float = 0.0
    # Of the loss of linear heads that predict modality, view, region ... from the image vector and are
    # dropped at the end; 0 for none.
    label_weight: float = 0.0
    view_weight: float = 0.0  # of a further loss that contrasts two views of each image (SimCLR); 0 for none
    image_epochs: int = 0  # so many epochs come first with the loss of those views alone
    epochs: int = 30  # passes over the training pairs, ``image_epochs`` included
    batch_size: int = 128  # image-caption pairs contrasted with each other, over all processes
    # Batches whose gradients make one step; pairs of different batches are not contrasted.
    accumulate: int = 1
    # Pairs that go through the towers at once; None takes the whole batch. The gradients stay those of the
    # whole batch (gradient caching), for one more forward pass.
    cache_chunk: int | None = None
    learning_rate: float = 1e-3  # peak, of every parameter that has no rate of its own
    image_learning_rate: float | None = None  # peak of the image tower without its head
    text_learning_rate: float | None = None  # peak of the text tower without its head
    weight_decay: float = 0.05  # of matrices; norms, biases and the scale have none
    # ``cosine`` rises and falls over the run; ``plateau`` starts at the peak and is lowered when the
    # validation loss stops falling.
    schedule: ScheduleName = "cosine"
    warmup_fraction: float = 0.1  # share of the run in which the cosine's rate rises
    clip_norm: float = 1.0  # gradients longer than this are shortened to it
    max_logit_scale: float = 100.0  # the learnable scale stays below this
    # Share that the moving average of the weights keeps in a step; the average is then what is evaluated and
    # becomes the model. None for no average.
    ema: float | None = None
    # Strength of the augmentation of training images.
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0  # of weights, order, augmentation and dropout
    device: DeviceName = "auto"  # ``auto`` takes a GPU when there is one
    precision: Precision = "auto"  # ``auto`` takes bf16 where the hardware has it
    # The run ends, schedule and all, when its time is over; None for no limit.
    time_limit_minutes: float | None = None
    # The run ends after so many epochs without a better recall; None for no early stop.
    patience: int | None = None
    checkpoint_steps: int = 1000  # a checkpoint is written after so many steps, and after every epoch
    resume: bool = False  # go on with an interrupted run of the same options
    force: bool = False  # replace a model folder that exists

    @property
    def views(self) -> int:
        """How often each image is augmented in a step."""
        return 2 if self.view_weight or self.image_epochs else 1

    def __post_init__(self) -> None:
        """Refuse values that no run can have.

        Raises:
            OptionsError: a value is out of range; the message names its field.
        """
        _check_choices(self, loss=LossName, freeze=FrozenTowers)
        _check_common(self)
        _check(self.batch_size >= 2, "batch_size", self.batch_size, "at least 2, each pair needs a negative")
        _check(self.accumulate >= 1, "accumulate", self.accumulate, "at least 1")
        _check(
            self.cache_chunk is None or self.cache_chunk >= 1, "cache_chunk", self.cache_chunk, "at least 1"
        )
        _check(0 <= self.label_agreement <= 1, "label_agreement", self.label_agreement, "a share from 0 to 1")
        _check(self.label_weight >= 0, "label_weight", self.label_weight, "0 or more")
        _check(self.max_logit_scale > 0, "max_logit_scale", self.max_logit_scale, "more than 0")
        for name in ("image_learning_rate", "text_learning_rate"):
            rate = getattr(self, name)
            _check(rate is None or 0 < rate <= 1, name, rate, "more than 0 and at most 1")
        _check(self.ema is None or 0 < self.ema < 1, "ema", self.ema, "a share between 0 and 1")
        _check(self.view_weight >= 0, "view_weight", self.view_weight, "0 or more")
        image_epochs = self.image_epochs
        _check(0 <= image_epochs < self.epochs, "image_epochs", image_epochs, "0 or more, fewer than epochs")
        if self.views == 1:
            return
        if self.freeze in ("image", "both"):
            raise OptionsError("a frozen image tower sees one view: leave view_weight and image_epochs out")
        if self.augmentation == NO_AUGMENTATION:
            raise OptionsError("view_weight and image_epochs need two views: switch augmentation on")


@dataclass(frozen=True, slots=True)
class CaptioningOptions:
    """Options of one decoder run."""

    decoder: DecoderName = "transformer"  # ``lstm`` or ``transformer``
    retrieve: int = 0  # captions of neighbours that a transformer reads; 0 for none
    retrieved_tokens: int = 48  # tokens it reads of each
    width: int = 128  # of the decoder's layers
    layers: int = 2  # of a transformer
    dropout: float = 0.2  # everywhere in the decoder
    vocab_size: int = 4096  # of the byte-pair encoding learned on the captions, at most
    max_tokens: int = 128  # longest caption, start and end included; longer ones are cut
    epochs: int = 20  # passes over the training captions
    batch_size: int = 64  # captions in a step
    learning_rate: float = 2e-3  # peak
    weight_decay: float = 0.05  # of matrices
    warmup_fraction: float = 0.05  # share of the run in which the rate rises
    # Share of each target spread over the vocabulary (arXiv 1512.00567, section 7).
    label_smoothing: float = 0.1
    clip_norm: float = 1.0  # gradients longer than this are shortened to it
    # Versions of each image, one an epoch in turn, the first without augmentation. The image tower is frozen,
    # so each is embedded once and kept.
    views: int = 4
    augmentation: Augmentation = field(default_factory=Augmentation)  # of the views
    seed: int = 0  # of weights, order, augmentation and dropout
    device: DeviceName = "auto"  # ``auto`` takes a GPU when there is one
    precision: Precision = "auto"  # ``auto`` takes bf16 where the hardware has it
    # The run ends, schedule and all, when its time is over; None for no limit.
    time_limit_minutes: float | None = None
    # Of the rate after its warm-up: ``cosine`` down to nothing, or ``plateau``, which halves it when two
    # epochs brought no better CIDEr.
    schedule: ScheduleName = "cosine"
    # The run ends after so many epochs without a better CIDEr; None for no early stop.
    patience: int | None = None
    checkpoint_steps: int = 1000  # a checkpoint is written after so many steps, and after epochs
    resume: bool = False  # go on with an interrupted run of the same options
    force: bool = False  # start anew where an interrupted run stands

    def __post_init__(self) -> None:
        """Refuse values that no run can have.

        Raises:
            OptionsError: a value is out of range; the message names its field.
        """
        _check_choices(self, decoder=DecoderName)
        _check_common(self)
        if self.decoder == "lstm" and self.retrieve:
            raise OptionsError("retrieve needs the transformer: an LSTM reads no captions")
        for name, least in (
            ("retrieve", 0),
            ("batch_size", 1),
            ("layers", 1),
            ("max_tokens", 4),
            ("views", 1),
        ):
            value = getattr(self, name)
            _check(value >= least, name, value, f"at least {least}")
        fits = self.width >= HEAD_WIDTH and self.width % HEAD_WIDTH == 0
        _check(fits, "width", self.width, f"a multiple of {HEAD_WIDTH}")
        for name in ("dropout", "label_smoothing"):
            share = getattr(self, name)
            _check(0 <= share < 1, name, share, "a share from 0 to below 1")

    @property
    def heads(self) -> int:
        """Attention heads of a transformer."""
        return max(1, self.width // HEAD_WIDTH)


def _check_common(options: ContrastiveOptions | CaptioningOptions) -> None:
    """Check what both kinds of run have."""
    _check_choices(options, device=DeviceName, precision=Precision, schedule=ScheduleName)
    limit, patience, warmup = options.time_limit_minutes, options.patience, options.warmup_fraction
    _check(options.epochs >= 1, "epochs", options.epochs, "at least 1")
    _check(patience is None or patience >= 1, "patience", patience, "at least 1 epoch")
    _check(options.checkpoint_steps >= 1, "checkpoint_steps", options.checkpoint_steps, "at least 1")
    _check(options.seed >= 0, "seed", options.seed, "0 or more")
    _check(0 < options.learning_rate <= 1, "learning_rate", options.learning_rate, "more than 0, at most 1")
    _check(0 <= warmup < 1, "warmup_fraction", warmup, "a share from 0 to below 1")
    _check(options.weight_decay >= 0, "weight_decay", options.weight_decay, "0 or more")
    _check(options.clip_norm > 0, "clip_norm", options.clip_norm, "more than 0")
    _check(limit is None or limit > 0, "time_limit_minutes", limit, "more than 0")


def _check(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise OptionsError(f"{name} is {value}: give {wanted}")


def _check_choices(options: object, **choices: Any) -> None:  # noqa: ANN401 - Literal types, by field
    for name, kind in choices.items():
        if getattr(options, name) not in get_args(kind):
            known = ", ".join(get_args(kind))
            raise OptionsError(f"{name} is '{getattr(options, name)}': give one of {known}")


RECIPES: dict[str, dict[str, Any]] = {
    # Found on MedPix 2.0, see docs/quality.md.
    "tiny": {
        "epochs": 200,
        "batch_size": 128,
        "loss": "matched",
        "label_agreement": 1.0,
        "label_weight": 1.0,
        "learning_rate": 1e-3,
        "weight_decay": 0.05,
    },
    # Pretrained towers move ten and fifty times slower than the new heads.
    "base": {
        "epochs": 20,
        "batch_size": 64,
        "learning_rate": 1e-3,
        "image_learning_rate": 1e-4,
        "text_learning_rate": 2e-5,
    },
    "original": {
        "epochs": 20,
        "batch_size": 12,
        "loss": "soft",
        "learning_rate": 1e-3,
        "image_learning_rate": 1e-4,
        "text_learning_rate": 1e-5,
        "weight_decay": 1e-3,
        "schedule": "plateau",
        "augmentation": NO_AUGMENTATION,
        "precision": "fp32",
    },
}
# Towers that start at random need one rate for all, whatever the preset.
SCRATCH: dict[str, Any] = {"image_learning_rate": None, "text_learning_rate": None}


def options_for(preset: EncoderPreset, **given: Any) -> ContrastiveOptions:  # noqa: ANN401 - any option
    """The preset's recipe, with every given option that is not None in its place.

    Raises:
        OptionsError: an option is out of range.
    """
    recipe = dict(RECIPES.get(preset.name, {}))
    if given.get("from_scratch") and preset.name != "original":
        recipe |= SCRATCH
    recipe |= {name: value for name, value in given.items() if value is not None}
    return ContrastiveOptions(preset=preset, **recipe)
