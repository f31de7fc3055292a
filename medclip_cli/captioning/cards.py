"""Answers and neighbours as the cards that pages and notebooks show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from medclip_cli.pages.answers import AnswerCard, Card, attention_of
from medclip_cli.pages.html import jpeg

if TYPE_CHECKING:
    from medclip_cli.captioning.predictor import Answer
    from medclip_cli.records import Neighbour

# The filter fields that describe an image, and its licence.
SHOWN_FIELDS = ("modality", "view", "region", "category", "findings", "age", "sex", "licence")


def answer_card(answer: Answer) -> AnswerCard:
    """Return an answer as a page shows it: the scan, the caption, and what it was read from."""
    model_input = b""
    if answer.pixels is not None:
        from PIL import Image

        model_input = jpeg(Image.fromarray(answer.pixels))
    best = answer.generated[0] if answer.generated and answer.caption is not None else None
    return AnswerCard(
        question=answer.image,
        pictures=[answer.source if isinstance(answer.source, Path) else model_input],
        caption=answer.caption,
        reason=answer.reason or answer.error,
        method=answer.method or "",
        confidence=answer.confidence,
        votes=[(name, vote.value, vote.share) for name, vote in answer.votes.items()],
        neighbours=hit_cards(answer.neighbours, answer.lender),
        attention=attention_of(best.pieces, best.attention) if best else (),
        attended=model_input,
    )


def hit_cards(hits: Sequence[Neighbour], lender: Neighbour | None = None) -> list[Card]:
    """Return neighbours as cards, best first; the one that lent its caption is marked."""
    return [
        Card(
            picture=hit.path,
            caption=hit.caption,
            name=hit.id,
            rank=hit.rank,
            similarity=f"{hit.score:.3f}",
            details=[
                _text(name, hit.fields[name])
                for name in SHOWN_FIELDS
                if hit.fields.get(name) not in (None, "", [])
            ],
            lent_caption=hit is lender,
        )
        for hit in hits
    ]


def _text(name: str, value: object) -> str:
    if name == "age":
        return f"{value:g} years"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
