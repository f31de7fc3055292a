"""What a training run is asked to do: plain data, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

from encoders.errors import OptionsError
from encoders.presets import EncoderPreset
from trainers.augmentation import NO_AUGMENTATION, Augmentation

LossName = Literal["infonce", "matched", "soft", "sigmoid"]
DeviceName = Literal["auto", "cpu", "cuda"]
Precision = Literal["auto", "fp32", "bf16"]
ScheduleName = Literal["cosine", "plateau"]
FrozenTowers = Literal["none", "image", "text", "both"]


@dataclass(frozen=True, slots=True)
class ContrastiveOptions:
    """Options of one contrastive run.

    Attributes:
        preset: the shape of the model.
        from_scratch: start every weight at random, also where pretrained ones exist.
        image_weights: a file of pretrained weights for the image tower.
        text_weights: a folder of a pretrained text tower.
        offline: never ask the network for weights.
        loss: one of ``LossName``.
        freeze: towers that learn nothing; their features are computed once, without augmentation of the
            image, so that only the heads and the other tower cost time.
        cache_frozen: keep those features; False computes them again in every step.
        label_agreement: how much of a match two pairs with equal labels are to the ``matched`` loss, 0 to 1.
        label_weight: of predicting modality, view, region ... from the image vector, by linear heads that are
            thrown away at the end; 0 for none.
        view_weight: of telling two views of each image from those of others, beside the loss; 0 for none.
        image_epochs: so many epochs come first in which nothing but those views counts.
        epochs: passes over the training pairs, ``image_epochs`` included.
        batch_size: pairs that are compared with each other, over all processes.
        accumulate: batches whose gradients make one step; pairs of different batches are not compared.
        cache_chunk: pairs that go through the towers at once; None takes the whole batch. The gradients stay
            those of the whole batch (gradient caching), for one more forward pass.
        learning_rate: peak, of every parameter that has no rate of its own.
        image_learning_rate: peak of the image tower without its head.
        text_learning_rate: peak of the text tower without its head.
        weight_decay: of matrices; norms, biases and the scale have none.
        schedule: ``cosine`` rises and falls over the run; ``plateau`` starts at the peak and is lowered when
            the validation loss stops falling.
        warmup_fraction: share of the run in which the cosine's rate rises.
        clip_norm: gradients longer than this are shortened to it.
        max_logit_scale: the learnable scale stays below this.
        ema: share that the moving average of the weights keeps in a step; it is the average then that is
            judged and becomes the model. None for no average.
        augmentation: how far training images are moved.
        seed: of weights, order, augmentation and dropout.
        device: ``auto`` takes a GPU when there is one.
        precision: ``auto`` takes bf16 where the hardware has it.
        time_limit_minutes: the run ends, schedule and all, when its time is over; None for no limit.
        patience: the run ends after so many epochs without a better recall; None for no early stop.
        checkpoint_steps: a checkpoint is written after so many steps, and after every epoch.
        resume: go on with an interrupted run of the same options.
        force: replace a model folder that exists.
    """

    preset: EncoderPreset
    from_scratch: bool = False
    image_weights: Path | None = None
    text_weights: Path | None = None
    offline: bool = False
    loss: LossName = "matched"
    freeze: FrozenTowers = "none"
    cache_frozen: bool = True
    label_agreement: float = 0.0
    label_weight: float = 0.0
    view_weight: float = 0.0
    image_epochs: int = 0
    epochs: int = 30
    batch_size: int = 128
    accumulate: int = 1
    cache_chunk: int | None = None
    learning_rate: float = 1e-3
    image_learning_rate: float | None = None
    text_learning_rate: float | None = None
    weight_decay: float = 0.05
    schedule: ScheduleName = "cosine"
    warmup_fraction: float = 0.1
    clip_norm: float = 1.0
    max_logit_scale: float = 100.0
    ema: float | None = None
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    device: DeviceName = "auto"
    precision: Precision = "auto"
    time_limit_minutes: float | None = None
    patience: int | None = None
    checkpoint_steps: int = 1000
    resume: bool = False
    force: bool = False

    @property
    def views(self) -> int:
        """How often each image is augmented in a step."""
        return 2 if self.view_weight or self.image_epochs else 1

    def __post_init__(self) -> None:
        """Refuse values no run can have, naming the flag to change."""
        check_choice("--loss", self.loss, get_args(LossName))
        check_choice("--device", self.device, get_args(DeviceName))
        check_choice("--precision", self.precision, get_args(Precision))
        check_choice("--freeze", self.freeze, get_args(FrozenTowers))
        check(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        check(self.batch_size >= 2, "--batch-size", self.batch_size, "at least 2, each pair needs a negative")
        check_choice("--schedule", self.schedule, get_args(ScheduleName))
        self._check_counts()
        self._check_views()
        self._check_amounts()

    def _check_counts(self) -> None:
        check(self.accumulate >= 1, "--accumulate", self.accumulate, "at least 1")
        chunk, patience = self.cache_chunk, self.patience
        check(chunk is None or chunk >= 1, "--cache-chunk", chunk, "at least 1")
        check(patience is None or patience >= 1, "--patience", patience, "at least 1 epoch")
        check(self.checkpoint_steps >= 1, "--checkpoint-steps", self.checkpoint_steps, "at least 1")
        check(self.seed >= 0, "--seed", self.seed, "0 or more")

    def _check_views(self) -> None:
        epochs = self.image_epochs
        check(0 <= epochs < self.epochs, "--image-epochs", epochs, "0 or more, and fewer than --epochs")
        check(self.view_weight >= 0, "--view-weight", self.view_weight, "0 or more")
        if self.views == 1:
            return
        if self.freeze in ("image", "both"):
            raise OptionsError(
                "a frozen image tower sees one view: leave --view-weight and --image-epochs out"
            )
        if self.augmentation == NO_AUGMENTATION:
            raise OptionsError("--view-weight and --image-epochs need two views: leave --no-augmentation out")

    def _check_amounts(self) -> None:
        check(0 <= self.warmup_fraction < 1, "warm-up", self.warmup_fraction, "a share from 0 to below 1")
        check(0 <= self.label_agreement <= 1, "label agreement", self.label_agreement, "a share from 0 to 1")
        check(self.label_weight >= 0, "--label-weight", self.label_weight, "0 or more")
        check(self.weight_decay >= 0, "--weight-decay", self.weight_decay, "0 or more")
        check(self.clip_norm > 0, "clip norm", self.clip_norm, "more than 0")
        check(self.max_logit_scale > 0, "max logit scale", self.max_logit_scale, "more than 0")
        for rate in (self.learning_rate, self.image_learning_rate, self.text_learning_rate):
            check(rate is None or 0 < rate <= 1, "learning rate", rate, "more than 0 and at most 1")
        check(self.ema is None or 0 < self.ema < 1, "--ema", self.ema, "a share between 0 and 1")
        limit = self.time_limit_minutes
        check(limit is None or limit > 0, "--minutes", limit, "more than 0")


def check(holds: bool, name: str, value: object, wanted: str) -> None:
    """Refuse a value that no run can have.

    Args:
        holds: whether a run can have it.
        name: the flag to change, or what it is about.
        value: what was given.
        wanted: what to give instead.

    Raises:
        OptionsError: it does not hold.
    """
    if not holds:
        raise OptionsError(f"{name} is {value}: give {wanted}")


def check_choice(name: str, value: str, known: tuple[str, ...]) -> None:
    """Refuse a name that is not known.

    Raises:
        OptionsError: it is not; the message lists those that are.
    """
    if value not in known:
        raise OptionsError(f"{name} is '{value}': give one of {', '.join(known)}")
