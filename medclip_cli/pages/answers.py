"""Answers as cards: the scan, what is said of it, how sure that is, and the images it was read from."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medclip_cli.pages.html import CARD_SIDE, SCAN_SIDE, Picture, data_uri, macros, open_page, picture_uris

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_WORD = re.compile(r"\w+(?:[-'.]\w+)*")
_STOP_WORDS = frozenset(
    "a an and are as at by for from in is it its no not of on or that the there this to was with".split()
)
_UNSURE, _SURE = 0.5, 0.75
_HEAT = (255, 96, 0)
_STRONGEST = 190  # of 255: the scan stays visible under the brightest cell


@dataclass(frozen=True, slots=True)
class Card:
    """One image with what is known of it.

    Attributes:
        picture: JPEG bytes, or the path of an image file.
        caption: its caption.
        name: its file name, or the id of its record.
        rank: 1 is best.
        similarity: as it is to be read: ``0.712``.
        details: what else is known of it: modality, view, age, licence.
        lent_caption: whether the answer is this image's caption.
    """

    picture: Picture = None
    caption: str = ""
    name: str = ""
    rank: int | None = None
    similarity: str = ""
    details: Sequence[str] = ()
    lent_caption: bool = False


@dataclass(frozen=True, slots=True)
class Attention:
    """A decoder's attention before it wrote a word."""

    word: str  # that it wrote
    heat: NDArray[np.float32]  # how much of its attention lay on each cell, ``[rows, columns]``


@dataclass(frozen=True, slots=True)
class AnswerCard:
    """A query, its answer, and why.

    Attributes:
        question: the path of the scan, or the words of a search.
        pictures: the images of the query.
        caption: the answer in words; None where there is none, or the neighbours alone are the answer.
        reason: why there is no caption.
        method: that made the answer.
        confidence: probability that the answer is right, where it was measured.
        votes: (field, value, share of the neighbours that have it).
        neighbours: best first.
        attention: of a decoder, in the order of the words.
        attended: the image that the attention is drawn on.
    """

    question: str
    pictures: Sequence[Picture] = ()
    caption: str | None = None
    reason: str | None = None
    method: str = ""
    confidence: float | None = None
    votes: Sequence[tuple[str, str, float]] = ()
    neighbours: Sequence[Card] = ()
    attention: Sequence[Attention] = ()
    attended: Picture = None


def cards(shown: Iterable[Card], title: str = "") -> str:
    """Return images with their captions as a fragment for a notebook."""
    return str(macros().cards_fragment(_with_pictures(list(shown), frozenset()), title))


def answers(shown: Iterable[AnswerCard]) -> str:
    """Return answers as a fragment for a notebook."""
    return str(macros().answers_fragment(map(_prepared, shown)))


@contextmanager
def open_gallery(
    page: Path | None, title: str, source: str, command: str = ""
) -> Iterator[Callable[[AnswerCard], None]]:
    """Open a page of answers, written one by one and put in place whole when the block ends.

    Args:
        page: where it goes; None writes nothing.
        title: of the page.
        source: the model and the collection that answer.
        command: that makes the page.

    Raises:
        MedclipError: it cannot be written there.
    """
    if page is None:
        yield lambda _: None
        return
    with open_page(page) as file:
        parts = macros()
        file.write(parts.page_top(title, source))
        yield lambda answer: (file.write(parts.answer(_prepared(answer))), None)[1]
        file.write(parts.page_bottom([command]))


def _prepared(answer: AnswerCard) -> dict[str, Any]:
    """Everything the template writes of an answer, its pictures read."""
    words = frozenset(word.lower() for word in _WORD.findall(answer.caption or "")) - _STOP_WORDS
    pictures = picture_uris(answer.pictures, SCAN_SIDE)
    attended = picture_uris([answer.attended if answer.attention else None])[0]
    strongest = max((float(one.heat.max()) for one in answer.attention), default=0.0)
    return {
        "answer": answer,
        "pictures": pictures,
        "certainty": _certainty(answer.confidence),
        "neighbours": _with_pictures(answer.neighbours, words),
        "attended": attended,
        "attention": [(one.word, heat_uri(one.heat, strongest)) for one in answer.attention],
    }


def _with_pictures(shown: Sequence[Card], words: frozenset[str]) -> list[dict[str, Any]]:
    uris = picture_uris([card.picture for card in shown], CARD_SIDE)
    return [
        {
            "card": card,
            "uri": uri,
            "path": "" if card.picture is None or isinstance(card.picture, bytes) else str(card.picture),
            "pieces": marked(card.caption, words),
        }
        for card, uri in zip(shown, uris, strict=True)
    ]


def _certainty(confidence: float | None) -> dict[str, str] | None:
    """A confidence in words: how sure, and how often such an answer is right."""
    if confidence is None:
        return None
    level = "low" if confidence < _UNSURE else "high" if confidence >= _SURE else "moderate"
    if confidence < 0.05:
        often = "hardly ever right"
    elif confidence < _UNSURE:
        often = f"right about 1 time in {round(1 / confidence)}"
    elif confidence < 0.95:
        often = f"right about {round(10 * confidence)} times in 10"
    else:
        often = "nearly always right"
    return {"level": level, "often": often}


def marked(caption: str, words: frozenset[str]) -> list[tuple[str, bool]]:
    """Part a caption into pieces, and say of each whether it is one of the words, which are in lower case."""
    pieces, last = [], 0
    for found in _WORD.finditer(caption):
        if found.group().lower() in words:
            pieces += [(caption[last : found.start()], False), (found.group(), True)]
            last = found.end()
    return [piece for piece in (*pieces, (caption[last:], False)) if piece[0]]


def heat_uri(heat: NDArray[np.float32], strongest: float) -> str:
    """Return a see-through picture of attention, one pixel a cell, as a data URI; browsers smooth it.

    Only what a cell got beyond an even share is drawn: even attention says nothing.

    Args:
        heat: ``[rows, columns]``, not negative.
        strongest: the value drawn strongest.
    """
    import numpy as np
    from PIL import Image

    even = float(heat.mean())
    pixels = np.empty((*heat.shape, 4), dtype=np.uint8)
    pixels[..., :3] = _HEAT
    pixels[..., 3] = np.round(_STRONGEST * np.clip((heat - even) / max(strongest - even, 1e-9), 0, 1))
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return data_uri(file.getvalue(), "png")


def attention_of(pieces: Iterable[str], attention: NDArray[np.float32]) -> list[Attention]:
    """Put the tokens of a caption together to words, and average the attention.

    Args:
        pieces: the text of each token; one that begins with a blank begins a word.
        attention: before each token, ``[tokens, rows, columns]``.
    """
    import numpy as np

    words: list[tuple[str, list[NDArray[np.float32]]]] = []
    for piece, heat in zip(pieces, attention, strict=True):
        if not words or (piece.startswith(" ") and words[-1][0].strip()):
            words.append((piece, [heat]))
        else:
            before, heats = words[-1]
            words[-1] = (before + piece, [*heats, heat])
    return [Attention(word.strip(), np.mean(heats, axis=0)) for word, heats in words if word.strip()]
