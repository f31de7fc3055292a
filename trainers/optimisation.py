"""AdamW with a learning rate for each tower, and the schedules of the rates."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from trainers.options import ContrastiveOptions


def parameter_groups(module: nn.Module, options: ContrastiveOptions) -> list[dict[str, Any]]:
    """Sort the trainable parameters by learning rate and weight decay.

    Biases, norms and the temperature are vectors or scalars: pulling them to zero helps nothing, so only
    matrices and filters decay.

    Args:
        module: its parameters are named ``...image_tower...``, ``...text_tower...`` or otherwise (heads,
            scale).
        options: rates and decay.

    Returns:
        Groups for a torch optimiser; ``peak`` keeps each group's highest rate.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            decay = options.weight_decay if parameter.ndim >= 2 else 0.0
            groups.setdefault((_rate(name, options), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "peak": rate, "weight_decay": decay}
        for (rate, decay), parameters in groups.items()
    ]


def _rate(name: str, options: ContrastiveOptions) -> float:
    if "image_tower." in name:
        return options.image_learning_rate or options.learning_rate
    if "text_tower." in name:
        return options.text_learning_rate or options.learning_rate
    return options.learning_rate


def build_adamw(groups: Iterable[dict[str, Any]]) -> torch.optim.AdamW:
    """AdamW (https://arxiv.org/abs/1711.05101), all parameters of a group in one fused kernel."""
    return torch.optim.AdamW(list(groups), betas=(0.9, 0.98), eps=1e-6, fused=True)


def set_rates(optimiser: torch.optim.Optimizer, factor: float) -> None:
    """Bring every group to ``factor`` times its peak rate."""
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * factor


def warmup_cosine(progress: float, warmup: float, lowest: float = 0.0) -> float:
    """Factor of the peak rate: warm-up, then half a cosine (https://arxiv.org/abs/1608.03983, no restarts).

    Args:
        progress: share of the run so far, 0 to 1; values outside are clamped.
        warmup: share of the run that warms up, 0 up to, not including, 1.
        lowest: factor at the end of the run.
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup:
        return progress / warmup
    falling = (progress - warmup) / (1.0 - warmup)
    return lowest + (1.0 - lowest) * 0.5 * (1.0 + math.cos(math.pi * falling))


def run_progress(
    step: int, total_steps: int, elapsed_seconds: float = 0.0, limit_seconds: float | None = None
) -> float:
    """Share of the run so far, by steps (from 0, about to be taken) or by the clock, whichever is further.

    A run with a time limit thus ends its cosine when its time ends, however slow the machine turns out to be.
    """
    # The first step already moves: half a step is behind it on average.
    by_steps = (step + 0.5) / max(total_steps, 1)
    by_clock = elapsed_seconds / limit_seconds if limit_seconds else 0.0
    return min(max(by_steps, by_clock), 1.0)


@dataclass(slots=True)
class LossPlateau:
    """A rate that is lowered when the validation loss stops falling, as torch's ReduceLROnPlateau does."""

    rate: float = 1.0  # the factor the peak learning rates are multiplied with
    best: float = math.inf  # lowest loss so far
    bad_epochs: int = 0  # epochs without a lower one since
    factor: float = 0.8  # what the rate is multiplied with
    patience: int = 1  # so many bad epochs are borne
    threshold: float = 1e-4  # a loss is lower when it is by this share

    def update(self, loss: float) -> None:
        """Take in the validation loss of an epoch."""
        if loss < self.best * (1 - self.threshold):
            self.best, self.bad_epochs = loss, 0
        else:
            self.bad_epochs += 1
        if self.bad_epochs > self.patience:
            self.rate, self.bad_epochs = self.rate * self.factor, 0


@dataclass(slots=True)
class PlateauSchedule:
    """A rate that is halved when neither a better epoch nor a cut was among the last few."""

    cuts: int = 0  # how often the rate was halved
    cut_epoch: int = 0  # the epoch after which it last was
    patience: int = 2  # so many epochs without either are borne

    @property
    def rate(self) -> float:
        """The factor the peak learning rate is multiplied with."""
        return 0.5**self.cuts

    def update(self, epoch: int, best_epoch: int) -> None:
        """Take in an epoch, and which one is the best so far; both from 1."""
        if epoch - max(best_epoch, self.cut_epoch) >= self.patience:
            self.cuts, self.cut_epoch = self.cuts + 1, epoch
