"""What others have published of captioning MedPix by retrieval, to stand beside ours with a warning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class PublishedFigure:
    """A row of somebody else's table.

    Attributes:
        name: of the system.
        data_set: what it was measured on; the row stands beside evaluations of that alone.
        source: where it was published.
        scores: as published; a score whose variant is not named stands under the name it was given.
        reason: why it cannot be compared with scores made here.
    """

    name: str
    data_set: str
    source: str
    scores: Mapping[str, float]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "name": self.name,
            "source": self.source,
            "scores": dict(self.scores),
            "note": f"published, not comparable: {self.reason}",
        }


PUBLISHED = (
    PublishedFigure(
        name="MedCLIP on MedPix, its README",
        data_set="medpix",
        source="https://github.com/Mauville/MedCLIP",
        scores={"rouge": 0.61},
        reason="which ROUGE is not said, and its split is by image, so that a case lies on both sides",
    ),
    PublishedFigure(
        name="MedCLIP on MedPix, its report",
        data_set="medpix",
        source="https://github.com/Mauville/MedCLIP",
        scores={"bleu1": 0.567, "bleu4": 0.347, "rouge_l": 0.582, "meteor": 0.267, "cider": 0.428},
        reason="114 captions of other images, from a pool that held the query's own case",
    ),
)


def published_for(sources: Iterable[str]) -> list[PublishedFigure]:
    """The figures that belong beside an evaluation of records from these sources.

    >>> [figure.name for figure in published_for(["chexpert"])]
    []
    """
    known = set(sources)
    return [figure for figure in PUBLISHED if any(source.startswith(figure.data_set) for source in known)]
