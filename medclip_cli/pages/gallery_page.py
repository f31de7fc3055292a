"""Answers as a gallery: each question with the images that answer it, their scores and captions.

Whatever came from a data set, a model or the command line is escaped. A gallery is written question by
question, so that one of many thousand images needs no memory.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from medclip_cli.pages.web_page import foot, head, picture

_STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f6f8fa;--ink:#1f2328;--faint:#59636e}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#161b22;--ink:#e6e9ed;--faint:#9aa3ad}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:80rem;padding:1rem;background:var(--page);color:var(--ink);
 font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.3rem}h2{font-size:1.1rem;margin:0}p{margin:.3rem 0}small{color:var(--faint)}
article{border-top:1px solid var(--faint);margin-top:1.5rem;padding-top:1rem}
.asked{display:flex;flex-wrap:wrap;gap:1rem;margin-bottom:1rem}.asked>div{flex:1 1 16rem}
.asked>img{width:14rem;max-width:100%;object-fit:contain;background:#000;border-radius:.25rem}
.said{font-size:1.15rem}
.hits{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,15rem),1fr));gap:.75rem}
.hit{background:var(--card);border-radius:.5rem;padding:.6rem;margin:0}
.hit img{width:100%;height:12rem;object-fit:contain;background:#000;border-radius:.25rem}
.rank{float:right;margin:.2rem 0 0 .7rem;font-variant-numeric:tabular-nums}
"""
# Of what people filter by, that which says something of the picture, and under which terms it may be shown.
_FIELDS = ("modality", "view", "region", "category", "findings", "age", "sex", "licence")


@dataclass(frozen=True, slots=True)
class Hit:
    """One image that was found.

    Attributes:
        rank: 1 is best.
        score: its similarity, or fused score.
        id: of its record.
        caption: its caption.
        fields: what is known of it: modality, view, ...
        picture: JPEG bytes; empty when it cannot be shown.
    """

    rank: int
    score: float
    id: str
    caption: str
    fields: Mapping[str, object]
    picture: bytes = b""


@dataclass(frozen=True, slots=True)
class Question:
    """What was asked, and what was found.

    Attributes:
        asked: the words, or the path of the image.
        pictures: JPEG bytes of the images that were asked with.
        said: the answer in words; empty where the hits alone are the answer.
        note: beside it in small print: method, confidence.
        hits: best first.
    """

    asked: str
    hits: Sequence[Hit]
    pictures: Sequence[bytes] = ()
    said: str = ""
    note: str = ""


def gallery_head(title: str, source: str) -> str:
    """Return how the page begins.

    Args:
        title: of the page.
        source: the model and the collection that answered.
    """
    return f"{head(title, _STYLE)}<h1>{escape(title)}</h1><p><small>{escape(source)}</small></p>"


def gallery_article(question: Question) -> str:
    """Return one question with its answers."""
    pictures = "".join(picture(jpeg, "asked with") for jpeg in question.pictures)
    said = f'<p class="said">{escape(question.said)}</p>' if question.said else ""
    note = f"<small>{escape(question.note)}</small>" if question.note else ""
    hits = "".join(map(_hit, question.hits)) or "<p>Nothing matches.</p>"
    asked = f"<h2>{escape(question.asked)}</h2>{said}{note}"
    return (
        f'<article><div class="asked">{pictures}<div>{asked}</div></div>'
        f'<div class="hits">{hits}</div></article>'
    )


def gallery_foot(note: str) -> str:
    """Return how the page ends."""
    return f"<p><small>{escape(note)}</small></p>{foot()}"


def _hit(hit: Hit) -> str:
    fields = " · ".join(
        _text(name, hit.fields[name]) for name in _FIELDS if hit.fields.get(name) not in (None, "", [])
    )
    return (
        f'<figure class="hit">{picture(hit.picture, hit.id)}'
        f'<figcaption><small class="rank">{hit.rank} · {hit.score:.3f}</small>'
        f"<p>{escape(hit.caption)}</p><small>{escape(hit.id)}<br>{escape(fields)}</small></figcaption></figure>"
    )


def _text(name: str, value: object) -> str:
    if name == "age":
        return f"{value:g} years"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
