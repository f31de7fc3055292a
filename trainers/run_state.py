"""Where a run stands: what a checkpoint keeps besides weights and optimiser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import Tensor

from encoders.dual import DualEncoder
from trainers.schedules import Plateau
from trainers.validation import DirectionRecall, RetrievalRecall


@dataclass(slots=True)
class BestEpoch:
    """The weights with the highest mean recall so far.

    Attributes:
        epoch: from 1; 0 before any was judged.
        recall: what it scored.
        weights: its state dict, on the CPU.
    """

    epoch: int = 0
    recall: RetrievalRecall | None = None
    weights: dict[str, Tensor] | None = None

    def offer(self, epoch: int, recall: RetrievalRecall, model: DualEncoder) -> bool:
        """Keep a copy of the model's weights if no epoch before was as good."""
        if self.recall is not None and recall.mean_recall <= self.recall.mean_recall:
            return False
        self.epoch, self.recall = epoch, recall
        self.weights = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        return True


@dataclass(slots=True)
class RunState:
    """Where a run stands, between two steps.

    Attributes:
        step: steps of the run that are behind.
        epochs: epochs that are behind.
        steps_in_epoch: steps of the epoch under way that are behind.
        losses: of those, without the steps that had too few readable pairs.
        best: the best epoch.
        plateau: the rate of the ``plateau`` schedule.
    """

    step: int = 0
    epochs: int = 0
    steps_in_epoch: int = 0
    losses: list[float] = field(default_factory=list)
    best: BestEpoch = field(default_factory=BestEpoch)
    plateau: Plateau = field(default_factory=Plateau)

    def finish_epoch(self, validation_loss: float) -> None:
        """Count the epoch under way, which had this loss on the validation pairs."""
        self.epochs, self.steps_in_epoch, self.losses = self.epochs + 1, 0, []
        self.plateau.see(validation_loss)

    def to_dict(self) -> dict[str, Any]:
        """As plain values and tensors."""
        recall = self.best.recall
        return {
            "step": self.step,
            "epochs": self.epochs,
            "steps_in_epoch": self.steps_in_epoch,
            "losses": list(self.losses),
            "best_epoch": self.best.epoch,
            "best_recall": recall.to_dict() if recall else None,
            "best_weights": self.best.weights,
            "plateau": asdict(self.plateau),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunState:
        """The inverse of ``to_dict``."""
        recall = values["best_recall"]
        best = BestEpoch(
            values["best_epoch"], _recall_from_dict(recall) if recall else None, values["best_weights"]
        )
        return cls(
            step=values["step"],
            epochs=values["epochs"],
            steps_in_epoch=values["steps_in_epoch"],
            losses=list(values["losses"]),
            best=best,
            plateau=Plateau(**values["plateau"]),
        )


def _recall_from_dict(values: Mapping[str, Any]) -> RetrievalRecall:
    return RetrievalRecall(
        pool=values["pool"],
        image_to_text=DirectionRecall(**values["image_to_text"]),
        text_to_image=DirectionRecall(**values["text_to_image"]),
    )
