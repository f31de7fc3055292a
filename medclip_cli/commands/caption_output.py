"""How `medclip caption` shows an answer: a line and a table for people, a JSON line for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from medclip_cli.captioning import session
from medclip_cli.commands import image_output, inputs
from medclip_cli.terminal import console, json_output, tables

if TYPE_CHECKING:
    from PIL.Image import Image

    from medclip_cli.captioning.predictor import Answer, Prediction
    from medclip_cli.captioning.votes import Vote
    from medclip_cli.evaluation.references import References
    from medclip_cli.records import Neighbour
    from medclip_cli.terminal.pictures import Mode
    from medclip_cli.vector_index.base import CollectionInfo


@dataclass(frozen=True, slots=True)
class CaptionOutput:
    """Writes answers as they come.

    Attributes:
        info: of the collection that answers.
        as_json: a JSON line for each image.
        show_fields: with what the neighbours say of each field.
        references: knows true captions, to score each answer with.
        pictures: what ``--pictures`` says.
    """

    info: CollectionInfo
    as_json: bool
    show_fields: bool = False
    references: References | None = None
    pictures: Mode = "auto"

    def failure(self, path: str, error: str) -> None:
        """Say that an image has no answer because it cannot be read."""
        if self.as_json:
            json_output.write_line({"image": path, "caption": None, "error": error})
        console.warn(f"{path}: {error}")

    def answer(self, one: Prediction, scan: Image | None = None) -> None:
        """Show one answer with the neighbours it was made of."""
        source, answer, neighbours = one.embedded.source, one.answer, one.neighbours
        assert answer is not None  # those that cannot be read are failures
        path = inputs.label_of(source)
        scores = self.references.scores(source, answer.caption) if self.references else None
        if self.as_json:
            json_output.write_line(self._record(path, answer, neighbours, scores))
            return
        sure = "" if answer.confidence is None else f" (confidence {answer.confidence:.2f})"
        console.prose(f"{path}: {answer.caption or answer.reason}{sure}")
        if neighbours:
            image_output.draw(neighbours, self.info, self.pictures, scan)
            tables.show(
                f"Nearest in {self.info.name}",
                ("rank", "score", "image", "caption"),
                [(n.rank, n.score, n.image, n.caption) for n in neighbours],
            )
        if len(answer.written) > 1:
            tables.show(
                "Captions written", ("score", "caption"), [(one.score, one.caption) for one in answer.written]
            )
        if self.show_fields:
            tables.show("What they say", ("field", "value", "share", "others"), _vote_rows(answer.votes))
        if scores is not None:
            tables.show("Beside the true captions", tuple(scores), [tuple(scores.values())])

    def _record(
        self,
        path: str,
        answer: Answer,
        neighbours: Sequence[Neighbour],
        scores: dict[str, float] | None,
    ) -> dict[str, object]:
        record: dict[str, object] = {
            "image": path,
            "caption": answer.caption,
            "method": answer.method,
            "score": answer.score,
            "confidence": answer.confidence,
        }
        if answer.reason is not None:
            record["reason"] = answer.reason
        if answer.written:
            record["captions"] = [{"caption": one.caption, "score": one.score} for one in answer.written]
        if self.show_fields:
            record["fields"] = {
                name: {"value": vote.value, "share": vote.share, "shares": dict(vote.shares)}
                for name, vote in answer.votes.items()
            }
        if scores is not None:
            record["reference_scores"] = scores
        record["neighbours"] = [session.neighbour_record(neighbour, self.info) for neighbour in neighbours]
        record["model"] = self.info.model_name
        record["collection"] = self.info.name
        return record


def _vote_rows(votes: dict[str, Vote]) -> list[tuple[tables.Cell, ...]]:
    return [
        (name, vote.value, vote.share, ", ".join(f"{value} {share:.2f}" for value, share in vote.shares[1:4]))
        for name, vote in votes.items()
    ]
