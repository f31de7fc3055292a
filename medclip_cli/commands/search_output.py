"""How `medclip search` shows what it found: pictures and a table for people, JSON for programs, a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.captioning import session
from medclip_cli.commands import image_output
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from medclip_cli.pages.answers import AnswerCard
    from medclip_cli.records import Neighbour
    from medclip_cli.terminal.pictures import Mode
    from medclip_cli.vector_index.base import CollectionInfo


@dataclass(frozen=True, slots=True)
class SearchOutput:
    """Shows what was found for one text, or for each of several as they come.

    Attributes:
        info: of the collection that was asked.
        examples: image files that were asked with, like and unlike.
        several: whether texts came as a list; each answer then says which it answers.
        as_json: JSON instead of a table.
        pictures: what ``--pictures`` says.
        add: adds an answer to a page; None without one.
    """

    info: CollectionInfo
    examples: Sequence[Path]
    several: bool
    as_json: bool
    pictures: Mode
    add: Callable[[AnswerCard], None] | None = None

    def failure(self, words: str, error: str) -> None:
        """Say that one text of several could not be asked."""
        if self.as_json:
            json_output.write_line({"query": words, "error": error})
        console.warn(error)

    def answer(self, words: str, found: Sequence[Neighbour]) -> None:
        """Show what was found for a text, or for the example images alone."""
        if self.add is not None:
            self.add(self._card(words, found))
        if self.as_json:
            self._write(words, [session.neighbour_record(hit, self.info) for hit in found])
            return
        if self.several:
            console.prose(f"{words}:" if found else f"{words}: nothing matches")
        image_output.draw(found, self.info, self.pictures)
        if self.several and not found:
            return
        rows: list[tuple[tables.Cell, ...]] = [(hit.rank, hit.score, hit.image, hit.caption) for hit in found]
        tables.show(f"Found in {self.info.name}", ("rank", "score", "image", "caption"), rows)
        if not self.several:
            console.note(session.DISCLAIMER if found else "Nothing matches: loosen --where or --min-score.")

    def _write(self, words: str, found: list[dict[str, object]]) -> None:
        if self.several:
            json_output.write_line({"query": words, "found": found})
        else:
            json_output.write(found)

    def _card(self, words: str, found: Sequence[Neighbour]) -> AnswerCard:
        from medclip_cli.captioning.explanation import hit_cards
        from medclip_cli.pages.answers import AnswerCard

        question = ", ".join((*([words] if words else []), *map(str, self.examples)))
        return AnswerCard(question, self.examples, neighbours=hit_cards(found, self.info))
