"""Gathers what stands behind each answer, for the page of `medclip caption --explain`."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.commands import asking, inputs
from medclip_cli.errors import MedclipError

if TYPE_CHECKING:
    from PIL.Image import Image

    from medclip_cli.commands.answering import Answered
    from medclip_cli.records import Neighbour
    from medclip_cli.rendering.explanation_page import Explanation
    from medclip_cli.vector_index.base import CollectionInfo

THUMBNAIL_SIDE = 224


class Explainer:
    """Collects explanations and writes them as one page."""

    def __init__(self, page: Path, info: CollectionInfo) -> None:
        """Explain the answers of a collection.

        Raises:
            MedclipError: the page cannot be written there; better known before the work than after.
        """
        if page.is_dir() or not page.absolute().parent.is_dir():
            raise MedclipError(f"cannot write {page}: name a file in a folder that exists")
        self._page, self._info = page, info
        self._explanations: list[Explanation] = []

    def add(self, answered: Answered) -> None:
        """Keep what stands behind one answer."""
        from PIL import Image

        from medclip_cli.rendering.explanation_page import Explanation, ShownNeighbour, glances_of

        answer, source, square = answered.answer, answered.embedded.source, answered.embedded.square
        assert answer is not None
        neighbours = [
            ShownNeighbour(neighbour.id, neighbour.score, neighbour.caption, self._picture_of(neighbour))
            for neighbour in answered.neighbours
        ]
        best = answer.written[0] if answer.written and answer.caption is not None else None
        self._explanations.append(
            Explanation(
                image=inputs.label_of(source),
                picture=_jpeg(Image.fromarray(square)) if square is not None else b"",
                caption=answer.caption,
                reason=answer.reason,
                method=answer.method,
                confidence=answer.confidence,
                votes=[(name, vote.value, vote.share) for name, vote in answer.votes.items()],
                neighbours=neighbours,
                glances=glances_of(best.pieces, best.attention) if best else (),
            )
        )

    def write(self) -> None:
        """Write the page beside its place, then rename it there."""
        from medclip_cli.rendering.explanation_page import explanation_page

        source = f"model {self._info.model_name}, collection {self._info.name}"
        text = explanation_page(self._explanations, source, asking.DISCLAIMER)
        staged = self._page.with_name(f".{self._page.name}.{os.getpid()}")
        try:
            staged.write_text(text, encoding="utf-8")
            staged.replace(self._page)
        finally:
            staged.unlink(missing_ok=True)

    def _picture_of(self, neighbour: Neighbour) -> bytes:
        path = asking.neighbour_record(neighbour, self._info)["path"]
        return _picture(Path(path)) if path else b""


def _picture(path: Path) -> bytes:
    """A small JPEG of an image file; empty when it cannot be read."""
    from medclip_cli.engines import UnreadableScanError, read_scan

    try:
        scan = read_scan(path)
    except UnreadableScanError:
        return b""
    scan.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return _jpeg(scan)


def _jpeg(picture: Image) -> bytes:
    file = io.BytesIO()
    picture.convert("RGB").save(file, "JPEG", quality=80)
    return file.getvalue()
