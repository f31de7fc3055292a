"""Gathers what stands behind each answer, for the page of `medclip caption --explain`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.captioning import session
from medclip_cli.commands import inputs
from medclip_cli.pages import thumbnails

if TYPE_CHECKING:
    from medclip_cli.captioning.predictor import Prediction
    from medclip_cli.pages.explanation_page import Explanation
    from medclip_cli.records import Neighbour
    from medclip_cli.vector_index.base import CollectionInfo

THUMBNAIL_SIDE = 224


class Explainer:
    """Collects explanations and writes them as one page."""

    def __init__(self, page: Path, info: CollectionInfo) -> None:
        """Explain the answers of a collection.

        Raises:
            MedclipError: the page cannot be written there; better known before the work than after.
        """
        from medclip_cli.pages.web_page import check_page

        check_page(page)
        self._page, self._info = page, info
        self._explanations: list[Explanation] = []

    def add(self, answered: Prediction) -> None:
        """Keep what stands behind one answer."""
        from PIL import Image

        from medclip_cli.pages.explanation_page import Explanation, ShownNeighbour, attention_maps_of

        answer, source, square = answered.answer, answered.embedded.source, answered.embedded.image
        assert answer is not None
        neighbours = [
            ShownNeighbour(neighbour.id, neighbour.score, neighbour.caption, self._picture_of(neighbour))
            for neighbour in answered.neighbours
        ]
        best = answer.written[0] if answer.written and answer.caption is not None else None
        self._explanations.append(
            Explanation(
                image=inputs.label_of(source),
                picture=thumbnails.jpeg(Image.fromarray(square)) if square is not None else b"",
                caption=answer.caption,
                reason=answer.reason,
                method=answer.method,
                confidence=answer.confidence,
                votes=[(name, vote.value, vote.share) for name, vote in answer.votes.items()],
                neighbours=neighbours,
                attention_maps=attention_maps_of(best.pieces, best.attention) if best else (),
            )
        )

    def write(self) -> None:
        """Put the page in its place, for its owner's eyes alone."""
        from medclip_cli.pages.explanation_page import explanation_page
        from medclip_cli.pages.web_page import write_page

        source = f"model {self._info.model_name}, collection {self._info.name}"
        write_page(self._page, explanation_page(self._explanations, source, session.DISCLAIMER))

    def _picture_of(self, neighbour: Neighbour) -> bytes:
        path = session.neighbour_record(neighbour, self._info)["path"]
        return thumbnails.jpeg(thumbnails.thumbnail(path, THUMBNAIL_SIDE))
