"""An evaluation as one page that stands alone: no script, no outside resource, light and dark, any width.

Whatever came from a data set or a model is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from medclip_cli.pages.chart import COLOURS, Chart, Role
from medclip_cli.pages.evaluation_names import RETRIEVAL, method_name
from medclip_cli.pages.web_page import foot, head, picture

CAPTION_SCORES = {
    "bleu1": "BLEU-1",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "distinct": "different captions",
}
_RANKS = ("median_rank", "mean_rank")
_DARK: Mapping[Role, str] = {
    "ink": "#e6e9ed",
    "faint": "#9aa3ad",
    "grid": "#30363d",
    "ours": "#56b4e9",
    "baseline": "#6a737d",
}
_STYLE = """
:root{color-scheme:light dark;--page:#fff;--card:#f6f8fa;%(light)s}
@media(prefers-color-scheme:dark){:root{--page:#0d1117;--card:#161b22;%(dark)s}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:72rem;padding:1rem;background:var(--page);color:var(--ink);
 font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}
p.note,figcaption,small{color:var(--faint)}
.scroll{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;text-align:right;border-bottom:1px solid var(--grid);white-space:nowrap}
th:first-child,td:first-child{text-align:left;white-space:normal;min-width:6rem}td.text{white-space:normal;text-align:left;min-width:14rem}
td small{display:block}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%%,26rem),1fr));gap:1rem}
figure{margin:.8rem 0 0}svg{width:100%%;height:auto}
.items{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%%,20rem),1fr));gap:1rem}
.item{background:var(--card);border-radius:.5rem;padding:.75rem}
.item img{height:8rem;max-width:48%%;object-fit:contain;background:#000;border-radius:.25rem}
.item p{margin:.4rem 0}
"""


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One image with what was said of it.

    Attributes:
        id: of the record.
        reference: its true caption.
        caption: what was predicted.
        score: its value.
        image: JPEG bytes of the image; empty when it cannot be shown.
        neighbour: JPEG bytes of the image that the caption came from; empty when there is none.
    """

    id: str
    reference: str
    caption: str
    score: float
    image: bytes = b""
    neighbour: bytes = b""


def evaluation_page(
    report: Mapping[str, Any],
    charts: Mapping[str, Chart],
    best: Sequence[ShownItem],
    worst: Sequence[ShownItem],
) -> str:
    """Return the page.

    Args:
        report: what `medclip evaluate --json` prints.
        charts: of `charts_of`.
        best: items with the highest scores, best first.
        worst: items with the lowest scores, worst first.
    """
    method = next(iter(report["captions"]))
    title = f"{report['corpus']}, {report['split']} split: {report['model']}"
    parts = (
        f"<h1>{escape(title)}</h1>",
        _introduction(report),
        "<h2>Captions</h2>",
        _caption_table(report),
        _figures(charts[name] for name in charts if name not in ("recall", "confidence")),
        *_comparisons(report, method),
        "<h2>Retrieval</h2>",
        _retrieval_table(report),
        _figures(charts[name] for name in ("recall", "confidence") if name in charts),
        *_confusions(report, method),
        _items(f"Best {len(best)}", best),
        _items(f"Worst {len(worst)}", worst),
        _variants(report),
    )
    return f"{head(title, _style())}{''.join(parts)}{foot()}"


def _style() -> str:
    light = ";".join(f"--{role}:{colour}" for role, colour in COLOURS.items())
    dark = ";".join(f"--{role}:{colour}" for role, colour in {**COLOURS, **_DARK}.items())
    roles = "".join(f".f-{role}{{fill:var(--{role})}}.s-{role}{{stroke:var(--{role})}}" for role in COLOURS)
    return _STYLE % {"light": light, "dark": dark} + roles


def _introduction(report: Mapping[str, Any]) -> str:
    left_out = len(report["excluded_groups"])
    unreadable = len(report["unreadable"])
    text = (
        f"{report['n']} images, answered from {report['pool']} known ones in collection "
        f"{report['collection']} (model {report['fingerprint']}). "
        "No image is answered by a case of its own split"
        + (f": {left_out} cases were left out of the answers." if left_out else ".")
        + (f" {unreadable} images could not be read." if unreadable else "")
        + " Read every score beside the baselines; medclip is a research tool, not a medical device."
    )
    return f'<p class="note">{escape(text)}</p>'


def _caption_table(report: Mapping[str, Any]) -> str:
    shown = [name for name in CAPTION_SCORES if any(name in scores for scores in report["captions"].values())]
    rows = [
        [method_name(method), *(_with_interval(report, method, name) for name in shown)]
        for method in report["captions"]
    ]
    for figure in report["published"]:
        rows.append([figure["name"], *(_number(figure["scores"].get(name)) for name in shown)])
    notes = "".join(
        f"<p class=note>{escape(f['name'])}: {escape(f['note'])}.</p>" for f in report["published"]
    )
    return _table(["method", *(CAPTION_SCORES[name] for name in shown)], rows) + notes


def _with_interval(report: Mapping[str, Any], method: str, name: str) -> str:
    value = _number(report["captions"][method].get(name))
    interval = report["intervals"].get(method, {}).get(name)
    return f"{value}\n[{_number(interval[0])}, {_number(interval[1])}]" if interval else value


def _comparisons(report: Mapping[str, Any], method: str) -> Iterable[str]:
    compared = {
        f"{method_name(method)} - {method_name(other)}": found
        for other, found in report["comparisons"].items()
    }
    for name, found in report.get("against", {}).get("differences", {}).items():
        compared[f"{method_name(name)}: this run - {report['against']['run']}"] = found
    if compared:
        names = ("bleu4", "rouge_l", "cider")
        rows = [[what, *(_difference(found.get(name)) for name in names)] for what, found in compared.items()]
        yield "<h2>Differences</h2>"
        yield "<p class=note>With 95 % paired bootstrap intervals; p by swapping answers.</p>"
        yield _table(["difference", *(CAPTION_SCORES[name] for name in names)], rows)


def _difference(found: Mapping[str, Any] | None) -> str:
    if not found:
        return "-"
    low, high = found["interval"]
    p = f"p = {found['p']:.3f}" if found["p"] >= 0.0005 else "p < 0.001"
    return f"{found['difference']:+.3f}, {p}\n[{low:+.3f}, {high:+.3f}]"


def _retrieval_table(report: Mapping[str, Any]) -> str:
    rows = [
        [direction.replace("_", " "), *(_retrieved(scores, name) for name in RETRIEVAL)]
        for direction, scores in report["retrieval"].items()
    ]
    for field, values in report["by"].items():
        for value, directions in values.items():
            for direction, scores in directions.items():
                what = f"{field} {value} ({scores['queries']}), {direction.replace('_', ' ')}"
                rows.append([what, *(_retrieved(scores, name) for name in RETRIEVAL)])
    first = next(iter(report["retrieval"].values()))
    chance = ["chance", *(_number(first.get(f"chance_{name}")) for name in RETRIEVAL)]
    return _table(["direction", *RETRIEVAL.values()], [*rows, chance])


def _retrieved(scores: Mapping[str, Any], name: str) -> str:
    return f"{scores[name]:.1f}" if name in _RANKS and scores[name] is not None else _number(scores[name])


def _confusions(report: Mapping[str, Any], method: str) -> Iterable[str]:
    for field, found in report["fields"].get(method, {}).items():
        if field in ("modality", "view"):
            right = f"{found['agreement']:.1%} right (rows true, columns answered)"
            yield f"<h2>{escape(field.capitalize())}: {right}</h2>"
            yield _confusion_table(**found["confusion"])


def _confusion_table(values: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    headings = "".join(f"<th>{escape(value)}</th>" for value in ("", *values))
    body = "".join(
        f"<tr><td>{escape(value)}</td>{''.join(_shaded(count, sum(row)) for count in row)}</tr>"
        for value, row in zip(values, counts, strict=True)
        if any(row)
    )
    return f'<div class="scroll"><table><tr>{headings}</tr>{body}</table></div>'


def _shaded(count: int, whole: int) -> str:
    """A cell whose colour is deep where much of its row lies."""
    share = round(60 * count / whole)
    return f'<td style="background:color-mix(in srgb,var(--ours) {share}%,transparent)">{count}</td>'


def _figures(charts: Iterable[Chart]) -> str:
    drawn = "".join(
        f"<figure>{chart.svg(themed=True)}<figcaption>{escape(chart.title)}</figcaption></figure>"
        for chart in charts
    )
    return f'<div class="charts">{drawn}</div>'


def _items(title: str, items: Sequence[ShownItem]) -> str:
    cards = "".join(
        f'<div class="item">{picture(item.image, "the image")} {picture(item.neighbour, "its look-alike")}'
        f"<p><b>{escape(item.caption) or 'no answer'}</b></p><p>true: {escape(item.reference)}</p>"
        f"<small>{escape(item.id)}, ROUGE-L {item.score:.3f}</small></div>"
        for item in items
    )
    return f'<h2>{escape(title)}</h2><div class="items">{cards}</div>' if items else ""


def _variants(report: Mapping[str, Any]) -> str:
    rows = [[name, text] for name, text in report["variants"].items()]
    return "<h2>Which score is which</h2>" + _table(["score", "definition"], rows, text=True)


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    headings = "".join(f"<th>{escape(name)}</th>" for name in columns)
    kind = ' class="text"' if text else ""
    body = "".join(
        "<tr>"
        + f"<td>{escape(first)}</td>"
        + "".join(f"<td{kind}>{_cell(cell)}</td>" for cell in rest)
        + "</tr>"
        for first, *rest in rows
    )
    return f'<div class="scroll"><table><tr>{headings}</tr>{body}</table></div>'


def _cell(text: str) -> str:
    """A cell; what stands on its second line is small."""
    first, _, second = text.partition("\n")
    return f"{escape(first)}<small>{escape(second)}</small>" if second else escape(first)


def _number(value: float | None) -> str:
    if value is None or value != value:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
