"""Pages of reports: an evaluation, and what a corpus holds; and the names of methods and scores."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medclip_cli.pages.html import Picture, macros, picture_uris, render

if TYPE_CHECKING:
    from medclip_cli.pages.charts import Chart

# Short: tables are read in terminals of 80 columns.
METHODS = {
    "nearest": "nearest",
    "consensus": "consensus",
    "generate": "generate",
    "random": "random",
    "most_frequent": "most frequent",
    "pixel_nearest": "pixel nearest",
    "same_fields_oracle": "upper bound",
}
SCORES = {
    "bleu1": "BLEU-1",
    "bleu4": "BLEU-4",
    "rouge_l": "ROUGE-L",
    "rouge_l_p": "P",
    "rouge_l_r": "R",
    "rouge_l_f1": "F1",
    "meteor": "METEOR",
    "cider": "CIDEr",
    "distinct": "different captions",
}
_ON_PAGE = ("bleu1", "bleu4", "rouge_l", "meteor", "cider", "distinct")
RETRIEVAL = {
    "r@1": "R@1",
    "r@5": "R@5",
    "r@10": "R@10",
    "median_rank": "median rank",
    "mean_rank": "mean rank",
    "mrr": "MRR",
    "map": "mAP",
    "ndcg@10": "nDCG@10",
    "pool": "pool",
}
_RANKS = ("median_rank", "mean_rank")
_COMPARED = ("bleu4", "rouge_l", "cider")
_CORPUS_COUNTS = {
    "modalities": "Modality",
    "views": "View",
    "regions": "Region",
    "sources": "Source",
    "findings": "Findings",
}
Cell = str | tuple[str, str] | None  # a second line is small


def method_name(method: str) -> str:
    """Return what a method is called; one that is not known here, by its own name."""
    return METHODS.get(method, method.replace("_", " "))


@dataclass(frozen=True, slots=True)
class ShownItem:
    """One image of an evaluation with what was answered for it."""

    id: str  # of the record
    reference: str  # its true caption
    caption: str  # what was predicted
    score: float  # its value
    image: Picture = None  # the image
    neighbour: Picture = None  # the image that the caption came from, if it came from one


def evaluation_page(
    report: Mapping[str, Any],
    charts: Mapping[str, Chart],
    best: Sequence[ShownItem] = (),
    worst: Sequence[ShownItem] = (),
) -> str:
    """Return the page of an evaluation.

    Args:
        report: what `medclip evaluate --json` prints.
        charts: of `charts.evaluation_charts`.
        best: items with the highest scores, best first.
        worst: items with the lowest scores, worst first.
    """
    method = next(iter(report["captions"]))
    below_retrieval = ("recall", "confidence")
    return render(
        "evaluation.html",
        report=report,
        tables=_tables(report),
        caption_charts=[chart for name, chart in charts.items() if name not in below_retrieval],
        retrieval_charts=[charts[name] for name in below_retrieval if name in charts],
        confusions=[
            (field, found["agreement"], found["confusion"])
            for field, found in report["fields"].get(method, {}).items()
            if field in ("modality", "view")
        ],
        examples=[(title, _shown(items)) for title, items in (("Best", best), ("Worst", worst)) if items],
    )


def report_html(report: Mapping[str, Any]) -> str:
    """Return an evaluation, as `medclip evaluate --json` prints it, as a fragment for a notebook."""
    return str(macros().report_fragment(report, _tables(report)))


def corpus_page(described: Mapping[str, Any], pictures: Sequence[Picture]) -> str:
    """Return the page of a corpus.

    Args:
        described: what `medclip corpus show --json` prints.
        pictures: of each of its samples.
    """
    splits = {name: size["images"] for name, size in described["splits"].items()}
    counts = {"Split": splits} | {title: described[name] for name, title in _CORPUS_COUNTS.items()}
    return render(
        "corpus.html",
        described=described,
        counts=counts,
        samples=list(zip(described["samples"], picture_uris(pictures), strict=True)),
    )


def _shown(items: Sequence[ShownItem]) -> list[tuple[ShownItem, str, str]]:
    images, neighbours = (
        picture_uris([getattr(item, name) for item in items]) for name in ("image", "neighbour")
    )
    return list(zip(items, images, neighbours, strict=True))


def _tables(report: Mapping[str, Any]) -> dict[str, tuple[list[str], list[list[Cell]]]]:
    """The tables of an evaluation by name: their columns and rows."""
    shown = [name for name in _ON_PAGE if any(name in scores for scores in report["captions"].values())]
    captions: list[list[Cell]] = [
        [method_name(method), *(_with_interval(report, method, name) for name in shown)]
        for method in report["captions"]
    ]
    for figure in report["published"]:
        captions.append([figure["name"], *(_number(figure["scores"].get(name)) for name in shown)])
    first = next(iter(report["retrieval"].values()))
    retrieval: list[list[Cell]] = [
        [name, *(_retrieved(scores, column) for column in RETRIEVAL)] for name, scores in _directions(report)
    ]
    retrieval.append(["chance", *(_number(first.get(f"chance_{name}")) for name in RETRIEVAL)])
    tables: dict[str, tuple[list[str], list[list[Cell]]]] = {
        "captions": (["method", *(SCORES[name] for name in shown)], captions),
        "retrieval": (["direction", *RETRIEVAL.values()], retrieval),
    }
    differences: list[list[Cell]] = [
        [what, *(_difference(found.get(name)) for name in _COMPARED)] for what, found in _comparisons(report)
    ]
    if differences:
        tables["differences"] = (["difference", *(SCORES[name] for name in _COMPARED)], differences)
    return tables


def _directions(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for direction, scores in report["retrieval"].items():
        yield direction.replace("_", " "), scores
    for field, values in report["by"].items():
        for value, directions in values.items():
            for direction, scores in directions.items():
                yield f"{field} {value} ({scores['queries']}), {direction.replace('_', ' ')}", scores


def _comparisons(report: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    method = method_name(next(iter(report["captions"])))
    for other, found in report["comparisons"].items():
        yield f"{method} - {method_name(other)}", found
    for name, found in report.get("against", {}).get("differences", {}).items():
        yield f"{method_name(name)}: this run - {report['against']['run']}", found


def _with_interval(report: Mapping[str, Any], method: str, name: str) -> Cell:
    value = _number(report["captions"][method].get(name))
    interval = report["intervals"].get(method, {}).get(name)
    return (value, f"[{_number(interval[0])}, {_number(interval[1])}]") if interval else value


def _difference(found: Mapping[str, Any] | None) -> Cell:
    if not found:
        return None
    low, high = found["interval"]
    p = f"p = {found['p']:.3f}" if found["p"] >= 0.0005 else "p < 0.001"
    return f"{found['difference']:+.3f}, {p}", f"[{low:+.3f}, {high:+.3f}]"


def _retrieved(scores: Mapping[str, Any], name: str) -> str:
    return f"{scores[name]:.1f}" if name in _RANKS and scores[name] is not None else _number(scores[name])


def _number(value: float | None) -> str:
    if value is None or value != value:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"
