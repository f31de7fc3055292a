"""Answers and hits as the cards that pages and notebooks show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.captioning import session
from medclip_cli.pages.answers import AnswerCard, Card, attention_of
from medclip_cli.pages.html import jpeg

if TYPE_CHECKING:
    from medclip_cli.captioning.predictor import Prediction
    from medclip_cli.records import Neighbour
    from medclip_cli.vector_index.base import CollectionInfo

# Of what people filter by, that which says something of the picture, and under which terms it may be shown.
SHOWN_FIELDS = ("modality", "view", "region", "category", "findings", "age", "sex", "licence")


def answer_card(one: Prediction, info: CollectionInfo) -> AnswerCard:
    """Return a prediction as a page shows it: the scan, the answer, and what it was read from."""
    answer, source, pixels = one.answer, one.embedded.source, one.embedded.image
    assert answer is not None  # an image that cannot be read has no card
    seen = b""
    if pixels is not None:
        from PIL import Image

        seen = jpeg(Image.fromarray(pixels))
    best = answer.written[0] if answer.written and answer.caption is not None else None
    return AnswerCard(
        question=str(source) if isinstance(source, Path) else "-",
        pictures=[source if isinstance(source, Path) else seen],
        caption=answer.caption,
        reason=answer.reason,
        method=answer.method,
        confidence=answer.confidence,
        votes=[(name, vote.value, vote.share) for name, vote in answer.votes.items()],
        neighbours=hit_cards(one.neighbours, info, answer.caption),
        attention=attention_of(best.pieces, best.attention) if best else (),
        attended=seen,
    )


def hit_cards(hits: Sequence[Neighbour], info: CollectionInfo, caption: str | None = None) -> list[Card]:
    """Return what was found as cards, best first.

    Args:
        hits: what was found.
        info: of the collection they are in.
        caption: the answer; the first hit that has it is marked.
    """
    lender = next((hit.rank for hit in hits if hit.caption == caption), None)
    return [
        Card(
            picture=session.neighbour_record(hit, info)["path"],
            caption=hit.caption,
            name=hit.id,
            rank=hit.rank,
            similarity=f"{hit.score:.3f}",
            details=[
                _text(name, hit.fields[name])
                for name in SHOWN_FIELDS
                if hit.fields.get(name) not in (None, "", [])
            ],
            lent_caption=hit.rank == lender,
        )
        for hit in hits
    ]


def _text(name: str, value: object) -> str:
    if name == "age":
        return f"{value:g} years"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
