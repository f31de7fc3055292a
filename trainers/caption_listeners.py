"""What a decoder run tells the one who watches it; a trainer itself never prints."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CaptionEpoch:
    """One epoch and what it was worth.

    Attributes:
        epoch: from 1.
        epochs: of the whole run.
        loss: mean over the epoch, nats a token, smoothing included.
        scores: of greedy captions of the validation images.
        is_best: no epoch before had a higher CIDEr.
        seconds: it took, validation included.
        seconds_left: estimate for the rest.
    """

    epoch: int
    epochs: int
    loss: float
    scores: dict[str, float]
    is_best: bool
    seconds: float
    seconds_left: float


class CaptionListener(Protocol):
    """Watches a decoder run; a trainer itself never prints."""

    def on_start(self, parameters: int, captions: int, device: str) -> None:
        """The decoder is about to take its first step."""

    def on_seen(self, images: int, total: int) -> None:
        """The image tower looked at so many more pictures of all there are."""

    def on_epoch(self, report: CaptionEpoch) -> None:
        """An epoch was finished and judged."""

    def on_skip(self, pair_id: str, image: Path, reason: str) -> None:
        """An image cannot be read; its pair is left out."""

    def on_note(self, message: str) -> None:
        """Something worth knowing happened."""
