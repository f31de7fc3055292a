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
    from medclip_cli.engines import Source
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
        from medclip_cli.rendering.explanation_page import Explanation, ShownNeighbour, glances_of

        answer, source = answered.answer, answered.embedded.source
        assert answer is not None
        neighbours = [
            ShownNeighbour(neighbour.id, neighbour.score, neighbour.caption, self._picture_of(neighbour))
            for neighbour in answered.neighbours
        ]
        best = answer.written[0] if answer.written and answer.caption is not None else None
        self._explanations.append(
            Explanation(
                image=inputs.label_of(source),
                picture=_picture(source),
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


def _picture(source: Source) -> bytes:
    """A JPEG of the square the model sees; empty when the image cannot be read."""
    from medclip_cli.engines import UnreadableScanError, read_scan

    try:
        if not isinstance(source, Path):
            source.seek(0)
        return _square_jpeg(read_scan(source))
    except (UnreadableScanError, OSError):
        return b""


def _square_jpeg(scan: Image) -> bytes:
    from PIL import ImageOps

    file = io.BytesIO()
    size = (THUMBNAIL_SIDE, THUMBNAIL_SIDE)
    ImageOps.pad(scan.convert("RGB"), size, color="black").save(file, "JPEG", quality=80)
    return file.getvalue()
