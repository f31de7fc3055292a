"""AdamW with a rate for each tower, and no decay where decay does harm."""

from __future__ import annotations

from collections.abc import Iterable
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
