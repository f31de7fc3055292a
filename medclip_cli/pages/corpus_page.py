"""A corpus as one page that stands alone: counts as bars, and sample images with their captions.

Whatever came from a data set is escaped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from medclip_cli.pages.web_page import foot, head, picture

_BARS = {
    "modalities": "Modality",
    "views": "View",
    "regions": "Region",
    "sources": "Source",
    "findings": "Findings",
}
_STYLE = """
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--faint:#6a737d;--bar:#0072b2;--card:#f6f8fa}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6e9ed;--faint:#9aa3ad;--bar:#56b4e9;--card:#161b22}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--page);color:var(--ink);
 font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:1.5rem 0 .4rem}p.note,small{color:var(--faint)}
.charts,.items{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1rem}
.row{display:grid;grid-template-columns:9rem 1fr 4.5rem;gap:.5rem;align-items:center}
.row span:last-child{text-align:right;font-variant-numeric:tabular-nums}
.bar{background:var(--bar);height:.7rem;border-radius:.2rem}
.item{background:var(--card);border-radius:.5rem;padding:.75rem}.item p{margin:.4rem 0}
.item img{height:9rem;max-width:100%;object-fit:contain;background:#000;border-radius:.25rem}
"""


def corpus_page(described: Mapping[str, Any], pictures: Sequence[bytes]) -> str:
    """Return the page.

    Args:
        described: what `describe_corpus` counted.
        pictures: JPEG bytes of each of its samples; empty for one that cannot be shown.
    """
    title = f"Corpus {described['name']}"
    words = described["caption_words"]
    facts = (
        f"{described['images']:,} images of {described['groups']:,} groups, captions by "
        f"{described['caption_style']}: {words['shortest']} to {words['longest']} words, median "
        f"{words['median']:g}; {described['different_captions']:,} different captions of "
        f"{described['vocabulary']:,} different words; {described['duplicate_images']:,} duplicate images."
    )
    splits = {name: size["images"] for name, size in described["splits"].items()}
    charts = _chart("Split", splits) + "".join(_chart(t, described[name]) for name, t in _BARS.items())
    items = "".join(map(_item, described["samples"], pictures))
    return (
        f"{head(title, _STYLE)}<h1>{escape(title)}</h1>"
        f'<p class="note">{escape(facts)}</p><div class="charts">{charts}</div>'
        f'<h2>Samples</h2><div class="items">{items}</div>{foot()}'
    )


def _chart(title: str, counts: Mapping[str, int]) -> str:
    most = max(counts.values(), default=0)
    if not most:
        return ""
    rows = "".join(
        f'<div class="row"><span>{escape(name)}</span>'
        f'<div class="bar" style="width:{_width(count / most)}"></div><span>{count:,}</span></div>'
        for name, count in counts.items()
    )
    return f"<section><h2>{escape(title)}</h2>{rows}</section>"


def _width(share: float) -> str:
    """However few there are, something is seen of them; of none, nothing."""
    return f"max(1px,{100 * share:.1f}%)" if share else "0"


def _item(sample: Mapping[str, Any], jpeg: bytes) -> str:
    about = f"{sample['id']}, {sample['modality']}, {sample['split']}"
    shown = f"{picture(jpeg, '')}<p>{escape(sample['caption'])}</p><small>{escape(about)}</small>"
    return f'<div class="item">{shown}</div>'
