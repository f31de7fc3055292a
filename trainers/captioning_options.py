"""What a decoder's training run is asked to do: plain data, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from encoders.errors import OptionsError
from trainers.augmentation import Augmentation
from trainers.options import DeviceName, Precision, ScheduleName, check, check_choice

DecoderName = Literal["lstm", "transformer"]
HEAD_WIDTH = 32


@dataclass(frozen=True, slots=True)
class CaptioningOptions:
    """Options of one decoder run.

    Attributes:
        decoder: ``lstm`` or ``transformer``.
        retrieve: captions of neighbours that a transformer reads; 0 for none.
        retrieved_tokens: tokens it reads of each.
        width: of the decoder's layers.
        layers: of a transformer.
        dropout: everywhere in the decoder.
        vocab_size: of the byte-pair encoding learned on the captions, at most.
        max_tokens: longest caption, start and end included; longer ones are cut.
        epochs: passes over the training captions.
        batch_size: captions in a step.
        learning_rate: peak.
        weight_decay: of matrices.
        warmup_fraction: share of the run in which the rate rises.
        label_smoothing: share of each target spread over the vocabulary (arXiv 1512.00567, section 7).
        clip_norm: gradients longer than this are shortened to it.
        views: how many augmented pictures of each image the decoder sees, one an epoch in turn. The image
            tower is frozen, so each is looked at once and kept.
        augmentation: how far the views are moved.
        seed: of weights, order, augmentation and dropout.
        device: ``auto`` takes a GPU when there is one.
        precision: ``auto`` takes bf16 where the hardware has it.
        time_limit_minutes: the run ends, schedule and all, when its time is over; None for no limit.
        schedule: of the rate after its warm-up: ``cosine`` down to nothing, or ``plateau``, which halves it
            when two epochs brought no better CIDEr.
        patience: the run ends after so many epochs without a better CIDEr; None for no early stop.
        checkpoint_steps: a checkpoint is written after so many steps, and after epochs.
        resume: go on with an interrupted run of the same options.
        force: start anew where an interrupted run stands.
    """

    decoder: DecoderName = "transformer"
    retrieve: int = 0
    retrieved_tokens: int = 48
    width: int = 128
    layers: int = 2
    dropout: float = 0.2
    vocab_size: int = 4096
    max_tokens: int = 128
    epochs: int = 20
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_fraction: float = 0.05
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    views: int = 4
    augmentation: Augmentation = field(default_factory=Augmentation)
    seed: int = 0
    device: DeviceName = "auto"
    precision: Precision = "auto"
    time_limit_minutes: float | None = None
    schedule: ScheduleName = "cosine"
    patience: int | None = None
    checkpoint_steps: int = 1000
    resume: bool = False
    force: bool = False

    def __post_init__(self) -> None:
        """Refuse values no run can have, naming the flag to change.

        Raises:
            OptionsError: a value is out of range.
        """
        self._check_choices()
        self._check_counts()
        self._check_amounts()

    def _check_choices(self) -> None:
        check_choice("--decoder", self.decoder, get_args(DecoderName))
        check_choice("--schedule", self.schedule, get_args(ScheduleName))
        check_choice("--device", self.device, get_args(DeviceName))
        check_choice("--precision", self.precision, get_args(Precision))
        if self.decoder == "lstm" and self.retrieve:
            raise OptionsError("--retrieve needs --decoder transformer: an LSTM reads no captions")

    def _check_counts(self) -> None:
        for flag, value, least in (
            ("--retrieve", self.retrieve, 0),
            ("--epochs", self.epochs, 1),
            ("--batch-size", self.batch_size, 1),
            ("--seed", self.seed, 0),
            ("--layers", self.layers, 1),
            ("--max-tokens", self.max_tokens, 4),
            ("views", self.views, 1),
            ("--patience", self.patience, 1),
            ("--checkpoint-steps", self.checkpoint_steps, 1),
        ):
            check(value is None or value >= least, flag, value, f"at least {least}")

    def _check_amounts(self) -> None:
        fits = self.width >= HEAD_WIDTH and self.width % HEAD_WIDTH == 0
        check(fits, "--width", self.width, f"a multiple of {HEAD_WIDTH}")
        rate, limit = self.learning_rate, self.time_limit_minutes
        check(0 < rate <= 1, "--learning-rate", rate, "more than 0 and at most 1")
        check(limit is None or limit > 0, "--minutes", limit, "more than 0")
        for name, share in (
            ("--dropout", self.dropout),
            ("warm-up", self.warmup_fraction),
            ("label smoothing", self.label_smoothing),
        ):
            check(0 <= share < 1, name, share, "a share from 0 to below 1")
        check(self.weight_decay >= 0, "weight decay", self.weight_decay, "0 or more")
        check(self.clip_norm > 0, "clip norm", self.clip_norm, "more than 0")

    @property
    def heads(self) -> int:
        """Attention heads of a transformer."""
        return max(1, self.width // HEAD_WIDTH)
