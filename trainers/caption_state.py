"""Where a decoder run stands: what a checkpoint keeps besides weights and optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from encoders.decoder import Decoder

DECIDING_SCORE = "cider"


@dataclass(slots=True)
class BestCaptions:
    """The weights whose greedy captions had the highest CIDEr so far.

    Attributes:
        epoch: from 1; 0 before any was judged.
        scores: of its captions, by name.
        weights: its state dict, on the CPU.
    """

    epoch: int = 0
    scores: dict[str, float] = field(default_factory=dict)
    weights: dict[str, Tensor] = field(default_factory=dict)

    def offer(self, epoch: int, scores: Mapping[str, float], decoder: Decoder) -> bool:
        """Keep a copy of the decoder's weights if no epoch before was as good."""
        if self.epoch and scores[DECIDING_SCORE] <= self.scores[DECIDING_SCORE]:
            return False
        self.epoch, self.scores = epoch, dict(scores)
        self.weights = {name: value.detach().cpu().clone() for name, value in decoder.state_dict().items()}
        return True


@dataclass(slots=True)
class CaptioningState:
    """Where a run stands, between two steps.

    Attributes:
        step: steps of the run that are behind.
        epochs: epochs that are behind.
        steps_in_epoch: steps of the epoch under way that are behind.
        losses: of those.
        cuts: how often the plateau schedule has cut the rate.
        cut_epoch: the epoch after which it last did.
        best: the best epoch.
    """

    step: int = 0
    epochs: int = 0
    steps_in_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    cuts: int = 0
    cut_epoch: int = 0
    best: BestCaptions = field(default_factory=BestCaptions)

    @property
    def stale_epochs(self) -> int:
        """Epochs since the best one."""
        return self.epochs - self.best.epoch

    def cut_after(self, patience: int) -> None:
        """Count a cut of the rate if neither a better epoch nor a cut was among the last ``patience``."""
        if self.epochs - max(self.best.epoch, self.cut_epoch) >= patience:
            self.cuts, self.cut_epoch = self.cuts + 1, self.epochs

    def to_dict(self) -> dict[str, Any]:
        """As plain values and tensors."""
        best = {"epoch": self.best.epoch, "scores": self.best.scores, "weights": self.best.weights}
        plain = ("step", "epochs", "steps_in_epoch", "cuts", "cut_epoch")
        return {**{name: getattr(self, name) for name in plain}, "losses": list(self.losses), "best": best}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CaptioningState:
        """The inverse of ``to_dict``."""
        return cls(**{**values, "best": BestCaptions(**values["best"])})
