"""What a decoder run tells the one who watches it, besides what every run does."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol

from trainers.listeners import RunListener


@dataclass(frozen=True, slots=True)
class CaptionEpoch:
    """One epoch and what it was worth.

    Attributes:
        epoch: from 1.
        steps: steps taken so far.
        loss: mean over the epoch, nats a token, smoothing included.
        learning_rate: of the last step.
        scores: of greedy captions of the validation images.
        is_best: no epoch before had a higher CIDEr.
        seconds: it took, validation included.
        images_per_second: of its training part.
        waiting_share: share of its training time spent waiting for data.
    """

    epoch: int
    steps: int
    loss: float
    learning_rate: float
    scores: dict[str, float]
    is_best: bool
    seconds: float
    images_per_second: float
    waiting_share: float

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for the journal."""
        return asdict(self)


class CaptionListener(RunListener[CaptionEpoch], Protocol):
    """Watches a decoder run."""

    def on_seen(self, pictures: int, total: int) -> None:
        """The frozen image tower looked at so many more pictures of all there are; before the run begins."""
