"""Why an image got its caption, as one page that stands alone: no script, no outside resource, any width.

Whatever came from a data set or a model is escaped.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f6f8fa;--ink:#1f2328;--faint:#59636e;--mark:#ffe8a3}
@media(prefers-color-scheme:dark){
 :root{--page:#0d1117;--card:#161b22;--ink:#e6e9ed;--faint:#9aa3ad;--mark:#5c4a00}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:64rem;padding:1rem;background:var(--page);color:var(--ink);
 font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.3rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}
small,figcaption{color:var(--faint)}mark{background:var(--mark);color:inherit;border-radius:.2rem}
article{border-top:1px solid var(--faint);margin-top:1.5rem}
.answer{display:flex;flex-wrap:wrap;gap:1rem}.answer>img{width:14rem;max-width:100%;background:#000}
.answer>div{flex:1 1 16rem}.said{font-size:1.15rem;margin:0}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:.75rem}
.card{background:var(--card);border-radius:.5rem;padding:.6rem;display:flex;gap:.6rem}
.card img{width:5.5rem;height:5.5rem;object-fit:contain;background:#000;flex:none}.card p{margin:0}
.card small{display:block;font-size:.75rem}
.looks{display:grid;grid-template-columns:repeat(auto-fill,minmax(6rem,1fr));gap:.5rem}
figure{margin:0;text-align:center}
.look{position:relative;aspect-ratio:1;background-size:cover}
.look img{position:absolute;inset:0;width:100%;height:100%}
table{border-collapse:collapse}td{padding:.1rem .8rem .1rem 0;overflow-wrap:normal;vertical-align:top}
"""
_WORD = re.compile(r"\w+(?:[-'.]\w+)*")
_HEAT = (255, 96, 0)
_STRONGEST = 190  # of 255: the scan stays visible under the brightest cell


@dataclass(frozen=True, slots=True)
class ShownNeighbour:
    """One neighbour of the image.

    Attributes:
        id: of its record.
        score: its similarity.
        caption: its caption.
        picture: JPEG bytes; empty when it cannot be shown.
    """

    id: str
    score: float
    caption: str
    picture: bytes = b""


@dataclass(frozen=True, slots=True)
class WordAttention:
    """Where the decoder looked before it wrote a word.

    Attributes:
        word: that it wrote.
        heat: how much of its attention lay on each cell, ``[rows, columns]``.
    """

    word: str
    heat: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Everything behind one answer.

    Attributes:
        image: its path, as it was given.
        picture: JPEG bytes of the square the model sees; empty when it cannot be shown.
        caption: the answer, or None.
        reason: why there is none.
        method: that made it.
        confidence: of the answer, if it was measured.
        votes: (field, value, share) of the neighbours.
        neighbours: nearest first.
        attention_maps: of a decoder, in the order of the words.
    """

    image: str
    picture: bytes
    caption: str | None
    reason: str | None
    method: str
    confidence: float | None
    votes: Sequence[tuple[str, str, float]]
    neighbours: Sequence[ShownNeighbour]
    attention_maps: Sequence[WordAttention] = ()


def explanation_page(explanations: Sequence[Explanation], source: str, note: str) -> str:
    """Return the page.

    Args:
        explanations: one for each image.
        source: the model and the collection that answered.
        note: stands at its foot.
    """
    articles = "".join(_article(place, one) for place, one in enumerate(explanations))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>medclip: why these captions</title><style>{_STYLE}</style></head><body>"
        f"<h1>Why these captions</h1><p><small>{escape(source)}</small></p>{articles}"
        f"<p><small>{escape(note)}</small></p></body></html>\n"
    )


def _article(place: int, one: Explanation) -> str:
    said = one.caption if one.caption is not None else f"No caption: {one.reason}"
    words = _words(one.caption or "")
    sure = "" if one.confidence is None else f", confidence {one.confidence:.2f}"
    votes = "".join(
        f"<tr><td>{escape(field)}</td><td>{escape(value)}</td><td>{share:.0%}</td></tr>"
        for field, value, share in one.votes
    )
    cards = "".join(_card(neighbour, words) for neighbour in one.neighbours)
    return (
        f'<article><h2>{escape(one.image)}</h2><div class="answer">{_image(one.picture, "the scan")}'
        f'<div><p class="said">{escape(said)}</p><small>{escape(one.method)}{sure}</small>'
        f"<table>{votes}</table></div></div>"
        f'<h2>What is known of its neighbours</h2><div class="cards">{cards}</div>'
        f"{_attention_maps(place, one)}</article>"
    )


def _card(neighbour: ShownNeighbour, shared: frozenset[str]) -> str:
    return (
        f'<div class="card">{_image(neighbour.picture, neighbour.id)}<div>'
        f"<p>{_marked(neighbour.caption, shared)}</p>"
        f"<small>{neighbour.score:.3f} · {escape(neighbour.id)}</small></div></div>"
    )


def _attention_maps(place: int, one: Explanation) -> str:
    if not one.attention_maps:
        return ""
    strongest = max(float(glance.heat.max()) for glance in one.attention_maps)
    figures = "".join(
        f'<figure><div class="look scan{place}"><img alt="" '
        f'src="{heat_picture(glance.heat, strongest)}"></div>'
        f"<figcaption>{escape(glance.word)}</figcaption></figure>"
        for glance in one.attention_maps
    )
    # The scan stands in the page once, however many words were written.
    scan = f".scan{place}{{background-image:url({_data(one.picture, 'jpeg')})}}" if one.picture else ""
    return (
        "<h2>Where the decoder looked before each word</h2>"
        f'<style>{scan}</style><div class="looks">{figures}</div>'
    )


def heat_picture(heat: NDArray[np.float32], strongest: float) -> str:
    """Return a see-through picture of attention, one pixel a cell, as a data URI; browsers smooth it.

    Only what a cell got beyond an even share is drawn: attention that lies everywhere says nothing.

    Args:
        heat: ``[rows, columns]``, not negative.
        strongest: the value drawn strongest.
    """
    even = float(heat.mean())
    share = np.clip((heat - even) / max(strongest - even, 1e-9), 0, 1)
    pixels = np.empty((*heat.shape, 4), dtype=np.uint8)
    pixels[..., :3] = _HEAT
    pixels[..., 3] = np.round(_STRONGEST * share)
    file = io.BytesIO()
    Image.fromarray(pixels, "RGBA").save(file, "PNG")
    return _data(file.getvalue(), "png")


def attention_maps_of(pieces: Iterable[str], attention: NDArray[np.float32]) -> list[WordAttention]:
    """Put the tokens of a caption together to words, and average where the decoder looked.

    Args:
        pieces: the text of each token; one that begins with a blank begins a word.
        attention: before each token, ``[tokens, rows, columns]``.
    """
    words: list[tuple[str, list[NDArray[np.float32]]]] = []
    for piece, heat in zip(pieces, attention, strict=True):
        if not words or (piece.startswith(" ") and words[-1][0].strip()):
            words.append((piece, [heat]))
        else:
            before, heats = words[-1]
            words[-1] = (before + piece, [*heats, heat])
    return [WordAttention(word.strip(), np.mean(heats, axis=0)) for word, heats in words if word.strip()]


def _words(caption: str) -> frozenset[str]:
    return frozenset(_WORD.findall(caption.lower()))


def _marked(caption: str, shared: frozenset[str]) -> str:
    """The caption with the words it shares with the answer marked."""
    parts, last = [], 0
    for match in _WORD.finditer(caption):
        word = escape(match.group())
        parts.append(escape(caption[last : match.start()]))
        parts.append(f"<mark>{word}</mark>" if match.group().lower() in shared else word)
        last = match.end()
    return "".join(parts) + escape(caption[last:])


def _image(jpeg: bytes, what: str) -> str:
    return f'<img alt="{escape(what)}" src="{_data(jpeg, "jpeg")}">' if jpeg else ""


def _data(data: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"
