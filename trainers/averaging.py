"""Averaged weights: calmer than those of the last step, and often better (arXiv 1803.05407, 2307.13813)."""

from __future__ import annotations

import copy

import torch

from trainers.objective import PairEncoder

# An average that starts with the first step must forget the random start first.
_WARM_UP_STEPS = 10


class AveragedEncoder:
    """The exponential moving average of an encoder's weights and running statistics."""

    def __init__(self, encoder: PairEncoder, decay: float) -> None:
        """Start with the encoder as it is.

        Args:
            encoder: on its device; frozen weights are not averaged, they stay what they are.
            decay: share of the average that each step keeps.
        """
        self.encoder = copy.deepcopy(encoder).eval().requires_grad_(False)
        self._decay = decay
        frozen = {name for name, weight in encoder.named_parameters() if not weight.requires_grad}
        mine, theirs = self.encoder.state_dict(), encoder.state_dict()
        self._tied = [(mine[name], theirs[name]) for name in mine if name not in frozen]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights as the given step, from 0, left them."""
        decay = min(self._decay, (1 + step) / (_WARM_UP_STEPS + step))
        for average, value in self._tied:
            if average.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)
